package redisstore

import (
	"sync"
	"time"

	presence "presencesets"
)

// Whose turn it is to be reclaimed (reclaim.go). All connections of a node come at
// once, and Redis has other work: so they wait in a queue, and few are compared
// at a time.

// reclaimPause is how long the edge may take between two of them.
const reclaimPause = time.Second

// reclaimWeight bounds what is compared at a time: connections and their rooms.
const reclaimWeight = 500

// reclaims are the connections that this node is to reclaim. They are bounded
// by the connections that it has.
type reclaims struct {
	// set once
	store *Store

	// mu protects
	mu      sync.Mutex
	all     map[presence.ConnID]*reclaim
	queue   []*reclaim
	weight  int
	from    int64 // none begins before it, on the store's clock
	active  int64 // when one was handed over or ended last, on the store's clock; 0: none ever was
	pumping bool
}

func newReclaims(s *Store) *reclaims {
	return &reclaims{store: s, all: make(map[presence.ConnID]*reclaim)}
}

// submit hands over an OpReclaim. It never blocks.
func (q *reclaims) submit(op *presence.Op) *presence.Error {
	r := &reclaim{all: q, store: q.store, op: op, conn: op.Conn, weight: 1 + len(op.Holds), inc: op.Inc}
	q.mu.Lock()
	if q.all[op.Conn] != nil {
		q.mu.Unlock()
		return presence.Errorf(presence.CodeUnavailable, "the connection is being reclaimed already")
	}
	q.all[op.Conn] = r
	q.queue = append(q.queue, r)
	q.active = q.store.clock()
	q.mu.Unlock()
	q.pump()
	return nil
}

// busy reports whether connections are being reclaimed, or are about to be.
func (q *reclaims) busy() bool {
	now := q.store.clock()
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.all) > 0 || now < q.from || q.active > 0 && now-q.active < int64(reclaimPause)
}

// notBefore has none begin until d has passed.
func (q *reclaims) notBefore(d time.Duration) {
	q.mu.Lock()
	q.from = q.store.clock() + int64(d)
	q.mu.Unlock()
	time.AfterFunc(d, q.pump)
}

// again queues a reclaim whose last try was not answered.
func (q *reclaims) again(op *presence.Op) {
	q.mu.Lock()
	if r := q.all[op.Conn]; r != nil && r.op == op {
		q.queue = append(q.queue, r)
	}
	q.mu.Unlock()
	q.pump()
}

// pump begins as many as may be under way. What ends while it does so is seen
// by the one that pumps.
func (q *reclaims) pump() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pumping {
		return
	}
	q.pumping = true
	for len(q.queue) > 0 && q.weight < reclaimWeight && q.store.clock() >= q.from {
		r := q.queue[0]
		q.queue[0] = nil
		q.queue = q.queue[1:]
		q.weight += r.weight
		q.mu.Unlock()
		r.begin()
		q.mu.Lock()
	}
	q.pumping = false
}

// hold has then called, with the connection's incarnation, when a reclaim of it
// that is under way has ended; false: there is none.
func (q *reclaims) hold(conn presence.ConnID, then func(inc int64)) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.all[conn]
	if r != nil {
		r.after = append(r.after, then)
	}
	return r != nil
}

// giveUp ends a reclaim that will not be tried again: the store has ended.
func (q *reclaims) giveUp(op *presence.Op) {
	q.mu.Lock()
	r := q.all[op.Conn]
	q.mu.Unlock()
	if r != nil && r.op == op {
		r.end("error", errShutdown(), false)
	}
}

// rest ends a try.
func (q *reclaims) rest(r *reclaim) {
	q.mu.Lock()
	q.weight -= r.weight
	q.mu.Unlock()
	q.pump()
}
