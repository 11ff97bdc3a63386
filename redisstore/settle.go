package redisstore

import (
	"context"
	"sync"
	"time"

	presence "presencesets"
)

// Settling: what became of an operation that Redis did not answer.
//
//	sent ──▶ no answer ──▶ Done(unknown) ──▶ dead ──▶ sent again, retry=1 ──▶ Done
//	                                          │
//	               Redis's clock is past its validUntil: wherever the first one
//	               still travels, a script refuses it
//
// Only a dead operation may be repeated: else a late leave would end the
// membership of the join that came after it, which has the same incarnation.
// The repeat says that it is one, so that what is there already is not
// published twice. An open or a resume is not repeated: the caller went away
// long ago, so a session that was made after all is closed, and one that was
// taken is detached. A reclaim is begun again from its first step, which reads
// how far it came.

// settlePause is how long a repeat waits that could not be sent.
const settlePause = 250 * time.Millisecond

// settler holds the operations whose outcome is unknown: at most one for each
// room of each connection, because the next one waits for it.
type settler struct {
	// set once
	store *Store
	wake  chan struct{}

	// mu protects
	mu    sync.Mutex
	tasks map[presence.ConnID][]unsettled
	undo  map[presence.ConnID]struct{} // opens and resumes that have just left tasks
	over  bool
}

// unsettled is a task that waits, not before `from` on the store's clock.
type unsettled struct {
	task
	from int64
}

func newSettler(s *Store) *settler {
	return &settler{store: s, wake: make(chan struct{}, 1), tasks: make(map[presence.ConnID][]unsettled), undo: make(map[presence.ConnID]struct{})}
}

// add takes a task whose caller was told that the outcome is unknown.
func (q *settler) add(t task) {
	q.mu.Lock()
	// Asked inside the lock: cancel comes after depart, so either we see the
	// departure or it sees the task.
	if q.over || q.store.departed.has(t.op) {
		q.mu.Unlock()
		q.giveUp(t)
		return
	}
	from := q.store.clock()
	if t.retry {
		from += int64(settlePause)
	}
	q.tasks[t.op.Conn] = append(q.tasks[t.op.Conn], unsettled{t, from})
	q.mu.Unlock()
	q.poke()
}

// poke makes the settler look again.
func (q *settler) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// cancel ends what is unsettled of a connection that departed: its close
// takes care of it. It reports whether there was anything.
func (q *settler) cancel(conn presence.ConnID) bool {
	q.mu.Lock()
	list := q.tasks[conn]
	delete(q.tasks, conn)
	q.mu.Unlock()
	for _, u := range list {
		q.giveUp(u.task)
	}
	return len(list) > 0
}

// has reports whether something of a connection is unsettled.
func (q *settler) has(conn presence.ConnID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.tasks[conn]) > 0
}

// opening reports whether it is not known if an open or a resume of the
// connection was made.
func (q *settler) opening(conn presence.ConnID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, u := range q.tasks[conn] {
		if begins(u.op.Kind) {
			return true
		}
	}
	_, ok := q.undo[conn]
	return ok
}

// begins reports whether an operation begins an incarnation.
func begins(kind presence.OpKind) bool { return kind == presence.OpOpen || kind == presence.OpResume }

func (q *settler) giveUp(t task) {
	if t.op.Kind == presence.OpReclaim {
		q.store.reclaims.giveUp(t.op)
		return
	}
	q.store.lane(t.op).end(t, fateLost, errDeparted())
}

// run settles until ctx ends, and then gives up what is left.
func (q *settler) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			q.end()
			return
		case <-q.wake:
		case <-timer.C:
		}
		timer.Reset(q.pass())
	}
}

// pass sends what is dead again, and returns when to look next.
func (q *settler) pass() time.Duration {
	if _, _, ok := q.store.lease.window(); !ok {
		return time.Hour // the next beat that is answered pokes
	}
	now, next := q.store.clock(), time.Hour
	var ready []task
	q.mu.Lock()
	for conn, list := range q.tasks {
		kept := list[:0]
		for _, u := range list {
			wait := max(time.Duration(u.from-now), q.store.lease.untilDead(u.valid))
			if wait > 0 || len(ready) >= laneLimit/4 {
				next = min(next, max(wait, time.Millisecond))
				kept = append(kept, u)
				continue
			}
			ready = append(ready, u.task)
			if begins(u.op.Kind) {
				q.undo[conn] = struct{}{}
			}
		}
		if len(kept) == 0 {
			delete(q.tasks, conn)
		} else {
			q.tasks[conn] = kept
		}
	}
	q.mu.Unlock()
	for _, t := range ready {
		q.settle(t)
	}
	return next
}

func (q *settler) settle(t task) {
	undone := func() { q.store.lane(t.op).end(t, fateLost, fateError(t.op, fateLost, "")) }
	switch t.op.Kind {
	case presence.OpOpen:
		q.store.departures.abort(t.op.App, t.op.Conn, undone)
		q.begun(t.op.Conn)
		return
	case presence.OpResume:
		q.store.departures.abortResume(t.op.App, t.op.Conn, t.seen, undone)
		q.begun(t.op.Conn)
		return
	case presence.OpReclaim:
		q.store.reclaims.again(t.op)
		return
	}
	t.retry = true
	if !q.store.lane(t.op).push(t) {
		q.giveUp(t)
	}
}

// begun: from here the departures know of what is undone.
func (q *settler) begun(conn presence.ConnID) {
	q.mu.Lock()
	delete(q.undo, conn)
	q.mu.Unlock()
	q.store.turns.wake(conn)
}

func (q *settler) end() {
	q.mu.Lock()
	q.over = true
	tasks := q.tasks
	q.tasks = nil
	q.mu.Unlock()
	for _, list := range tasks {
		for _, u := range list {
			q.giveUp(u.task)
		}
	}
}
