package redisstore

import (
	"sync"
	"time"

	presence "presencesets"
)

// One at a time. A resume or a reclaim of a connection is several steps, and
// another one in between would be taken for its own: when the answer of the
// first is lost, what it may have made is known only by being this node's. So
// they take turns: each has the connection from its first step to its last, and
// who comes meanwhile waits.
//
// They also wait for what this node is ending: a resume that overtook a detach
// or a close would find what was before it.

// turns is who has which connection, and who waits for one. Both are bounded
// by the sagas under way.
type turns struct {
	mu      sync.Mutex
	held    map[presence.ConnID]struct{}
	waiting map[presence.ConnID][]*entrant
}

// entrant waits until free says so, or too long.
type entrant struct {
	free  func() bool // called with the turns locked
	then  func(ok bool)
	timer *time.Timer
}

func newTurns() *turns {
	return &turns{held: make(map[presence.ConnID]struct{}), waiting: make(map[presence.ConnID][]*entrant)}
}

// enter takes the connection when nobody has it and may says so, at once or
// later, and calls then; with false when that takes longer than left.
func (t *turns) enter(conn presence.ConnID, left time.Duration, may func() bool, then func(ok bool)) {
	t.await(conn, left, func() bool {
		if _, ok := t.held[conn]; ok || !may() {
			return false
		}
		t.held[conn] = struct{}{}
		return true
	}, then)
}

// await calls then when free says so, which is asked now and at each wake;
// with false when that takes longer than left.
func (t *turns) await(conn presence.ConnID, left time.Duration, free func() bool, then func(ok bool)) {
	t.mu.Lock()
	if free() {
		t.mu.Unlock()
		then(true)
		return
	}
	w := &entrant{free: free, then: then}
	t.waiting[conn] = append(t.waiting[conn], w)
	w.timer = time.AfterFunc(left, func() { t.giveUp(conn, w) })
	t.mu.Unlock()
}

// giveUp ends a wait that took too long.
func (t *turns) giveUp(conn presence.ConnID, w *entrant) {
	t.mu.Lock()
	there := false
	for _, other := range t.takeLocked(conn) {
		if other == w {
			there = true
			continue
		}
		t.waiting[conn] = append(t.waiting[conn], other)
	}
	t.mu.Unlock()
	if there {
		w.then(false)
	}
}

// exit gives the connection to the next.
func (t *turns) exit(conn presence.ConnID) {
	t.mu.Lock()
	delete(t.held, conn)
	t.mu.Unlock()
	t.wake(conn)
}

// wake asks all who wait for the connection again.
func (t *turns) wake(conn presence.ConnID) {
	t.mu.Lock()
	var freed []*entrant
	for _, w := range t.takeLocked(conn) {
		if w.free() {
			w.timer.Stop()
			freed = append(freed, w)
			continue
		}
		t.waiting[conn] = append(t.waiting[conn], w)
	}
	t.mu.Unlock()
	for _, w := range freed {
		w.then(true)
	}
}

func (t *turns) takeLocked(conn presence.ConnID) []*entrant {
	list := t.waiting[conn]
	delete(t.waiting, conn)
	return list
}
