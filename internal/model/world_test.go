package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The times of this world, ms: those of docs/redis.md, but for the retention.
const (
	ttl       = 6000
	grace     = 10000
	retention = 20000
	claimMS   = 5000
	opMS      = 2000 // the longest validUntil of an operation
)

var (
	conns   = []string{"3f00000000000000000a", "3f00000000000000000b", "3f00000000000000000c"}
	rooms   = []string{"app1:a", "app1:b"}
	nodeIDs = []string{"n1", "n2"}
)

// world is clients, nodes and reapers which keep to the protocol, on a network
// that delays what it likes. A step of it is a step of one of them; whatever
// takes several steps may stop between any two, for ever.
type world struct {
	t    failer
	m    machine
	draw func(what string, n int) int // 0 … n-1

	nodes   []*node
	holds   []*hold          // what some process believes to hold
	socket  map[string]*hold // connection → the hold that its client talks to
	attempt map[string]int   // connection → number of its latest handshake
	ever    map[string]map[int64]*hold
	flying  []*flight
	sagas   []*saga
	reaps   []*reap

	folded  int // of State().Published
	rev     map[string]int64
	members map[string]map[string]bool
	counts  map[string]int
	trace   []string
}

type node struct {
	id, stamp string
	until     int64 // end of its lease, as it knows
	up        bool
	stalled   bool // it forgets to beat
}

// hold is a connection as a process knows it.
type hold struct {
	node      *node
	stamp     string
	conn      string
	inc, from int64
	fence     int64
	taken     int64 // when it was taken over: its probes fail one lease later
	places    map[string]*place
	adopts    int   // not yet answered
	restored  *hold // what it was before; nil: it began a life of its own
	life      bool  // it did: opened, or resumed from away
	marked    bool  // what is of an earlier owner is not adopted any more, or will not be
	sweeping  bool
}

type place struct {
	tracked, member, left, busy bool
	quit                        bool // its client left the set, and was told so
	data                        string
	at                          int64 // since when it is a member, as a join was told; 0: not known
}

// flight is a call that has not yet arrived. until: it writes, but not later.
type flight struct {
	h     *hold
	until int64
	run   func()
}

// saga is one round of leaves of somebody.
type saga struct {
	conn, node, why string
	inc, claimed    int64
	retention       int64
	rooms           []string
	pending         int
	finishing       bool
}

// reap is one reaper at work on a condemned stamp.
type reap struct {
	stamp    string
	leaseEnd int64
}

func newWorld(t failer, m machine, draw func(string, int) int) *world {
	w := &world{
		t: t, m: m, draw: draw, socket: map[string]*hold{}, attempt: map[string]int{}, ever: map[string]map[int64]*hold{},
		rev: map[string]int64{}, members: map[string]map[string]bool{}, counts: map[string]int{},
	}
	for _, id := range nodeIDs {
		w.nodes = append(w.nodes, &node{id: id})
		w.start(w.nodes[len(w.nodes)-1])
	}
	return w
}

func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s\nafter:\n%s", fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-60):], "\n"))
}

func (w *world) now() int64 { return w.m.State().MS() }

func (w *world) do(o Op) any {
	w.t.Helper()
	w.trace = append(w.trace, fmt.Sprintf("%d %T%+v", w.now()-begin/1000, o, o))
	reply := w.m.Do(o)
	w.trace[len(w.trace)-1] += fmt.Sprintf(" → %v", reply)
	name := o.Call("").Script
	w.counts[name]++
	if l, is := reply.([]any); is && len(l) == 1 {
		reply = l[0]
	}
	if word, is := reply.(string); is && !strings.HasPrefix(word, "{") {
		word, _, _ = strings.Cut(word, " ")
		w.counts[name+" "+word]++
	}
	return reply
}

// send lets a call arrive now, or some time.
func (w *world) send(f *flight) {
	if w.draw("delay", 3) == 0 {
		w.flying = append(w.flying, f)
		w.counts["late"]++
		return
	}
	f.run()
}

func (w *world) deliver(i int) {
	f := w.flying[i]
	w.flying = slices.Delete(w.flying, i, i+1)
	f.run()
}

// Nodes.

func (w *world) start(n *node) {
	reply := w.do(Register{n.id, ttl, "{}"}).([]any)
	n.stamp, n.up, n.stalled = reply[0].(string), true, false
	w.beat(n)
}

func (w *world) beat(n *node) {
	switch reply := w.do(Beat{n.stamp, ttl, "{}"}).(type) {
	case []any:
		n.until = reply[1].(int64)
	default: // condemned: a new stamp, and each connection is resumed under it
		w.start(n)
		for _, h := range slices.Clone(w.holds) {
			if h.node == n {
				w.reclaim(h)
			}
		}
	}
}

func (w *world) crash(n *node) {
	n.up = false
	for _, h := range slices.Clone(w.holds) {
		if h.node == n {
			w.forget(h)
		}
	}
}

func (w *world) advance(ms int64) {
	for ms > 0 {
		part := min(ms, 4000)
		w.m.Advance(part)
		ms -= part
		for _, n := range w.nodes {
			if n.up && !n.stalled && n.until < w.now()+4000 {
				w.beat(n)
			}
		}
	}
}

// Connections.

func (w *world) has(h *hold) bool { return slices.Contains(w.holds, h) }

func (w *world) forget(h *hold) {
	if i := slices.Index(w.holds, h); i >= 0 {
		w.holds = slices.Delete(w.holds, i, i+1)
	}
	if w.socket[h.conn] == h {
		delete(w.socket, h.conn)
	}
}

func (w *world) until(h *hold) int64 {
	t := min(h.node.until, w.now()+opMS)
	if h.taken > 0 {
		t = min(t, h.taken+ttl)
	}
	return t
}

// fenceOf is the highest validUntil of what h has without an answer.
func (w *world) fenceOf(h *hold) (fence int64) {
	for _, f := range w.flying {
		if f.h == h {
			fence = max(fence, f.until)
		}
	}
	return fence
}

// connect is a client's handshake on a node.
func (w *world) connect(conn string, n *node) {
	w.attempt[conn]++
	delete(w.socket, conn) // the socket before it, if any, is dead, and its node does not know yet
	w.resume(conn, n, w.now(), w.attempt[conn], nil)
}

// reclaim resumes a connection under its node's new stamp.
func (w *world) reclaim(h *hold) {
	socket := w.socket[h.conn] == h
	w.forget(h)
	number := -1
	if socket {
		number = w.attempt[h.conn]
	}
	w.resume(h.conn, h.node, h.inc, number, h)
}

func (w *world) resume(conn string, n *node, newest int64, number int, own *hold) {
	old := ""
	if s := w.m.State().Sessions[conn]; s != nil {
		old = s.Node
	}
	o := Resume{
		Conn: conn, App: "app1", Key: "app1.k1", Client: "bob", Stamp: n.stamp, OldStamp: old,
		ValidUntil: min(n.until, w.now()+opMS), Newest: newest, FenceMS: ttl,
	}
	w.send(&flight{run: func() {
		switch reply := w.do(o).(type) {
		case []any:
			w.resumed(o, n, number, own, reply[0].(int64), reply[1].(int64), reply[2].(string), reply[3].(map[string]string))
		case string:
			switch word, rest, _ := strings.Cut(reply, " "); {
			case word == "GONE" && own == nil:
				w.open(conn, n, number)
			case word == "LEAVING":
				w.help(conn, rest)
			case word == "MOVED" && own == nil && n.up && n.stamp == o.Stamp:
				w.resume(conn, n, newest, number, nil)
			}
		}
	}})
}

func (w *world) open(conn string, n *node, number int) {
	o := Open{conn, 0, n.stamp, "app1", "app1.k1", "bob", grace, "", min(n.until, w.now()+opMS)}
	w.send(&flight{run: func() {
		if inc, is := w.do(o).(int64); is {
			w.m.Advance(1) // no connection is opened, ended and opened again within a millisecond
			if h := w.newHold(conn, n, o.Stamp, number, inc, inc); h != nil {
				h.life = true
			}
		}
	}})
}

// newHold is nil when there is nobody any more to have it.
func (w *world) newHold(conn string, n *node, stamp string, number int, inc, from int64) *hold {
	if !n.up || n.stamp != stamp {
		return nil
	}
	h := &hold{node: n, stamp: stamp, conn: conn, inc: inc, from: from, places: map[string]*place{}}
	w.holds = append(w.holds, h)
	if w.ever[conn] == nil {
		w.ever[conn] = map[int64]*hold{}
	}
	w.ever[conn][inc] = h
	if w.attempt[conn] == number {
		w.socket[conn] = h
	}
	return h
}

func (w *world) resumed(o Resume, n *node, number int, own *hold, inc, fence int64, state string, was map[string]string) {
	w.counts["resume from "+state]++
	if h := w.socket[o.Conn]; h != nil && number < w.attempt[o.Conn] && h.inc > o.Newest {
		w.fail("stolen: %s is on a newer socket with inc %d than the one that took it", o.Conn, h.inc)
	}
	if state == "live" {
		for _, old := range w.holds {
			if old.conn == o.Conn && old.taken == 0 {
				old.taken = w.now()
			}
		}
	}
	from := inc
	if state != "away" {
		from = number64(was["from"])
	}
	h := w.newHold(o.Conn, n, o.Stamp, number, inc, from)
	if h == nil {
		return
	}
	h.fence = fence
	h.life = state == "away"
	h.restored = w.ever[o.Conn][number64(was["inc"])]
	gone := was["why"] == "closed" || was["why"] == "kicked"
	for _, field := range slices.Sorted(maps.Keys(was)) {
		room, is := strings.CutPrefix(field, "room:")
		if !is {
			continue
		}
		left := strings.HasPrefix(was[field], "x") || state == "away" && gone
		if left && state == "away" && fence == 0 {
			continue // nothing can land there any more
		}
		h.places[room] = &place{tracked: !left, left: left}
	}
	if state != "away" {
		h.adopts++ // until all are sent
		defer w.adopted(h)
	}
	for _, room := range slices.Sorted(maps.Keys(h.places)) {
		p := h.places[room]
		switch {
		case p.left:
		case state != "away":
			w.adopt(h, room)
		case own != nil && own.places[room] != nil && own.places[room].member: // its leave was told: a join
			p.busy = true
			a := Assert{Join: Join{ValidUntil: w.until(h), Stamp: h.stamp, Room: room, Conn: h.conn, Inc: h.inc, Client: `"bob"`, Data: own.places[room].data}}
			w.send(&flight{h, a.ValidUntil, func() {
				reply := w.do(a)
				p.busy = false
				if _, done := reply.(int64); done {
					p.member, p.data = true, a.Data
				}
			}})
		}
	}
}

func number64(text string) (n int64) {
	if _, err := fmt.Sscan(text, &n); err != nil {
		panic(err)
	}
	return n
}

func (w *world) adopt(h *hold, room string) {
	p := h.places[room]
	o := Adopt{w.until(h), h.stamp, room, h.conn, h.inc, h.from}
	h.adopts++
	w.send(&flight{h, o.ValidUntil, func() {
		reply := w.do(o)
		defer w.adopted(h)
		switch v := reply.(type) {
		case int64: // not a member
			if old := h.restored; w.has(h) && h.taken == 0 && old != nil && old.places[room] != nil && old.places[room].member && !old.places[room].busy && old.adopts == 0 {
				w.fail("%s lost its membership of %s over the resume to inc %d", h.conn, room, h.inc)
			}
		case string:
			switch {
			case strings.HasPrefix(v, "{"):
				p.member = true
				w.counts["adopt of a member"]++
				w.cameBack(h, room)
			case v == "OLD":
				h.adopts++
				l := Leave{ValidUntil: w.until(h), Room: room, Conn: h.conn, Inc: h.inc, Reason: "timeout"}
				w.send(&flight{h, l.ValidUntil, func() { w.do(l); w.adopted(h) }})
			default:
				w.forget(h)
			}
		case Refused:
			if w.heard(h) {
				w.adopt(h, room)
			}
		}
	}})
}

// adopted notes that one adopt is answered. Behind the last one of a connection
// that has a fence nothing of an earlier owner is to be adopted any more.
func (w *world) adopted(h *hold) {
	if h.adopts--; h.adopts > 0 || h.fence == 0 || h.marked || !w.has(h) {
		return
	}
	h.marked = true
	h.adopts++
	w.mark(h)
}

func (w *world) mark(h *hold) {
	o := Adopted{h.conn, h.inc, w.until(h)}
	w.send(&flight{h, o.ValidUntil, func() {
		switch w.do(o).(type) {
		case int64:
			h.adopts--
		case Refused:
			if w.heard(h) {
				w.mark(h)
			}
		default:
			w.forget(h)
		}
	}})
}

// heard reports whether h, whose write came too late, is to send it again: it
// is not when it has been taken, or its node has a new stamp.
func (w *world) heard(h *hold) bool {
	if w.has(h) && w.until(h) < w.now() { // it hears nothing any more, or its lease is over
		if h.taken > 0 {
			w.forget(h)
		} else {
			w.beat(h.node)
		}
	}
	return w.has(h)
}

// cameBack looks at a membership that was adopted although the hold before
// this one knew that there is none: a late join of a still earlier one.
func (w *world) cameBack(h *hold, room string) {
	old := h.restored
	if old == nil || old.adopts > 0 || old.places[room] == nil || old.places[room].member || old.places[room].busy {
		return
	}
	w.counts["adopted a late join"]++
	if old.places[room].quit {
		w.fail("came back: %s is a member of %s, and its leave had been answered", h.conn, room)
	}
	if old.life {
		w.fail("%s is a member of %s again, by a join of an earlier life", h.conn, room)
	}
}

// act is one request of a client, or what its socket still had in it.
func (w *world) act(h *hold, room string) {
	if h.adopts > 0 || h.stamp != h.node.stamp || w.until(h) < w.now() {
		return
	}
	p := h.places[room]
	if p == nil {
		p = &place{}
		h.places[room] = p
	}
	if p.busy {
		return
	}
	choice := w.draw("request", 4)
	switch {
	case !p.tracked:
		w.write(h, p, Track{h.conn, h.inc, w.until(h), room, Listed{"p", 0, "{}"}, 0}, func(reply any) {
			if reply == int64(1) {
				p.tracked, p.left = true, false
			}
		})
	case choice == 0 && p.member:
		w.write(h, p, w.leave(h, room, "left"), func(reply any) {
			if answered(reply) {
				p.member, p.quit = false, true
			}
		})
	case choice == 1:
		w.leaveRoom(h, room, p)
	case choice == 2 && p.member:
		data := fmt.Sprint(w.draw("data", 3))
		o := Update{ValidUntil: w.until(h), Stamp: h.stamp, Room: room, Conn: h.conn, Inc: h.inc, Client: `"bob"`, Data: data}
		w.write(h, p, o, func(reply any) {
			if answered(reply) {
				p.data = data
			}
		})
	default:
		o := Join{ValidUntil: w.until(h), Stamp: h.stamp, Room: room, Conn: h.conn, Inc: h.inc, Client: `"bob"`}
		w.write(h, p, o, func(reply any) {
			if answered(reply) {
				p.member, p.quit, p.data, p.at = true, false, "", since(reply)
			}
		})
	}
}

func (w *world) leave(h *hold, room, reason string) Leave {
	return Leave{ValidUntil: w.until(h), Room: room, Conn: h.conn, Inc: h.inc, Reason: reason}
}

func (w *world) leaveRoom(h *hold, room string, p *place) {
	w.write(h, p, w.leave(h, room, "room_left"), func(reply any) {
		if !answered(reply) {
			return
		}
		p.member = false
		if !w.has(h) || w.until(h) < w.now() {
			return
		}
		w.write(h, p, Untrack{h.conn, h.inc, room, w.until(h), false}, func(reply any) {
			switch reply {
			case int64(1):
				p.tracked = false
				if h.places[room] == p {
					delete(h.places, room)
				}
			case "LATER":
				p.tracked, p.left = false, true
			}
		})
	})
}

// answered: it took effect, or need not.
func answered(reply any) bool {
	if text, is := reply.(string); is { // of a join: revision and time
		return text[0] >= '0' && text[0] <= '9'
	}
	_, is := reply.(int64)
	return is
}

// since is the time in the answer of a join; 0: it was none.
func since(reply any) int64 {
	text, _ := reply.(string)
	if _, at, is := strings.Cut(text, " "); is && answered(reply) {
		return number64(at)
	}
	return 0
}

// write is one operation of a hold in a room, which is busy until it is
// answered.
func (w *world) write(h *hold, p *place, o Op, done func(reply any)) {
	p.busy = true
	w.send(&flight{h, w.until(h), func() {
		reply := w.do(o)
		p.busy = false
		if reply == "FENCED inc" {
			w.forget(h)
			return
		}
		done(reply)
	}})
}

// drop is a node that finds a socket lost.
func (w *world) drop(h *hold) {
	o := Detach{h.conn, h.inc, grace, w.fenceOf(h), map[string]int64{rooms[0]: w.now()}}
	w.forget(h)
	w.send(&flight{run: func() { w.do(o) }})
}

// close is a clean end.
func (w *world) close(h *hold) {
	o := Close{h.conn, h.inc, claimMS, "closed", w.fenceOf(h)}
	w.forget(h)
	w.send(&flight{run: func() { w.depart(h.conn, w.do(o), 0) }})
}

// depart begins a round of leaves, when fields says that there is one to make.
func (w *world) depart(conn string, reply any, claimed int64) {
	was, _ := reply.(map[string]string)
	if was["state"] != "leaving" {
		return
	}
	s := &saga{conn: conn, node: was["node"], why: was["why"], inc: number64(was["inc"]), claimed: claimed}
	if s.why != "closed" {
		s.retention = retention
	}
	for _, field := range slices.Sorted(maps.Keys(was)) {
		if room, is := strings.CutPrefix(field, "room:"); is {
			s.rooms = append(s.rooms, room)
		}
	}
	w.sagas = append(w.sagas, s)
}

// help makes leave what stands in the way of a resume.
func (w *world) help(conn, inc string) {
	s := w.m.State().Sessions[conn]
	switch {
	case s == nil || decimal(s.Inc) != inc:
	case s.State == "grace":
		w.counts["help"]++
		w.claim(0, conn)
	case s.State == "leaving":
		w.counts["help"]++
		w.depart(conn, s.Fields(), 0)
	}
}

// step goes one step on with a round of leaves.
func (w *world) step(s *saga) {
	switch {
	case len(s.rooms) > 0:
		room := s.rooms[0]
		s.rooms = s.rooms[1:]
		s.pending++
		o := Leave{ValidUntil: w.now() + opMS, Room: room, Conn: s.conn, Inc: s.inc, Reason: s.why}
		w.send(&flight{run: func() {
			s.pending--
			if _, late := w.do(o).(Refused); late {
				s.rooms = append(s.rooms, room)
			}
		}})
	case s.pending == 0 && !s.finishing:
		s.finishing = true
		o := Finish{s.claimed, []End{{s.conn, s.inc, s.retention, s.node}}}
		w.send(&flight{run: func() { w.do(o); w.abandon(s) }})
	}
}

func (w *world) abandon(s *saga) {
	if i := slices.Index(w.sagas, s); i >= 0 {
		w.sagas = slices.Delete(w.sagas, i, i+1)
	}
}

// claim claims; claimed 0 is what a helper says instead of the claim's time.
func (w *world) claim(claimed int64, list ...string) {
	reply, _ := w.do(Claim{claimMS, list}).([]any)
	if reply == nil { // an answer of one: nothing was due
		return
	}
	if len(list) > 0 && claimed != 0 {
		claimed = reply[0].(int64)
	}
	for i := 1; i < len(reply); i += 2 {
		w.depart(reply[i].(string), reply[i+1], claimed)
	}
}

// sweep is what an owner does once its fence is over: what former owners
// wrote late, and rooms that were left before it, go.
func (w *world) sweep(h *hold) {
	if h.fence == 0 || h.sweeping || w.now() <= h.fence || h.adopts > 0 || h.stamp != h.node.stamp || w.until(h) < w.now() {
		return
	}
	h.sweeping = true
	w.counts["sweep"]++
	var ops []Op
	for _, room := range slices.Sorted(maps.Keys(h.places)) {
		o := w.leave(h, room, "timeout")
		o.Inc--
		ops = append(ops, o)
		if p := h.places[room]; p.left {
			ops = append(ops, Untrack{Conn: h.conn, Inc: h.inc, Room: room, OnlyLeft: true})
		}
	}
	ops = append(ops, Untrack{Conn: h.conn, Inc: h.inc})
	w.sweepOn(h, ops)
}

func (w *world) sweepOn(h *hold, ops []Op) {
	if len(ops) == 0 {
		h.fence, h.sweeping = 0, false
		return
	}
	switch o := ops[0].(type) { // each is sent when the one before it is answered
	case Leave:
		o.ValidUntil = w.until(h)
		ops[0] = o
	case Untrack:
		o.ValidUntil = w.until(h)
		ops[0] = o
	}
	w.send(&flight{h, w.until(h), func() {
		reply := w.do(ops[0])
		if _, late := reply.(Refused); late || !h.node.up || h.stamp != h.node.stamp || w.until(h) < w.now() {
			h.sweeping = false // else its node goes on, also where the connection has gone meanwhile
			return
		}
		if o, is := ops[0].(Untrack); is && o.Room == "" && reply == "LATER" {
			h.sweeping = false // a room was left meanwhile: once more
			return
		}
		if o, is := ops[0].(Untrack); is && o.Room != "" && reply == int64(1) {
			if p := h.places[o.Room]; p != nil && p.left && !p.busy {
				delete(h.places, o.Room)
			}
		}
		w.sweepOn(h, ops[1:])
	}})
}

// Reapers.

func (w *world) condemn(stamp string) {
	if end, is := w.do(Condemn{stamp, 0, claimMS}).(int64); is && end > 0 {
		w.reaps = append(w.reaps, &reap{stamp, end})
	}
}

func (w *world) reap(r *reap) {
	list := slices.Sorted(maps.Keys(w.m.State().Index[r.stamp]))
	if len(list) == 0 {
		w.do(Bury{r.stamp})
		w.reaps = slices.DeleteFunc(w.reaps, func(o *reap) bool { return o == r })
		return
	}
	w.do(Orphan{r.stamp, "node_lost", r.leaseEnd, ttl, 0, list[:1+w.draw("orphans", len(list))]})
}
