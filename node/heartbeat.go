package node

import (
	"math/rand/v2"

	"github.com/gobwas/ws"
)

// Timers of the sockets: one timing wheel a loop.
//
// 512 slots of one second; each slot is the head of a doubly linked list of
// connections, linked by slot numbers that live in the connection (8 bytes).
// A connection has one deadline at a time, the earliest of whatever it waits
// for. Traffic does not touch the wheel: it only writes lastSeen, and when the
// entry comes up the true deadline is computed and the entry filed again.
// Deadlines are whole seconds since the loop began; the wheel is handed the
// time, so that a test can drive it by hand.
//
// Invariant 3 hangs on it: a half-open peer is found within ping interval +
// pong timeout + 1 s.

const (
	wheelSlots = 512
	// wheelWork bounds the entries of one turn; the rest waits for the next.
	wheelWork = 2048
)

type wheel struct {
	heads [wheelSlots]uint32 // slot number of the connection + 1; 0: empty
	now   uint32             // the second that is worked on; all before it are done
	size  int
	later []connRef // scratch of turn
}

// file puts c under its deadline. c must not be filed.
func (w *wheel) file(t *table, c *conn, deadline uint32) {
	if deadline < w.now {
		deadline = w.now
	}
	c.deadline = deadline
	head := &w.heads[deadline%wheelSlots]
	c.wheelPrev, c.wheelNext = 0, *head
	if *head != 0 {
		t.at(*head - 1).wheelPrev = c.slot + 1
	}
	*head = c.slot + 1
	c.flags |= flagFiled
	w.size++
}

// take removes c from the wheel; it may be called when c is not there.
func (w *wheel) take(t *table, c *conn) {
	if c.flags&flagFiled == 0 {
		return
	}
	if c.wheelPrev != 0 {
		t.at(c.wheelPrev - 1).wheelNext = c.wheelNext
	} else {
		w.heads[c.deadline%wheelSlots] = c.wheelNext
	}
	if c.wheelNext != 0 {
		t.at(c.wheelNext - 1).wheelPrev = c.wheelPrev
	}
	c.wheelNext, c.wheelPrev = 0, 0
	c.flags &^= flagFiled
	w.size--
}

// turn calls due for connections whose deadline is at or before now, at most
// wheelWork of them, and reports whether all were done. due may file the
// connection again, for a later second, or end it.
func (w *wheel) turn(t *table, now uint32, due func(*conn)) (done bool) {
	work := 0
	for ; ; w.now++ {
		head := &w.heads[w.now%wheelSlots]
		for *head != 0 && work < wheelWork {
			c := t.at(*head - 1)
			w.take(t, c)
			if c.deadline > w.now { // a later round of the same slot
				w.later = append(w.later, c.ref())
				continue
			}
			work++
			due(c)
		}
		for _, ref := range w.later {
			// due may have ended it, by sending what was gathered for it, or moved it
			if c := t.get(ref); c != nil && c.flags&flagFiled == 0 {
				w.file(t, c, c.deadline)
			}
		}
		w.later = w.later[:0]
		if work >= wheelWork {
			return false
		}
		if w.now >= now {
			return true
		}
	}
}

// refile computes c's next deadline and puts it on the wheel.
func (l *loop) refile(c *conn) {
	l.wheel.take(&l.conns, c)
	l.wheel.file(&l.conns, c, max(l.nextDeadline(c), l.second+1))
}

// nextDeadline is the earliest second at which something about c must be looked at.
func (l *loop) nextDeadline(c *conn) uint32 {
	o := &l.node.opts
	d := uint32(0)
	switch c.state {
	case stateHead:
		return c.since + seconds(o.HandshakeTimeout)
	case stateClosing, stateDraining:
		return c.since + closeSeconds
	default:
		if c.flags&flagPinged != 0 {
			d = c.since + seconds(o.PingTimeout)
		} else {
			d = c.lastSeen + l.pingAfter(c)
		}
	}
	if c.in != nil && c.in.since != 0 {
		d = min(d, c.in.since+halfFrameSeconds)
	}
	if c.out != nil {
		d = min(d, c.out.oldest()+seconds(o.QueueAge))
	}
	return d
}

// pingAfter is the silence after which c is pinged: the interval less 0 to 10 %,
// so that those who came together drift apart.
func (l *loop) pingAfter(c *conn) uint32 {
	full := seconds(l.node.opts.PingInterval)
	if c.flags&flagFresh != 0 { // the first ping: anywhere in the interval
		return 1 + c.jitter%max(full, 1)
	}
	return max(1, full-c.jitter%(full/10+1))
}

// expire looks at a connection whose deadline has come.
func (l *loop) expire(c *conn) {
	now := l.second
	switch c.state {
	case stateHead:
		if now >= c.since+seconds(l.node.opts.HandshakeTimeout) {
			l.m.handshakeFailure("timeout")
			l.destroy(c, endLost)
			return
		}
	case stateClosing, stateDraining:
		if now >= c.since+closeSeconds {
			l.destroy(c, endNone)
			return
		}
	case stateOpen:
		switch {
		case c.flags&flagPinged != 0 && now >= c.since+seconds(l.node.opts.PingTimeout):
			if c.flags&flagPaused == 0 && c.out == nil {
				l.lose(c, endPongTimeout)
				return
			}
			c.since = now // its pong may be there: it is we who do not read
		case c.in != nil && c.in.since != 0 && now >= c.in.since+halfFrameSeconds:
			if c.flags&(flagPaused|flagAgain) != 0 || c.out != nil {
				c.in.since = max(now, 1) // it is we who do not read on
				break
			}
			l.closeWith(c, ws.StatusPolicyViolation, "a frame was not complete after 10 s", endPolicy)
			return
		case c.out != nil && now >= c.out.oldest()+seconds(l.node.opts.QueueAge):
			l.slow(c, "age")
			return
		case c.flags&flagPinged == 0 && now >= c.lastSeen+l.pingAfter(c):
			c.flags &^= flagFresh
			c.flags |= flagPinged
			c.since = now
			c.jitter = rand.Uint32()
			l.stats.FramesOut++
			l.send(c, ws.CompiledPing, true)
			if c.state != stateOpen { // the ping itself found the socket dead
				return
			}
		}
	}
	l.refile(c)
}
