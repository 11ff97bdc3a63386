package node

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	presence "presencesets"
	"presencesets/protocol"
)

// Room is a room that somebody on this node is in. It outlives its entries by
// nothing: the last one that goes takes it out of the node's map.
//
// Two worlds meet here. The feed calls RoomEvent and RoomMessage on a goroutine
// of the store, and reads only the atomics; each loop keeps its own subscribers
// in its local part, which no other goroutine touches.
type Room struct {
	// Set once.
	node *Node
	app  string
	name string

	refs int        // entries, over all loops; protected by the node's roomsMu
	mu   sync.Mutex // orders the bits below, and an unwatch against a watch

	// Atomic: bit i is set while loop i has, or waits for, such a subscriber.
	presence atomic.Uint64
	messages atomic.Uint64
	named    atomic.Int32 // binds to an event by its name; 0: no such frame need be built
	all      atomic.Int32 // binds to every event

	local []localRoom // one a loop, owned by it
}

// maxLoops is what fits into the bit sets of a room.
const maxLoops = 64

// localRoom is one loop's subscribers of a room.
type localRoom struct {
	subs    []*entry // nil: a tombstone, left by who went while a job walked the list
	dead    int
	walkers int // jobs that walk it now: 0 or 1

	pending []*broadcast // wait for their job
	queued  bool         // the room is in the loop's queue

	wantPresence int // entries that have, or wait for, presence events
	wantMessages int
}

// room returns the room of that name, made if need be, and counts one more
// entry in it.
func (n *Node) room(app string, name []byte) *Room {
	n.roomsMu.Lock()
	defer n.roomsMu.Unlock()
	key := append(append(append(n.roomKey[:0], app...), ':'), name...)
	n.roomKey = key
	r := n.rooms[string(key)]
	if r == nil {
		r = &Room{node: n, app: app, name: string(name), local: make([]localRoom, len(n.loops))}
		n.rooms[string(key)] = r
	}
	r.refs++
	return r
}

// release takes one entry off the room.
func (r *Room) release() {
	r.node.roomsMu.Lock()
	defer r.node.roomsMu.Unlock()
	if r.refs--; r.refs == 0 {
		delete(r.node.rooms, r.app+":"+r.name)
	}
}

// want changes how many entries of loop l need presence events or messages,
// and tells the store when the last one of the node has gone. A watch is asked
// for by the loop itself, after it was counted here.
func (r *Room) want(l *loop, presenceBy, messagesBy int) {
	lr := &r.local[l.id]
	before := lr.wantPresence + lr.wantMessages
	lr.wantPresence += presenceBy
	lr.wantMessages += messagesBy
	switch after := lr.wantPresence + lr.wantMessages; {
	case before == 0 && after > 0:
		l.rooms++
	case before > 0 && after == 0:
		l.rooms--
	}
	bit := uint64(1) << l.id
	r.mu.Lock()
	defer r.mu.Unlock()
	if presenceBy != 0 && flip(&r.presence, bit, lr.wantPresence > 0) {
		r.node.opts.Store.Unwatch(r.app, r.name)
	}
	if messagesBy != 0 && flip(&r.messages, bit, lr.wantMessages > 0) {
		r.node.opts.Store.UnwatchMessages(r.app, r.name)
	}
}

// flip sets or clears bit and reports whether that made the set empty.
func flip(set *atomic.Uint64, bit uint64, on bool) (emptied bool) {
	old := set.Load()
	now := old &^ bit
	if on {
		now = old | bit
	}
	set.Store(now) // only under the room's mutex
	return old != 0 && now == 0
}

// add puts an entry into the loop's list of subscribers; it may be there already.
func (r *Room) add(l *loop, e *entry) {
	if e.index >= 0 {
		return
	}
	lr := &r.local[l.id]
	e.index = int32(len(lr.subs))
	lr.subs = append(lr.subs, e)
	l.subs++
}

// remove takes an entry out. While a job walks the list its place stays, empty:
// moving another into it would make the walk miss that one.
func (r *Room) remove(l *loop, e *entry) {
	if e.index < 0 {
		return
	}
	lr := &r.local[l.id]
	i := int(e.index)
	e.index = -1
	l.subs--
	if lr.walkers > 0 {
		lr.subs[i] = nil
		lr.dead++
		return
	}
	last := len(lr.subs) - 1
	if i != last {
		lr.subs[i] = lr.subs[last]
		lr.subs[i].index = int32(i)
	}
	lr.subs[last] = nil
	lr.subs = lr.subs[:last]
	if cap(lr.subs) > 64 && len(lr.subs) < cap(lr.subs)/4 {
		lr.subs = append(make([]*entry, 0, 2*len(lr.subs)+8), lr.subs...)
	}
}

// walked ends a job's walk and closes the gaps that it has left.
func (lr *localRoom) walked() {
	lr.walkers--
	if lr.dead == 0 {
		return
	}
	kept := lr.subs[:0]
	for _, e := range lr.subs {
		if e != nil {
			e.index = int32(len(kept))
			kept = append(kept, e)
		}
	}
	clear(lr.subs[len(kept):])
	lr.subs, lr.dead = kept, 0
}

// RoomEvent implements presence.RoomSink: it builds the frame, once for this
// node, and gives every loop that has subscribers one task.
func (r *Room) RoomEvent(ev *presence.Event) {
	loops := r.presence.Load()
	if loops == 0 || ev.Kind == presence.KindMark {
		return
	}
	var scratch [512]byte
	b := &broadcast{
		room: r, kind: ev.Kind, rev: ev.Revision, conn: ev.Conn, at: time.UnixMilli(ev.Time),
		frame: textFrame(protocol.AppendEvent(scratch[:0], r.app, r.name, ev)),
	}
	r.cast(loops, b)
}

// RoomMessage implements presence.RoomSink.
func (r *Room) RoomMessage(payload []byte) {
	loops := r.messages.Load()
	if loops == 0 {
		return
	}
	id, event, ok := protocol.SplitMessage(payload)
	if !ok {
		r.node.opts.Log.Warn("a message that is not of our form was published by hand", "app", r.app, "room", r.name, "bytes", len(payload))
		return
	}
	b := &broadcast{room: r, id: string(id)}
	if r.named.Load() > 0 {
		b.event = string(event)
		b.frame = textFrame(protocol.AppendMessageEvent(nil, r.app, r.name, event, false, payload))
	}
	if r.all.Load() > 0 {
		b.frameAll = textFrame(protocol.AppendMessageEvent(nil, r.app, r.name, event, true, payload))
	}
	if b.frame != nil || b.frameAll != nil {
		r.cast(loops, b)
	}
}

func (r *Room) cast(loops uint64, b *broadcast) {
	b.posted = time.Now()
	for ; loops != 0; loops &= loops - 1 {
		r.node.loops[bits.TrailingZeros64(loops)].post(task{kind: taskCast, cast: b})
	}
}
