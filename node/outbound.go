package node

import "golang.org/x/sys/unix"

// What a connection is sent: at once where the kernel takes it, else queued
// with a bound in bytes and in age. While something is queued its requests are
// not read: who does not take its answers may not ask for more.

// outq holds what the kernel did not take.
type outq struct {
	segs  []outseg
	bytes int    // without what is left of the big answer
	big   int    // bytes left of one answer larger than the limit, which is first in the queue
	moved uint32 // second of the last progress
	since uint32 // second in which the big answer was taken: what waited behind it is not older
}

type outseg struct {
	b  []byte
	at uint32 // second in which it was queued
}

// oldest is the second from which the age of the queue counts: when its first
// byte was queued, or, while a big answer drains, of the last progress.
func (q *outq) oldest() uint32 {
	if q.big > 0 || len(q.segs) == 0 {
		return q.moved
	}
	return max(q.segs[0].at, q.since)
}

// send writes b to c at once, or queues what the kernel does not take. shared
// bytes never change and are queued as they are; others are copied.
func (l *loop) send(c *conn, b []byte, shared bool) {
	if c.out != nil {
		l.queue(c, b, shared)
		return
	}
	l.stats.Sends++
	n, errno := send(int(c.fd), b)
	if errno != 0 && errno != unix.EAGAIN && errno != unix.EINTR {
		l.lose(c, endLost)
		return
	}
	l.stats.BytesOut += uint64(n)
	if n == len(b) {
		return
	}
	l.stats.EAGAIN++
	c.out = &outq{moved: l.second}
	l.queue(c, b[n:], shared)
	if c.state != stateFree && c.out != nil {
		l.watch(c)
		l.sooner(c, l.second+seconds(l.node.opts.QueueAge))
	}
}

// queue appends to c's outbound queue and enforces its limit: one answer that
// is larger than the limit may start on an empty queue, and what comes behind
// it has the limit to itself.
func (l *loop) queue(c *conn, b []byte, shared bool) {
	q := c.out
	if limit := l.node.opts.QueueBytes; q.bytes+len(b) > limit {
		if len(q.segs) > 0 || q.big > 0 {
			l.slow(c, "bytes")
			return
		}
		q.big = len(b)
	} else {
		q.bytes += len(b)
	}
	if !shared {
		b = append([]byte(nil), b...)
	}
	q.segs = append(q.segs, outseg{b, l.second})
	l.queued += len(b)
}

// writable sends what was queued.
func (l *loop) writable(c *conn) {
	q := c.out
	if q == nil {
		l.watch(c)
		return
	}
	for len(q.segs) > 0 {
		seg := &q.segs[0]
		l.stats.Sends++
		n, errno := send(int(c.fd), seg.b)
		if errno == unix.EAGAIN || errno == unix.EINTR {
			return
		}
		if errno != 0 {
			l.lose(c, endLost)
			return
		}
		q.moved = l.second
		l.stats.BytesOut += uint64(n)
		l.queued -= n
		if q.big > 0 {
			if q.big -= n; q.big == 0 {
				q.since = l.second
			}
		} else {
			q.bytes -= n
		}
		if n < len(seg.b) {
			seg.b = seg.b[n:]
			return
		}
		q.segs = q.segs[1:]
	}
	c.out = nil
	l.watch(c)
	if c.in != nil && len(c.in.buf) > 0 {
		l.again(c)
	}
}

// watch tells epoll what c waits for: to be read unless it is paused or does
// not take its answers, to be written while something is queued.
func (l *loop) watch(c *conn) {
	var want uint8
	if c.flags&flagPaused == 0 && (c.out == nil || c.state != stateOpen) && c.state != stateAuthorising {
		want |= 1
	}
	if c.out != nil {
		want |= 2
	}
	if want == c.interest {
		return
	}
	c.interest = want
	var ev uint32
	if want&1 != 0 {
		ev |= pollIn
	}
	if want&2 != 0 {
		ev |= pollOut
	}
	if err := l.poll.modify(int(c.fd), c.slot, c.gen, ev); err != nil {
		l.lose(c, endError)
	}
}
