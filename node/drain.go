package node

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gobwas/ws"
)

// The end of a node. Its connections go on elsewhere, so nobody leaves:
//
//	Drain:  not ready ▶ [delay: balancers notice] ▶ no new sockets ▶ [window: close
//	        one after the other, each at a moment of its own] ▶ close the rest
//	Run's context ends: close all at once
//
// A socket is closed with 1001 after its requests were answered, or after
// drainPatience. Its session is detached with a grace that is long enough for
// the client to find another node; the answer to our close frame ends nothing.

const (
	drainStep     = 100 * time.Millisecond
	drainPatience = 2 * time.Second
	goingAway     = "this node is shutting down; connect again"
)

// wave is the state of a loop that drains.
type wave struct {
	began time.Time
	order []connRef // who is closed, and in which order
	done  int       // of order
	busy  []patient // waited for, with requests under way
	next  time.Time // of the next step; zero: none
}

// patient is a connection for which something is waited for.
type patient struct {
	ref   connRef
	until time.Time
}

// Drain sends the node's clients to other nodes. It blocks for the delay and
// the window of the options, or until ctx ends; then end Run's context. New
// sockets are refused from the delay on.
func (n *Node) Drain(ctx context.Context) {
	n.draining.Store(true)
	n.opts.Metrics.Draining.Set(1)
	if !sleep(ctx, n.opts.DrainDelay) {
		return
	}
	n.stopAccepting()
	for _, l := range n.loops {
		l.post(task{kind: taskDrain})
	}
	deadline := time.Now().Add(n.opts.DrainWindow + drainPatience)
	for time.Now().Before(deadline) && n.live() > 0 {
		if !sleep(ctx, drainStep) {
			return
		}
	}
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// live is how many sockets the loops hold.
func (n *Node) live() (count int64) {
	for _, l := range n.loops {
		count += l.count.Load()
	}
	return count
}

// startDrain lines up the connections that are open now.
func (l *loop) startDrain() {
	w := &l.drain
	if !w.began.IsZero() {
		return
	}
	w.began = l.now
	for i := range uint32(len(l.conns.slabs)) * slabSize {
		if c := l.conns.at(i); c.state == stateOpen {
			w.order = append(w.order, c.ref())
		}
	}
	rand.Shuffle(len(w.order), func(i, j int) { w.order[i], w.order[j] = w.order[j], w.order[i] })
	w.next = l.now
}

// stepDrain closes those whose moment has come.
func (l *loop) stepDrain() {
	w := &l.drain
	if w.next.IsZero() || l.now.Before(w.next) {
		return
	}
	upTo := len(w.order)
	if since, window := l.now.Sub(w.began), l.node.opts.DrainWindow; since < window {
		upTo = int(int64(len(w.order)) * int64(since) / int64(window))
	}
	for ; w.done < upTo; w.done++ {
		l.leaveTo(w.order[w.done], l.now.Add(drainPatience))
	}
	busy := w.busy
	w.busy = nil
	for _, p := range busy {
		l.leaveTo(p.ref, p.until)
	}
	w.next = l.now.Add(drainStep)
	if w.done == len(w.order) && len(w.busy) == 0 {
		w.order, w.done, w.next = nil, 0, time.Time{}
	}
}

// leaveTo closes one connection, when its requests are answered or at until.
func (l *loop) leaveTo(ref connRef, until time.Time) {
	c := l.conns.get(ref)
	if c == nil || c.state != stateOpen {
		return
	}
	if c.inflight > 0 && l.now.Before(until) {
		l.drain.busy = append(l.drain.busy, patient{ref, until})
		return
	}
	defer l.recovered(ref)
	l.closeWith(c, ws.StatusGoingAway, goingAway, endDrain)
}
