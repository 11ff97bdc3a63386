package model

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
	"presencesets/scripts"
)

// The race runs the scripts as they are, by the real clock, from many
// goroutines at once: connections which join, leave, drop, come back and take
// themselves over on three nodes, some of which die; writes that arrive late;
// reapers that crash and oversleep. Afterwards every join has its leave, no
// event is missing or double, no membership was lost over a resume, and
// nothing is left.
//
//	go test ./internal/model -run TestRace -v -args -race.duration=60s -race.conns=300
var (
	raceDuration = flag.Duration("race.duration", 3*time.Second, "how long TestRace goes on")
	raceConns    = flag.Int("race.conns", 100, "connections of TestRace")
)

// The times of the race, ms: short, so that all of it happens often.
const (
	raceTTL       = 1500
	raceBeat      = 300
	raceGrace     = 700
	raceClaim     = 250
	raceRetention = 900
	raceOp        = 600
	raceLate      = 400 // the longest that a write is on its way
	raceRooms     = 12
)

// raceLong is from when on a race must have seen everything.
const raceLong = 30 * time.Second

type race struct {
	t      *testing.T
	ctx    context.Context
	c      *redis.Client
	p      string
	sha    map[string]string
	nodes  []*raceNode
	shards []string
	stop   chan struct{} // clients begin nothing new
	done   chan struct{} // nothing is left to do
	late   sync.WaitGroup
	counts sync.Map // string → *atomic.Int64
	wrong  atomic.Pointer[string]
}

type raceNode struct {
	id    string
	mu    sync.Mutex
	stamp string // guarded by mu, as until
	until int64
}

func (n *raceNode) lease() (stamp string, until int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stamp, n.until
}

func (r *race) count(what string, n int64) {
	v, _ := r.counts.LoadOrStore(what, new(atomic.Int64))
	v.(*atomic.Int64).Add(n)
}

func (r *race) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.wrong.CompareAndSwap(nil, &text)
}

func nowMS() int64 { return time.Now().UnixMilli() } // the server is on this machine

func (r *race) do(o Op) any {
	call := o.Call(r.p)
	v, err := answer(o, r.c.EvalSha(r.ctx, r.sha[call.Script], call.Keys, call.Args...))
	if err != nil {
		r.fail("%T%+v: %v", o, o, err)
	}
	r.count("call "+call.Script, 1)
	if l, is := v.([]any); is && len(l) == 1 {
		return l[0]
	}
	return v
}

// beat keeps one node alive. Now and then it dies and another process takes
// its place.
func (r *race) beat(n *raceNode) {
	tick := time.NewTicker(raceBeat * time.Millisecond)
	defer tick.Stop()
	for {
		stamp, _ := n.lease()
		if rand.IntN(7) == 0 || !r.renew(n, stamp) {
			r.start(n)
		}
		select {
		case <-r.done:
			return
		case <-tick.C:
		}
	}
}

// start gives a node a new stamp.
func (r *race) start(n *raceNode) {
	stamp := r.do(Register{n.id, raceTTL, "{}"}).([]any)[0].(string)
	r.renew(n, stamp)
	r.count("node started", 1)
}

// renew is false when the stamp was condemned.
func (r *race) renew(n *raceNode, stamp string) bool {
	reply, alive := r.do(Beat{stamp, raceTTL, "{}"}).([]any)
	if alive {
		n.mu.Lock()
		n.stamp, n.until = stamp, reply[1].(int64)
		n.mu.Unlock()
	}
	return alive
}

// reap is one reaper.
func (r *race) reap() {
	for {
		for _, shard := range r.shards {
			due, err := r.due(names(r.p).due(shard))
			if err != nil {
				r.fail("due: %v", err)
				return
			}
			if len(due) == 0 {
				continue
			}
			reply, _ := r.do(Claim{raceClaim, due}).([]any)
			if len(reply) < 3 {
				continue
			}
			claimed := reply[0].(int64)
			if rand.IntN(6) == 0 {
				r.count("reaper crashed after a claim", 1)
				continue
			}
			if rand.IntN(8) == 0 {
				r.count("reaper overslept", 1)
				time.Sleep((raceClaim + 100) * time.Millisecond) // what is tried: another one claims meanwhile
			}
			for i := 1; i < len(reply); i += 2 {
				r.depart(reply[i].(string), reply[i+1].(map[string]string), claimed, 12)
			}
		}
		r.reapNodes()
		select {
		case <-r.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (r *race) due(key string) ([]string, error) {
	return r.c.ZRangeArgs(r.ctx, redis.ZRangeArgs{Key: key, ByScore: true, Start: "-inf", Stop: nowMS(), Count: 100}).Result()
}

func (r *race) reapNodes() {
	k := names(r.p)
	due, err := r.due(k.nodes("due"))
	if err != nil {
		r.fail("nodes: %v", err)
	}
	for _, stamp := range due {
		end, _ := r.do(Condemn{stamp, 0, raceClaim}).(int64)
		if end == 0 || rand.IntN(6) == 0 {
			continue // alive, or this reaper crashes
		}
		for _, shard := range r.shards {
			list, err := r.c.HKeys(r.ctx, k.index(shard, stamp)).Result()
			if err != nil {
				r.fail("index: %v", err)
			}
			for chunk := range slices.Chunk(list, 50) {
				if n, _ := r.do(Orphan{stamp, "node_lost", end, raceTTL, 0, chunk}).(int64); n > 0 {
					r.count("orphaned", n)
				}
			}
		}
		r.do(Bury{stamp})
	}
}

// depart is one round of leaves, of which one in crash ends at some leave.
func (r *race) depart(conn string, was map[string]string, claimed int64, crash int) {
	if was["state"] != "leaving" {
		return
	}
	inc := number64(was["inc"])
	for field := range was {
		room, is := strings.CutPrefix(field, "room:")
		if !is {
			continue
		}
		for {
			_, lapsed := r.do(Leave{ValidUntil: nowMS() + raceOp, Room: room, Conn: conn, Inc: inc, Reason: was["why"]}).(Refused)
			if !lapsed {
				break
			}
		}
		if rand.IntN(crash) == 0 {
			r.count("crashed between leaves", 1)
			return
		}
	}
	retention := int64(raceRetention)
	if was["why"] == "closed" {
		retention = 0
	}
	r.do(Finish{claimed, []End{{conn, inc, retention, was["node"]}}})
}

// racer is one connection, with its client and whoever holds it.
type racer struct {
	*race
	conn  string
	h     *raceHold
	was   *raceHold // the last that it had, when it may be resumed
	rooms []string
}

type raceHold struct {
	node             *raceNode
	stamp            string
	inc, from, fence int64
	places           map[string]*racePlace
	flying           []*raceFlight
}

type racePlace struct{ tracked, member, left, busy bool }

// raceFlight is a write that arrives late.
type raceFlight struct {
	place *racePlace
	leave bool
	until int64
	reply chan any
}

func (c *racer) run() {
	for {
		select {
		case <-c.stop:
			return
		default:
		}
		switch {
		case c.h == nil:
			c.connect()
		case rand.IntN(50) == 0:
			c.drop()
			if rand.IntN(3) == 0 {
				time.Sleep(rand.N(3 * raceGrace * time.Millisecond / 2)) // the client is away, within the grace or for longer
			}
		case rand.IntN(80) == 0:
			c.close()
		case rand.IntN(60) == 0: // its client comes back on another socket
			c.count("takeover", 1)
			c.was, c.h = c.h, nil
			if c.connect(); c.h != nil {
				switch rand.IntN(3) {
				case 0:
					c.close()
				case 1:
					for _, room := range c.rooms {
						c.leaveRoom(room)
					}
				}
			}
		default:
			c.act(c.rooms[rand.IntN(len(c.rooms))])
		}
		c.settle()
	}
}

// settle takes in answers, notices a lost node, sweeps.
func (c *racer) settle() {
	h := c.h
	if h == nil {
		return
	}
	if stamp, _ := h.node.lease(); stamp != h.stamp {
		c.h, c.was = nil, nil
		c.count("lost its node", 1)
		if rand.IntN(2) == 0 { // its client goes, too
			time.Sleep(rand.N(2 * raceTTL * time.Millisecond)) // away, too
		}
		return
	}
	h.flying = slices.DeleteFunc(h.flying, func(f *raceFlight) bool {
		select {
		case reply := <-f.reply:
			f.place.busy = false
			if answered(reply) {
				f.place.member = !f.leave
			}
			return true
		default:
			return false
		}
	})
	if h.fence > 0 && nowMS() > h.fence {
		c.sweep(h)
	}
}

func (c *racer) until(h *raceHold) int64 {
	_, until := h.node.lease()
	return min(until, nowMS()+raceOp)
}

func (c *racer) connect() {
	n := c.nodes[rand.IntN(len(c.nodes))]
	newest := nowMS() + 1
	old, err := c.c.HGet(c.ctx, names(c.p).session(c.conn), "node").Result()
	if err != nil && err != redis.Nil {
		c.fail("session: %v", err)
	}
	stamp, until := n.lease()
	until = min(until, nowMS()+raceOp)
	switch reply := c.do(Resume{c.conn, "app1", "app1.k1", "bob", "", stamp, old, until, newest, 0, raceTTL}).(type) {
	case []any:
		c.resumed(n, stamp, reply[0].(int64), reply[1].(int64), reply[2].(string), reply[3].(map[string]string))
	case string:
		word, inc, _ := strings.Cut(reply, " ")
		c.count("resume "+word, 1)
		switch word {
		case "GONE":
			if inc, is := c.do(Open{c.conn, 0, stamp, "app1", "app1.k1", "bob", raceGrace, "", until}).(int64); is {
				c.h = &raceHold{node: n, stamp: stamp, inc: inc, from: inc, places: map[string]*racePlace{}}
			}
		case "LEAVING":
			c.help(inc)
		}
	}
	c.was = nil
}

func (c *racer) help(inc string) {
	was, err := c.c.HGetAll(c.ctx, names(c.p).session(c.conn)).Result()
	if err != nil {
		c.fail("session: %v", err)
	}
	switch {
	case was["inc"] != inc:
	case was["state"] == "leaving":
		c.depart(c.conn, was, 0, 12)
	case was["state"] == "grace":
		if reply, _ := c.do(Claim{raceClaim, []string{c.conn}}).([]any); len(reply) == 3 {
			c.depart(c.conn, reply[2].(map[string]string), 0, 12)
		}
	}
}

func (c *racer) resumed(n *raceNode, stamp string, inc, fence int64, state string, was map[string]string) {
	c.count("resumed from "+state, 1)
	h := &raceHold{node: n, stamp: stamp, inc: inc, from: inc, fence: fence, places: map[string]*racePlace{}}
	if state != "away" {
		h.from = number64(was["from"])
	}
	for field, value := range was {
		room, is := strings.CutPrefix(field, "room:")
		if !is {
			continue
		}
		left := value[0] == 'x' || state == "away" && was["why"] == "closed"
		if left && state == "away" && fence == 0 {
			continue
		}
		p := &racePlace{tracked: !left, left: left}
		h.places[room] = p
		if left || state == "away" {
			continue
		}
		if !c.adopt(h, room, p) {
			return // taken, or its lease is over: its client comes again
		}
		if old := c.was; old != nil && old.inc == number64(was["inc"]) && old.places[room] != nil &&
			old.places[room].member && !old.places[room].busy && !p.member {
			c.fail("%s lost its membership of %s over the resume from %s to inc %d", c.conn, room, state, inc)
		}
	}
	c.h = h
}

func (c *racer) adopt(h *raceHold, room string, p *racePlace) bool {
	reply := c.do(Adopt{c.until(h), h.stamp, room, c.conn, h.inc, h.from})
	word, _ := reply.(string)
	switch {
	case strings.HasPrefix(word, "{"):
		p.member = true
	case word == "OLD":
		c.do(Leave{ValidUntil: c.until(h), Room: room, Conn: c.conn, Inc: h.inc, Reason: "timeout"})
		c.count("left over", 1)
	case reply != int64(0):
		return false
	}
	return true
}

// write sends now, or lets it be late; the place is busy until the answer.
func (c *racer) write(h *raceHold, p *racePlace, leave bool, o Op) any {
	if rand.IntN(20) > 0 {
		return c.do(o)
	}
	f := &raceFlight{p, leave, nowMS() + raceOp, make(chan any, 1)}
	p.busy = true
	h.flying = append(h.flying, f)
	c.count("late", 1)
	c.late.Go(func() {
		time.Sleep(rand.N(raceLate * time.Millisecond)) // on its way: that is what late is
		f.reply <- c.do(o)
	})
	if rand.IntN(3) == 0 { // just then its client comes on another socket
		c.count("takeover", 1)
		c.was, c.h = h, nil
		if c.connect(); c.h != nil {
			for room := range maps.Clone(c.h.places) {
				if rand.IntN(2) == 0 {
					c.leaveRoom(room)
				}
			}
			if rand.IntN(3) == 0 && c.h != nil {
				c.close()
			}
		}
	}
	return "LATE"
}

func (c *racer) act(room string) {
	h := c.h
	p := h.places[room]
	if p == nil {
		p = &racePlace{}
		h.places[room] = p
	}
	if p.busy {
		time.Sleep(time.Millisecond) // the client waits for its answer; nothing is decided by it
		return
	}
	switch {
	case !p.tracked:
		switch c.do(Track{c.conn, h.inc, c.until(h), room, Listed{"p", 0, "{}"}, 0}) {
		case int64(1):
			p.tracked, p.left = true, false
		case "FENCED inc":
			c.h, c.was = nil, nil
		}
	case p.member && rand.IntN(4) == 0:
		if answered(c.write(h, p, true, Leave{ValidUntil: c.until(h), Room: room, Conn: c.conn, Inc: h.inc, Reason: "left"})) {
			p.member = false
		}
	case rand.IntN(5) == 0:
		c.leaveRoom(room)
	default:
		o := Join{ValidUntil: c.until(h), Stamp: h.stamp, Room: room, Conn: c.conn, Inc: h.inc, Client: `"bob"`, Data: fmt.Sprint(rand.IntN(9))}
		if answered(c.write(h, p, false, o)) {
			p.member = true
		}
	}
}

func (c *racer) leaveRoom(room string) {
	h := c.h
	if h == nil || h.places[room] == nil || h.places[room].busy || !h.places[room].tracked {
		return
	}
	p := h.places[room]
	if !answered(c.do(Leave{ValidUntil: c.until(h), Room: room, Conn: c.conn, Inc: h.inc, Reason: "room_left"})) {
		return
	}
	p.member = false
	switch c.do(Untrack{c.conn, h.inc, room, c.until(h), false}) {
	case int64(1):
		delete(h.places, room)
	case "LATER":
		p.tracked, p.left = false, true
	}
}

// sweep is the owner's round at the fence.
func (c *racer) sweep(h *raceHold) {
	for room, p := range maps.Clone(h.places) {
		if _, lapsed := c.do(Leave{ValidUntil: c.until(h), Room: room, Conn: c.conn, Inc: h.inc - 1, Reason: "timeout"}).(Refused); lapsed {
			return
		}
		if p.left && !p.busy && c.do(Untrack{c.conn, h.inc, room, c.until(h), true}) == int64(1) {
			delete(h.places, room)
		}
	}
	if c.do(Untrack{c.conn, h.inc, "", c.until(h), false}) == int64(1) {
		h.fence = 0
		c.count("swept", 1)
	}
}

func (h *raceHold) unanswered() (fence int64) {
	for _, f := range h.flying {
		fence = max(fence, f.until)
	}
	return fence
}

func (c *racer) drop() {
	c.count("dropped", 1)
	c.do(Detach{c.conn, c.h.inc, raceGrace, c.h.unanswered(), nil})
	c.was, c.h = c.h, nil
}

func (c *racer) close() {
	c.count("closed", 1)
	h := c.h
	c.was, c.h = nil, nil
	was, _ := c.do(Close{c.conn, h.inc, raceClaim, "closed", h.unanswered()}).(map[string]string)
	if rand.IntN(6) > 0 {
		c.depart(c.conn, was, 0, 12)
	}
}

// follow folds the events of all rooms until the last line, and says what is
// wrong with them.
func (r *race) follow(feed *redis.PubSub, ready chan<- struct{}, channels int) {
	for range channels {
		if _, err := feed.Receive(r.ctx); err != nil {
			r.fail("subscribe: %v", err)
		}
	}
	close(ready)
	rev, members := map[string]int64{}, map[string]map[string]bool{}
	for {
		m, err := feed.ReceiveMessage(r.ctx)
		if err != nil {
			r.fail("feed: %v", err)
			return
		}
		if m.Payload == "end" {
			break
		}
		word := strings.SplitN(m.Payload, " ", 5)
		kind, conn, at, prev := word[0], word[3], number64(word[1]), number64(word[2])
		in := members[m.Channel]
		if in == nil {
			in = map[string]bool{}
			members[m.Channel] = in
		}
		if at <= rev[m.Channel] || prev != rev[m.Channel] && (prev != 0 || len(in) > 0) {
			r.fail("gap: after %d comes %s", rev[m.Channel], m.Payload)
		}
		if in[conn] == (kind == "join") {
			r.fail("twice: %s", m.Payload)
		}
		r.count("event "+kind, 1)
		rev[m.Channel], in[conn] = at, true
		if kind == "leave" {
			delete(in, conn)
		}
	}
	for channel, in := range members {
		if len(in) > 0 {
			r.fail("%s: the events leave %d members behind", channel, len(in))
		}
	}
}

func TestRace(t *testing.T) {
	t.Parallel()
	r := runRace(t, *raceDuration, time.Minute, *raceConns)
	if wrong := r.wrong.Load(); wrong != nil {
		t.Error(*wrong)
	}
	text := ""
	counts := map[string]int64{}
	r.counts.Range(func(k, v any) bool { counts[k.(string)] = v.(*atomic.Int64).Load(); return true })
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		text += fmt.Sprintf("\n  %-30s %d", k, counts[k])
	}
	t.Logf("%d connections, %v:%s", *raceConns, *raceDuration, text)
	if counts["event join"] != counts["event leave"] {
		t.Errorf("%d joins, %d leaves", counts["event join"], counts["event leave"])
	}
	must := []string{"event join", "resumed from live", "resumed from grace", "late"}
	if *raceDuration >= raceLong { // a short race on a busy machine has not seen everything
		must = append(must, "resumed from away", "swept", "orphaned", "reaper overslept", "reaper crashed after a claim", "crashed between leaves")
	}
	for _, k := range must {
		if counts[k] == 0 {
			t.Errorf("%s: none; the race did not do what it is for", k)
		}
	}
}

// The race's own proof: without one of the guards it finds ghosts. That takes
// chance and time; TestEachGuardIsNeeded needs neither.
func TestTheRaceMissesNoGhost(t *testing.T) {
	if *raceDuration < raceLong {
		// In a short race it is chance whether the ghost comes; make faults runs the long one.
		t.Skipf("only with -race.duration=%v or more", raceLong)
	}
	t.Parallel()
	m := mutation{"untrack", "if ms <= fence or fence > 0 and room ~= '' and only ~= 'x' then", "if false then"}
	if r := runRace(t, 10*time.Second, 5*time.Second, 200, m); r.wrong.Load() == nil {
		t.Error("a race without the fence in untrack ended well")
	} else {
		t.Log(*r.wrong.Load())
	}
}

// runRace races and comes to rest.
func runRace(t *testing.T, d, limit time.Duration, conns int, mutants ...mutation) *race {
	s := redistest.Start(t, "--client-output-buffer-limit", "pubsub 0 0 0")
	r := &race{t: t, ctx: t.Context(), c: s.Client(t), p: "race", sha: map[string]string{}, stop: make(chan struct{}), done: make(chan struct{})}
	for _, s := range scripts.All() {
		source := s.Source
		for _, m := range mutants {
			if m.script == s.Name {
				source = strings.Replace(source, m.old, m.new, 1)
			}
		}
		sha, err := r.c.ScriptLoad(r.ctx, source).Result()
		if err != nil {
			t.Fatalf("load %s: %v", s.Name, err)
		}
		r.sha[s.Name] = sha
	}
	var rooms, channels []string
	for i := range raceRooms {
		rooms = append(rooms, fmt.Sprintf("app1:%d", i))
		channels = append(channels, names(r.p).room(rooms[i], "feed"))
	}
	channels = append(channels, "end")
	for i := range 4 {
		r.shards = append(r.shards, fmt.Sprintf("%02x", i))
	}
	feed := r.c.SSubscribe(r.ctx, channels...)
	var follower, background, clients sync.WaitGroup
	ready := make(chan struct{})
	follower.Go(func() { r.follow(feed, ready, len(channels)) })
	<-ready
	for _, id := range []string{"n1", "n2", "n3"} {
		n := &raceNode{id: id}
		r.nodes = append(r.nodes, n)
		r.start(n)
		background.Go(func() { r.beat(n) })
	}
	for range 3 {
		background.Go(r.reap)
	}
	for i := range conns {
		c := &racer{race: r, conn: fmt.Sprintf("%s%018x", r.shards[i%len(r.shards)], i), rooms: rooms}
		clients.Go(func() {
			c.run()
			if c.h != nil && i%2 == 0 {
				c.close()
			} else if c.h != nil {
				c.drop()
			}
		})
	}
	time.Sleep(d) // how long the race is run
	close(r.stop)
	clients.Wait()
	r.late.Wait()
	r.rest(limit)
	close(r.done)
	background.Wait()
	if err := r.c.SPublish(r.ctx, "end", "end").Err(); err != nil {
		t.Fatal(err)
	}
	follower.Wait()
	_ = feed.Close()
	return r
}

// rest waits until the reapers have brought everything to its end.
func (r *race) rest(limit time.Duration) {
	for deadline := time.Now().Add(limit); ; {
		keys, err := r.c.Keys(r.ctx, r.p+":*").Result()
		if err != nil {
			r.fail("keys: %v", err)
			return
		}
		keys = slices.DeleteFunc(keys, func(k string) bool {
			return strings.Contains(k, "{nodes}") && !strings.HasSuffix(k, "reaping")
		})
		if len(keys) == 0 {
			return
		}
		if time.Now().After(deadline) {
			r.fail("%d keys are left: %s", len(keys), strings.Join(keys[:min(len(keys), 5)], " "))
			return
		}
		time.Sleep(20 * time.Millisecond) // between two looks at keys, which no event announces
	}
}
