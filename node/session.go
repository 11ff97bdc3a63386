package node

import (
	"slices"
	"time"

	presence "presencesets"
	"presencesets/protocol"
)

// What a connection has in the rooms that it is in, and in which order its
// requests there run.
//
// An entry is one connection in one room. It has at most one request with the
// store; the others wait behind it in their order, because pipelines may
// overtake each other. So a presence join that was sent right behind a room join
// waits for the answer of the room join, and fails with it. The session in
// Redis lists the same rooms and subscriptions: it is told first (track), the
// client afterwards.

// entry is a connection in a room, or, with joined false, the place where its
// requests for a room that it is not in keep their order.
type entry struct {
	next *entry // of the same connection
	room *Room

	slot  uint32
	index int32 // in the loop's list of the room's subscribers, -1: not there
	mask  uint8 // what it is sent

	joined bool
	member bool // a presence join was sent, and no leave answered since: leaving the room must leave the set first
	gone   bool // forgotten; a list of this turn may still name it

	waitPresence, waitMessages bool // a watch is under way, and counted in the room

	present   bool // a join was acknowledged, and no leave since: the store must hold data
	restoring bool // its subscriptions are being resumed: handed is what counts

	queue   []*request // wait for current, in order
	current *request   // with the store

	sinceOf [3]presence.Revision // by kind: events at or below were in its snapshot
	handed  presence.Revision    // of the last event that was sent to it; of one that is restored, to its lost socket
	answer  presence.Revision    // of its last change here; its own events at or below acknowledge nothing
	binds   []string             // event names, as JSON strings

	data string // of its membership: JSON, "" when none was sent
	at   int64  // of its first join, Unix milliseconds of the store; 0: not known
}

func (e *entry) since() presence.Revision {
	return max(e.sinceOf[0], e.sinceOf[1], e.sinceOf[2])
}

func (e *entry) bound(eventJSON string) bool { return slices.Contains(e.binds, eventJSON) }

// entry returns c's entry for the room of that name, or nil.
func (c *conn) entry(name []byte) *entry {
	for e := c.entries; e != nil; e = e.next {
		if e.room.name == string(name) {
			return e
		}
	}
	return nil
}

func (l *loop) newEntry(c *conn, name []byte) *entry {
	e := &entry{room: l.node.room(c.key.App.ID, name), slot: c.slot, index: -1, next: c.entries}
	c.entries = e
	return e
}

// dropIdle forgets e when c is not in the room and nothing of it is under way.
func (l *loop) dropIdle(c *conn, e *entry) {
	if e.gone || e.joined || e.current != nil || len(e.queue) > 0 {
		return
	}
	for at := &c.entries; *at != nil; at = &(*at).next {
		if *at == e {
			*at = e.next
			break
		}
	}
	l.forget(e)
}

// forget ends what e was; it must be out of its connection's list.
func (l *loop) forget(e *entry) {
	l.leaveLists(e)
	l.setMember(e, false)
	e.gone = true
	e.room.release()
}

func (l *loop) setMember(e *entry, member bool) {
	switch {
	case member && !e.member:
		l.members++
	case !member && e.member:
		l.members--
	}
	e.member = member
}

// leaveLists ends all that e is sent.
func (l *loop) leaveLists(e *entry) {
	l.setMask(e, 0)
	l.dropPending(e)
	for range e.binds {
		e.room.named.Add(-1)
	}
	e.binds = nil
}

// dropPending takes back what a watch that is under way was counted for.
func (l *loop) dropPending(e *entry) {
	if e.waitPresence {
		e.waitPresence = false
		e.room.want(l, -1, 0)
	}
	if e.waitMessages {
		e.waitMessages = false
		e.room.want(l, 0, -1)
	}
}

// setMask changes what e is sent, and what its room needs from the store.
func (l *loop) setMask(e *entry, mask uint8) {
	old := e.mask
	if old == mask {
		return
	}
	e.mask = mask
	if old&maskAll != mask&maskAll {
		if mask&maskAll != 0 {
			e.room.all.Add(1)
		} else {
			e.room.all.Add(-1)
		}
	}
	delta := func(part uint8) int {
		switch {
		case old&part == 0 && mask&part != 0:
			return 1
		case old&part != 0 && mask&part == 0:
			return -1
		}
		return 0
	}
	if p, m := delta(maskPresence), delta(maskMessages); p != 0 || m != 0 {
		e.room.want(l, p, m)
	}
	if mask != 0 {
		e.room.add(l, e)
	} else {
		e.room.remove(l, e)
	}
}

// subscriptions is the SUBS part of the session's line of this room: what any
// node restores a connection's subscriptions from.
func subscriptions(dst []byte, mask uint8, binds []string) []byte {
	dst = append(dst, '{')
	if mask&maskPresence != 0 {
		dst = append(dst, `"presence":[`...)
		for k := presence.KindJoin; k <= presence.KindLeave; k++ {
			if mask&kindMask(k) != 0 {
				dst = append(append(append(dst, '"'), k.String()...), `",`...)
			}
		}
		dst[len(dst)-1] = ']'
	}
	if mask&maskAll != 0 || len(binds) > 0 {
		if mask&maskPresence != 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `"bind":[`...)
		if mask&maskAll != 0 {
			dst = append(dst, `"`+protocol.EventAll+`",`...)
		}
		for _, b := range binds {
			dst = append(append(dst, b...), ',')
		}
		dst[len(dst)-1] = ']'
	}
	return append(dst, '}')
}

// request is one request of a client on its way through the store. It belongs
// to the loop but for the time between a submit and its OpDone.
type request struct {
	op     presence.Op
	loop   *loop
	ref    connRef
	errand errand
	typ    protocol.Type
	stage  uint8
	acked  bool
	freed  bool
	kinds  uint8 // the events that may be its own: maskJoin, …
	opened bool  // an open, counted off the node's opens; owned by the store's side
	waits  bool  // on the loop's list of those that wait
	doubt  bool  // its outcome was unknown once: the client was told so
	began  time.Time
	entry  *entry // nil: not ordered, or its connection has ended

	ack      []byte          // ackId, JSON string
	buf      []byte          // backs op.Data
	event    string          // JSON string of the event's name; or of presence events
	mask     uint8           // interest that a subscription adds or takes
	want     []string        // binds after a chain of subscriptions
	wantMask uint8           // interest after it
	limit    int             // of a get
	id       string          // of a message
	reply    []byte          // built off the loop
	tooLong  int             // bytes that it would have had, when that is over the limit
	chain    *request        // subscriptions that travel with this one
	late     *lateBox        // its connection lost its socket: where its acknowledgement goes
	from     presence.Replay // of a restore: from where it goes on
	epoch    uint16          // of an upgrade or a reclaim: the store's past that it was asked in
	room     *Room           // of one that is late
	text     bool            // of one that is late: flagText of its connection
	entries  []*entry        // of a reclaim: those of its holds
	next     *request        // free list
}

// errand is what a request is for.
type errand uint8

const (
	errandClient  errand = iota // a client asked
	errandOpen                  // an upgrade wants a session
	errandRestore               // a subscription is resumed
	errandReclaim               // what a connection is, is compared with the store
)

func (l *loop) newRequest(c *conn) *request {
	r := l.freeReqs
	if r == nil {
		r = &request{loop: l}
		r.op.Done = r
	} else {
		l.freeReqs = r.next
		*r = request{loop: l, ack: r.ack[:0], buf: r.buf[:0]}
		r.op.Done = r
	}
	r.ref = c.ref()
	r.began = l.now
	return r
}

// release gives r back. The caller has no further use of it, nor has the store.
func (r *request) release() {
	if r.freed {
		panic("a request was released twice")
	}
	r.freed = true
	if cap(r.buf) > 4<<10 {
		r.buf = nil
	}
	r.op, r.reply, r.chain, r.entry, r.want = presence.Op{}, nil, nil, nil, nil
	r.late, r.room, r.entries = nil, nil, nil
	r.next = r.loop.freeReqs
	r.loop.freeReqs = r
}

// abandon releases a request that was never sent, and what is chained to it.
func (r *request) abandon() {
	for r != nil {
		next := r.chain
		r.chain = nil
		r.release()
		r = next
	}
}

// OpDone implements presence.Completion: it sends the request home.
func (r *request) OpDone(op *presence.Op) {
	n := r.loop.node
	if r.errand == errandOpen && !r.opened {
		r.opened = true
		defer n.opens.Done() // behind a Depart that the answer may cause; one that is unknown the store itself ends
	}
	if op.Unknown {
		r.loop.post(task{kind: taskDone, req: r, unknown: op.Err})
		return
	}
	if op.Kind == presence.OpMembers && op.Err == nil {
		if len(op.Snapshot.Members) > bigList { // sorting and copying it would hold up whoever called
			go func() {
				n.lists <- struct{}{} // few at a time: each may take megabytes
				defer func() { <-n.lists }()
				r.list()
				r.home()
			}()
			return
		}
		r.list()
	}
	r.home() // from here on r is the loop's
}

func (r *request) home() {
	if !r.loop.post(task{kind: taskDone, req: r}) {
		r.loop.orphaned(r)
	}
}

// bigList is the length of a list of members that is put together on a
// goroutine of its own.
const bigList = 500

// list builds the answer of a get: newest join first.
func (r *request) list() {
	members := slices.Clone(r.op.Snapshot.Members) // the snapshot may be shared
	slices.SortFunc(members, func(a, b presence.Member) int {
		switch {
		case a.At != b.At:
			return int(min(1, max(-1, b.At-a.At)))
		default:
			return int(min(1, max(-1, b.Revision-a.Revision)))
		}
	})
	if r.limit >= 0 && len(members) > r.limit {
		members = members[:r.limit]
	}
	r.op.Snapshot.Members = nil
	size := 0
	for i := range members {
		size += listedBytes + len(members[i].Client) + len(members[i].Data)
	}
	if limit := r.loop.node.opts.Limits.Reply; limit > 0 && size > limit {
		r.tooLong = size // not built only to be refused
		return
	}
	r.reply = protocol.AppendMembers(make([]byte, 0, size), r.op.App, members)
}

// listedBytes is about what a member takes in a list besides its client and data.
const listedBytes = 220

// orphaned deals with an answer that nobody waits for any more.
func (l *loop) orphaned(r *request) {
	if r.errand != errandOpen || r.op.Err != nil {
		return
	}
	// The client hung up before its session was open: never a live session
	// without a socket. One that is resumed goes on waiting for its client.
	if r.op.Kind == presence.OpResume && r.op.Restored != nil {
		l.node.keepLate(&r.op)
		l.node.opts.Store.Detach(presence.Detachment{
			App: r.op.App, Conn: r.op.Conn, Inc: r.op.NewInc, Grace: r.op.Grace, Reason: presence.ReasonTimeout,
			Rooms: r.op.Restored.Memberships(),
		})
		return
	}
	l.node.opts.Store.Depart(presence.Departure{App: r.op.App, Conn: r.op.Conn, Inc: r.op.NewInc, Reason: presence.ReasonClosed})
}
