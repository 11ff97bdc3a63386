package node

import (
	"sync"

	presence "presencesets"
)

// What the store tells and asks the node: presence.Edge. Everything goes to the
// loops, which own the connections; answers come from there.

var _ presence.Edge = (*Node)(nil)

// Taken implements presence.Edge.
func (n *Node) Taken(conn presence.ConnID, inc int64) {
	for _, l := range n.loops {
		l.post(task{kind: taskAsk, do: func(l *loop) { l.forgetTaken(conn, inc) }})
	}
}

func (l *loop) forgetTaken(conn presence.ConnID, inc int64) {
	for _, p := range l.opening { // it may have been resumed and taken before its socket has heard of either
		if c := l.conns.get(p.ref); c != nil && c.id == conn && c.state == stateAuthorising {
			c.in.hand.taken = max(c.in.hand.taken, inc)
		}
	}
	if slot, ok := l.byID[conn]; ok {
		c := l.conns.at(slot)
		defer l.recovered(c.ref())
		l.taken(c, inc)
	}
}

// Late implements presence.Edge. It is answered behind every Taken that came
// before it.
func (n *Node) Late(conn presence.ConnID, answer func(payloads [][]byte)) {
	n.eachLoop(func(*loop) {}, func() { n.late.take(conn, answer) })
}

// Connections implements presence.Edge.
func (n *Node) Connections(answer func([]presence.Held)) {
	var (
		mu   sync.Mutex
		held []presence.Held
	)
	n.eachLoop(func(l *loop) {
		var own []presence.Held
		for i := range uint32(len(l.conns.slabs)) * slabSize {
			if c := l.conns.at(i); c.state == stateOpen && c.flags&flagEnded == 0 {
				own = append(own, presence.Held{Conn: c.id, Inc: c.inc})
			}
		}
		mu.Lock()
		defer mu.Unlock()
		held = append(held, own...)
	}, func() { answer(held) })
}

// Reclaim implements presence.Edge.
func (n *Node) Reclaim(epoch int64) {
	for _, l := range n.loops {
		l.post(task{kind: taskReclaim, epoch: epoch})
	}
}

// eachLoop has do done on every loop that runs, and then, on the last one of
// them, done.
func (n *Node) eachLoop(do func(*loop), done func()) {
	var wait sync.WaitGroup
	wait.Add(len(n.loops))
	for _, l := range n.loops {
		if !l.post(task{kind: taskAsk, do: func(l *loop) { defer wait.Done(); do(l) }}) {
			wait.Done()
		}
	}
	go func() { wait.Wait(); done() }()
}
