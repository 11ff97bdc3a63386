package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	presence "presencesets"
)

// What is owed: the departures that this node has begun and Redis has not
// answered in every step. There is at most one for each incarnation of a
// connection, so they are bounded by the connections that were open here, and
// each goes on from where it is as soon as this node may write.

const (
	owedPause = 250 * time.Millisecond // how soon an owed departure goes on
	owedChunk = 4096                   // how many go on at a time
	// giveUpAfter is how often a step may fail with an answer (not for lack
	// of one) before we leave the rest to the due list.
	giveUpAfter = 20
)

// departures are all that this node is about to end.
type departures struct {
	// set once
	store *Store
	wake  chan struct{}
	room  chan struct{} // told when half of what may be claimed at a time is done

	// mu protects
	mu      sync.Mutex
	live    map[presence.ConnID][]*departure // more than one: it was resumed, and lost again, meanwhile
	owed    []*departure
	claimed int           // of live, those from the due list
	empty   chan struct{} // closed when live is empty; nil: nobody waits
}

func newDepartures(s *Store) *departures {
	return &departures{
		store: s, wake: make(chan struct{}, 1), room: make(chan struct{}, 1),
		live: make(map[presence.ConnID][]*departure),
	}
}

// begin starts d, unless this incarnation of the connection is departing
// already.
func (a *departures) begin(d *departure) bool {
	d.all, d.began = a, a.store.clock()
	a.mu.Lock()
	for _, other := range a.live[d.conn] {
		if other.id == d.inc {
			a.mu.Unlock()
			return false
		}
	}
	d.id = d.inc
	a.live[d.conn] = append(a.live[d.conn], d)
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
	a.undo(&departure{app: app, conn: conn, reason: presence.ReasonClosed, stage: stageRead, after: after})
}

// abortResume detaches a connection whose resume was not answered, if it was
// made after all: its client may come again. after is called when that is
// certain. Until then the connection must not be resumed on this node: the one
// would be taken for the other (see aborting). seen is the incarnation that the
// session had before it: what has that one still was not resumed.
func (a *departures) abortResume(app string, conn presence.ConnID, seen int64, after func()) {
	a.undo(&departure{
		app: app, conn: conn, reason: presence.ReasonTimeout, stage: stageRead, resumed: true, seen: seen, after: after,
	})
}

func (a *departures) undo(d *departure) {
	if !a.begin(d) {
		d.after()
	}
}

// aborting reports whether an open or a resume of the connection is being
// undone that was not answered.
func (a *departures) aborting(conn presence.ConnID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.live[conn] {
		if d.id == 0 {
			return true
		}
	}
	return false
}

// departing reports whether this node is about to end the connection.
func (a *departures) departing(conn presence.ConnID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.live[conn]) > 0
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
		by := "expiry"
		if d.reason == presence.ReasonNodeLost {
			by = "node"
		}
		a.store.metrics.Reaped.WithLabelValues(by).Inc()
	}
	a.forget(d)
	if d.after != nil {
		d.after()
	}
}

// forget drops d: it is done, or the store has ended and `due` keeps it.
func (a *departures) forget(d *departure) {
	defer a.store.turns.wake(d.conn) // when the lock is free
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.live[d.conn]
	at := slices.Index(list, d)
	switch {
	case at < 0:
		return
	case len(list) == 1:
		delete(a.live, d.conn)
	default:
		a.live[d.conn] = slices.Delete(list, at, at+1)
	}
	if d.claimed {
		if a.claimed--; a.claimed == claimBusy/2 {
			select {
			case a.room <- struct{}{}:
			default:
			}
		}
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
	n := 0
	for _, list := range a.live {
		n += len(list)
	}
	return n
}
