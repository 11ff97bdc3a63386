package redisstore

import (
	"context"
	"sync"
	"time"

	presence "presencesets"
)

// What is owed: the departures that this node has begun and Redis has not
// answered in every step. There is at most one for each connection, so they
// are bounded by the connections that were open here, and each goes on from
// where it is as soon as this node may write.

const (
	owedPause = 250 * time.Millisecond // how soon an owed departure goes on
	owedChunk = 1024                   // how many go on at a time
	// giveUpAfter is how often a step may fail with an answer (not for lack
	// of one) before we leave the rest to the due list.
	giveUpAfter = 20
)

// departures are all that this node is about to end.
type departures struct {
	// set once
	store *Store
	wake  chan struct{}

	// mu protects
	mu      sync.Mutex
	live    map[presence.ConnID]*departure
	owed    []*departure
	claimed int           // of live, those from the due list
	empty   chan struct{} // closed when live is empty; nil: nobody waits
}

func newDepartures(s *Store) *departures {
	return &departures{store: s, wake: make(chan struct{}, 1), live: make(map[presence.ConnID]*departure)}
}

// begin starts d, unless the connection is departing already.
func (a *departures) begin(d *departure) bool {
	d.all, d.began = a, a.store.clock()
	a.mu.Lock()
	if _, ok := a.live[d.conn]; ok {
		a.mu.Unlock()
		return false
	}
	a.live[d.conn] = d
	if d.claimed {
		a.claimed++
	}
	a.mu.Unlock()
	d.proceed()
	return true
}

// abort ends a connection whose open was not answered, if it was made after
// all. after is called when that is certain.
func (a *departures) abort(app string, conn presence.ConnID, after func()) {
	d := &departure{conn: conn, reason: presence.ReasonClosed, stage: stageRead, after: after}
	if !a.begin(d) {
		after()
	}
}

// departing reports whether this node is about to end the connection.
func (a *departures) departing(conn presence.ConnID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.live[conn]
	return ok
}

// busy is how many departures from the due list are under way.
func (a *departures) busy() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.claimed
}

// owe keeps d until Redis can be asked again.
func (a *departures) owe(d *departure) {
	if d.fails >= giveUpAfter {
		a.store.log.Error("a departure is left to the due list", "conn", d.conn.String(), "count", d.fails)
		a.done(d)
		return
	}
	a.mu.Lock()
	a.owed = append(a.owed, d)
	n := len(a.owed)
	a.mu.Unlock()
	a.store.metrics.DeparturesOwed.Set(float64(n))
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// done ends d.
func (a *departures) done(d *departure) {
	if d.claimed {
		a.store.metrics.Reaped.WithLabelValues("expiry").Inc()
	}
	a.forget(d)
	if d.after != nil {
		d.after()
	}
}

// forget drops d: it is done, or the store has ended and `due` keeps it.
func (a *departures) forget(d *departure) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.live[d.conn] != d {
		return
	}
	delete(a.live, d.conn)
	if d.claimed {
		a.claimed--
	}
	if len(a.live) == 0 && a.empty != nil {
		close(a.empty)
		a.empty = nil
	}
}

// run lets owed departures go on, until ctx ends.
func (a *departures) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(owedPause):
		}
		for _, d := range a.due() {
			d.proceed()
		}
	}
}

// due takes the next owed departures, and none while this node may not write:
// the next beat that is answered wakes the loop.
func (a *departures) due() []*departure {
	if _, _, ok := a.store.lease.window(); !ok {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n := min(len(a.owed), owedChunk)
	next := append([]*departure(nil), a.owed[:n]...)
	a.owed = append(a.owed[:0], a.owed[n:]...)
	a.store.metrics.DeparturesOwed.Set(float64(len(a.owed)))
	if len(a.owed) > 0 {
		a.pokeLocked()
	}
	return next
}

// poke makes the loop look again.
func (a *departures) poke() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.owed) > 0 {
		a.pokeLocked()
	}
}

func (a *departures) pokeLocked() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// flush waits until every departure is done; it returns how many are not when
// ctx ends first.
func (a *departures) flush(ctx context.Context) int {
	a.mu.Lock()
	if len(a.live) == 0 {
		a.mu.Unlock()
		return 0
	}
	if a.empty == nil {
		a.empty = make(chan struct{})
	}
	empty := a.empty
	a.mu.Unlock()
	select {
	case <-empty:
		return 0
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.live)
}
