package redisstore

import (
	"container/heap"
	"context"
	"strings"
	"sync"
	"time"

	presence "presencesets"
)

// The fence of a connection that was taken over. Its earlier owner may still
// have a join on its way, and where that finds no member nothing in the room
// can tell that it is late:
//
//	n1: join a ───────────────────────────────────────┐ (slow)
//	n2:      resume ──▶ adopt a: 0 ──▶ leave a ──▶ …  ▼ member, of nobody
//	         └──── fence: until when a write of n1 is valid ────┤ sweep
//
// So until the fence the session forgets no room (untrack answers LATER), and at
// it, when every adopt was answered, its owner goes through all of them once
// more: leave with an incarnation below its own, which ends what an earlier
// owner wrote and nothing else; then untrack of the rooms that were left; then
// the fence itself goes.
//
// What is to be swept is kept in memory, one entry a connection. When its
// connection ends or is lost the entry goes, too: who claims the session then
// does the same (finish.lua). One that was taken from here is found to be, and
// dropped.

const (
	// sweepsAtOnce is how many sweeps may be under way.
	sweepsAtOnce = 256
	// sweepPause is how soon a sweep is tried again that Redis did not answer.
	sweepPause = 500 * time.Millisecond
)

// fences are the connections of this node that have one.
type fences struct {
	// set once
	store *Store
	wake  chan struct{}

	// mu protects
	mu   sync.Mutex
	all  map[presence.ConnID]*fenced
	due  fenceHeap
	busy int
}

// fenced is one connection with a fence.
type fenced struct {
	conn  presence.ConnID
	inc   int64
	fence int64 // Redis ms
	from  int64 // not to be swept sooner, on the store's clock
	index int   // in the heap, -1: it is being swept
}

func newFences(s *Store) *fences {
	return &fences{store: s, wake: make(chan struct{}, 1), all: make(map[presence.ConnID]*fenced)}
}

// fenceTime is for how long, after its session was taken, an owner may still
// have writes under way.
func (s *Store) fenceTime() time.Duration { return s.opts.LeaseTTL + s.lease.skewTime() }

// fenceOf is until when writes that this node has sent may take effect, those
// of a batch that is about to be sent among them, in ms of any master's clock;
// 0: all of them are dead.
func (s *Store) fenceOf(b *batch) int64 {
	if b.mayWrite {
		for old := s.highest.Load(); b.validUntil > old && !s.highest.CompareAndSwap(old, b.validUntil); {
			old = s.highest.Load()
		}
	}
	highest := s.highest.Load()
	if b.grant != nil && s.lease.dead(highest) {
		return 0
	}
	return highest + s.lease.skewTime().Milliseconds()
}

// add has a connection swept at its fence.
func (q *fences) add(conn presence.ConnID, inc, fence int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.removeLocked(conn)
	f := &fenced{conn: conn, inc: inc, fence: fence}
	q.all[conn] = f
	heap.Push(&q.due, f)
	q.pokeLocked()
}

// drop forgets a connection that has ended here.
func (q *fences) drop(conn presence.ConnID, inc int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f := q.all[conn]; f != nil && f.inc <= inc {
		q.removeLocked(conn)
	}
}

func (q *fences) removeLocked(conn presence.ConnID) {
	if f := q.all[conn]; f != nil {
		delete(q.all, conn)
		if f.index >= 0 {
			heap.Remove(&q.due, f.index)
		}
	}
}

func (q *fences) pokeLocked() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// run sweeps until ctx ends.
func (q *fences) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		case <-timer.C:
		}
		timer.Reset(q.pass())
	}
}

// pass begins the sweeps that are due, and returns when to look again.
func (q *fences) pass() time.Duration {
	for {
		f, wait := q.next()
		if f == nil {
			return wait
		}
		(&sweep{fences: q, fenced: f, store: q.store}).read()
	}
}

// next takes the first that is due; nil: none is, for so long.
func (q *fences) next() (*fenced, time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.due) == 0 || q.busy >= sweepsAtOnce {
		return nil, time.Hour // whoever changes that pokes
	}
	f := q.due[0]
	wait := max(q.store.lease.untilDead(f.fence), time.Duration(f.from-q.store.clock()))
	if wait > 0 {
		return nil, wait + time.Millisecond
	}
	heap.Pop(&q.due)
	q.busy++
	return f, 0
}

// done ends a sweep; one that is to come again does so at fence, or after a
// pause.
func (q *fences) done(f *fenced, again bool, fence int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.busy--
	q.pokeLocked()
	switch there := q.all[f.conn] == f; {
	case !there: // dropped, or taken again, meanwhile
	case !again:
		delete(q.all, f.conn)
	default:
		f.fence, f.from = fence, q.store.clock()+int64(sweepPause)
		heap.Push(&q.due, f)
	}
}

// sweep is one round over the rooms of a connection.
type sweep struct {
	// set once
	fences *fences
	fenced *fenced
	store  *Store

	leaves   []step
	untracks []step
}

func (w *sweep) op(kind presence.OpKind, room roomName) presence.Op {
	return presence.Op{Kind: kind, App: room.app, Room: room.room, Conn: w.fenced.conn, Inc: w.fenced.inc}
}

// read finds out which rooms there are, and whether the connection is still
// this node's.
func (w *sweep) read() {
	w.store.ask(&step{Op: w.op(opRead, roomName{}), then: func(st *step) {
		switch st.fate {
		case fateAnswered:
			w.haveRead(st.fields)
		case fateBroken:
			w.fences.done(w.fenced, false, 0) // an error was logged
		default:
			w.again(w.fenced.fence)
		}
	}})
}

func (w *sweep) again(fence int64) { w.fences.done(w.fenced, true, fence) }

func (w *sweep) haveRead(list []string) {
	fields := sessionFields(list)
	inc, _ := parseDecimal([]byte(fields["inc"]))
	fence, _ := parseDecimal([]byte(fields["fence"]))
	if inc != w.fenced.inc || fields["state"] != "live" || fence == 0 {
		w.fences.done(w.fenced, false, 0)
		return
	}
	if !w.store.lease.dead(fence) { // it grew
		w.again(fence)
		return
	}
	for i := 0; i+1 < len(list); i += 2 {
		app, room, ok := parseRoomField(list[i])
		if !ok {
			continue
		}
		leave := step{Op: w.op(presence.OpLeave, roomName{app, room}), swept: true}
		leave.Inc, leave.Reason = w.fenced.inc-1, presence.ReasonUnknown
		if strings.HasPrefix(list[i+1], "x") {
			leave.Reason = presence.ReasonRoomLeft
			w.untracks = append(w.untracks, step{Op: w.op(presence.OpUntrack, roomName{app, room}), swept: true})
		}
		w.leaves = append(w.leaves, leave)
	}
	w.store.askAll(w.leaves, w.haveLeft)
}

func (w *sweep) haveLeft() {
	for i := range w.leaves {
		switch w.leaves[i].fate {
		case fateAnswered, fateFencedInc, fateBroken:
		default:
			w.again(w.fenced.fence)
			return
		}
	}
	w.store.askAll(w.untracks, w.haveUntracked)
}

// haveUntracked removes the fence, when no room is left that must be looked at.
func (w *sweep) haveUntracked() {
	for i := range w.untracks {
		if st := &w.untracks[i]; st.fate != fateFencedInc && (st.fate != fateAnswered || st.word == "LATER") {
			w.again(w.fenced.fence)
			return
		}
	}
	w.store.ask(&step{Op: w.op(presence.OpUntrack, roomName{}), then: func(st *step) {
		if st.fate != fateFencedInc && (st.fate != fateAnswered || st.word == "LATER") {
			w.again(w.fenced.fence)
			return
		}
		w.store.metrics.FenceSweeps.Inc()
		w.fences.done(w.fenced, false, 0)
	}})
}

// fenceHeap is a heap by when a fence is over.
type fenceHeap []*fenced

func (h fenceHeap) Len() int { return len(h) }

func (h fenceHeap) Less(i, j int) bool { return h[i].fence < h[j].fence }

func (h fenceHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *fenceHeap) Push(x any) {
	f := x.(*fenced)
	f.index = len(*h)
	*h = append(*h, f)
}

// Pop implements heap.Interface.
func (h *fenceHeap) Pop() any {
	list := *h
	f := list[len(list)-1]
	list[len(list)-1] = nil
	f.index, *h = -1, list[:len(list)-1]
	return f
}
