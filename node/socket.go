package node

import (
	"strconv"

	"presencesets/auth"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	presence "presencesets"
)

// The states of a socket, in the order in which it passes them. A connection's
// own life (live, grace, gone) is the session's, in Redis.
//
//	free ─accept▶ head ─upgrade▶ authorising ─open answered▶ open ─our close frame▶ closing ▶ free
//	               └─ plain HTTP: handed to net/http ▶ free
type state uint8

const (
	stateFree state = iota
	stateHead
	stateAuthorising
	stateOpen
	stateClosing
	stateDraining // an HTTP refusal was sent; what the peer still sends is thrown away
	stateCount
)

const (
	flagFiled   = 1 << iota // on the wheel
	flagPinged              // a ping is out, since is when
	flagFresh               // not pinged yet
	flagAgain               // on the loop's again list
	flagPaused              // not read: too many requests in flight
	flagText                // acknowledges a room join with text (wire protocol 6.2)
	flagFrag                // inside a fragmented message
	flagEnded               // its session has been told to end
	flagBroken              // its bytes are no frames any more: thrown away until its end
	flagTaken               // another socket has its connection: it is answered, and served no more
	flagReclaim             // what it was is being compared with the store
)

// end is why a socket ended: the label of presence_disconnects_total.
type end uint8

const (
	endNone end = iota // before the websocket was open: not counted there
	endClosed
	endLost
	endPongTimeout
	endSlow
	endProtocol
	endPolicy
	endTooBig
	endDrain
	endTaken
	endError
	endCount
)

func (e end) String() string {
	return [endCount]string{
		"", "closed", "lost", "pong_timeout", "slow_consumer",
		"protocol", "policy", "too_big", "drain", "taken_over", "error",
	}[e]
}

// conn is one socket and, once it is open, the connection that it carries. It
// lives in a slab of its loop, belongs to that loop from accept to close, and
// nobody else holds a pointer to it or its descriptor (they hold a connRef).
// At most 128 bytes: node_test.go asserts it.
type conn struct {
	fd        int32
	slot, gen uint32

	wheelNext, wheelPrev uint32 // slot numbers + 1
	deadline             uint32 // seconds since the loop began, as are the next two
	lastSeen             uint32 // last bytes from the peer
	since                uint32 // when this state, or the ping that is out, began
	jitter               uint32

	requests, others bucket

	flags    uint16
	state    state
	bad      uint8 // frames that could not be answered
	inflight uint16
	interest uint8  // what epoll watches: 1 in, 2 out
	epoch    uint16 // of the store's past in which it was last right (reclaim.go)

	id presence.ConnID

	in      *inbuf // nil unless a head or a frame is half read
	out     *outq  // nil unless the socket is full
	key     *auth.Key
	entries *entry  // the rooms that it is in; most are in one
	client  string  // clientId, "" when none
	inc     int64   // incarnation, from the open
	secret  *string // SHA-256 of its resume secret in hex; nil: it has none
}

// connRef names a connection for those who are not its loop. It goes stale
// when the slot is used again.
type connRef struct{ slot, gen uint32 }

func (c *conn) ref() connRef { return connRef{c.slot, c.gen} }

// inbuf holds what was read and is not whole yet.
type inbuf struct {
	buf   []byte // read bytes, from the start of a head or frame
	msg   []byte // payload of earlier fragments
	since uint32 // second in which the half-read frame began; 0: none is half read
	hand  *handshake
}

// table is the connections of a loop: slabs that never move, freed slots in a list.
type table struct {
	slabs []*[slabSize]conn
	free  []uint32
	used  int
}

const slabSize = 1024

func (t *table) at(slot uint32) *conn { return &t.slabs[slot/slabSize][slot%slabSize] }

// get returns the connection that ref names, or nil when it is gone.
func (t *table) get(ref connRef) *conn {
	if c := t.at(ref.slot); c.gen == ref.gen && c.state != stateFree {
		return c
	}
	return nil
}

func (t *table) take() *conn {
	if len(t.free) == 0 {
		base := uint32(len(t.slabs)) * slabSize
		t.slabs = append(t.slabs, new([slabSize]conn))
		for i := range uint32(slabSize) {
			t.free = append(t.free, base+slabSize-1-i)
		}
	}
	slot := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	c := t.at(slot)
	*c = conn{slot: slot, gen: c.gen + 1}
	t.used++
	return c
}

func (t *table) put(c *conn) {
	*c = conn{slot: c.slot, gen: c.gen}
	t.free = append(t.free, c.slot)
	t.used--
}

// readable takes what the socket has, handles the whole frames in it and keeps the rest.
func (l *loop) readable(c *conn) {
	if c.flags&flagPaused != 0 {
		return
	}
	var got []byte
	if c.in == nil {
		n, errno := recv(int(c.fd), l.rbuf)
		if n <= 0 {
			l.readEnd(c, errno)
			return
		}
		got = l.rbuf[:n]
	} else {
		l.grow(c.in)
		b := c.in.buf
		n, errno := recv(int(c.fd), b[len(b):cap(b)])
		if n <= 0 {
			l.readEnd(c, errno)
			return
		}
		c.in.buf = b[:len(b)+n]
		l.partial += n
		got = c.in.buf
	}
	c.lastSeen = l.second
	c.flags &^= flagPinged
	l.input(c, got)
}

// input hands b, all unread bytes of c, to whatever c's state makes of them
// and keeps what is left. b is l.rbuf or c.in.buf.
func (l *loop) input(c *conn, b []byte) {
	ref := c.ref()
	var used int
	switch c.state {
	case stateHead:
		used = l.head(c, b)
	case stateAuthorising: // the peer may send before it was answered: kept for later
	case stateOpen, stateClosing:
		if c.flags&flagBroken != 0 {
			used = len(b)
			break
		}
		used = l.frames(c, b)
	case stateDraining:
		used = len(b)
	}
	if l.conns.get(ref) == nil {
		return
	}
	l.keep(c, b, used)
}

// keep holds the unread rest b[used:] for the next turn.
func (l *loop) keep(c *conn, b []byte, used int) {
	rest := b[used:]
	if c.in == nil {
		if len(rest) == 0 {
			return
		}
		c.in = &inbuf{}
	}
	in := c.in
	l.partial -= len(in.buf)
	if len(in.buf) > 0 && len(b) > 0 && &in.buf[0] == &b[0] {
		if cap(in.buf) > bufferSizes[1] && len(rest) <= bufferSizes[0] { // a large message was in it
			small := append(l.buffers.get(len(rest)), rest...)
			l.buffers.put(in.buf)
			in.buf = small
		} else {
			in.buf = append(in.buf[:0], rest...) // memmove within itself
		}
	} else {
		if cap(in.buf) == 0 && len(rest) > 0 {
			in.buf = l.buffers.get(len(rest))
		}
		in.buf = append(in.buf[:0], rest...)
	}
	l.partial += len(in.buf)
	switch {
	case len(rest) == 0 && len(in.msg) == 0 && in.hand == nil:
		l.dropIn(c)
	case len(rest) == 0 && len(in.msg) == 0:
		in.since = 0
	case used > 0 || in.since == 0: // a new frame began
		in.since = max(l.second, 1)
		if c.state == stateOpen {
			l.sooner(c, in.since+halfFrameSeconds)
		}
	}
	if l.partial > maxPartial && c.state == stateOpen {
		l.m.limit("partial")
		if old := l.oldestPartial(); old != nil {
			l.closeWith(old, ws.StatusPolicyViolation, "too many half-sent frames on this node", endPolicy)
		}
	}
}

// oldestPartial finds the connection whose half-read frame is oldest. It looks
// at all of them: that is for a node under attack.
func (l *loop) oldestPartial() (oldest *conn) {
	for i := range uint32(len(l.conns.slabs)) * slabSize {
		c := l.conns.at(i)
		if c.state == stateOpen && c.in != nil && c.in.since != 0 && (oldest == nil || c.in.since < oldest.in.since) {
			oldest = c
		}
	}
	return oldest
}

// dropIn gives c's read buffer back.
func (l *loop) dropIn(c *conn) {
	if c.in == nil {
		return
	}
	l.partial -= len(c.in.buf) + len(c.in.msg)
	l.buffers.put(c.in.buf)
	l.buffers.put(c.in.msg)
	c.in = nil
}

// grow makes room for one more read.
func (l *loop) grow(in *inbuf) {
	if free := cap(in.buf) - len(in.buf); free >= 256 || free >= cap(in.buf)/2 && free > 0 {
		return
	}
	bigger := l.buffers.get(len(in.buf)*2 + 512)
	bigger = append(bigger, in.buf...)
	l.buffers.put(in.buf)
	in.buf = bigger
}

// readEnd is the end of what the peer sends: EAGAIN is none.
func (l *loop) readEnd(c *conn, errno unix.Errno) {
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
	case c.state == stateOpen:
		l.lose(c, endLost)
	default:
		if c.state == stateHead || c.state == stateAuthorising {
			l.m.handshakeFailure("hung_up")
		}
		l.destroy(c, endNone)
	}
}

// frames handles the whole frames at the start of b and returns how many bytes
// they took. It stops after framesPerTurn of them, or when c may not be read.
func (l *loop) frames(c *conn, b []byte) (used int) {
	ref := c.ref()
	for count := 0; ; count++ {
		if c.flags&flagPaused != 0 || c.out != nil && c.state == stateOpen {
			return used
		}
		if count == framesPerTurn {
			l.again(c)
			return used
		}
		h, n, err := parseHeader(b[used:])
		if err == errShort {
			return used
		}
		if err == nil {
			err = ws.CheckHeader(h, l.wsState(c))
		}
		if err != nil {
			l.closeWith(c, ws.StatusProtocolError, err.Error(), endProtocol)
			return used
		}
		frag := 0
		if c.in != nil {
			frag = len(c.in.msg)
		}
		if limit := int64(l.node.opts.Limits.Frame - frag); !h.OpCode.IsControl() && h.Length > limit {
			l.m.limit("frame")
			l.closeWith(c, ws.StatusMessageTooBig, "a message may have "+strconv.Itoa(l.node.opts.Limits.Frame)+" bytes", endTooBig)
			return used
		}
		if int64(len(b)-used-n) < h.Length {
			return used
		}
		payload := b[used+n : used+n+int(h.Length)]
		ws.Cipher(payload, h.Mask, 0)
		used += n + int(h.Length)
		l.stats.FramesIn++
		l.frame(c, h, payload)
		if l.conns.get(ref) == nil {
			return used
		}
	}
}

func (l *loop) wsState(c *conn) ws.State {
	if c.flags&flagFrag != 0 {
		return ws.StateServerSide | ws.StateFragmented
	}
	return ws.StateServerSide
}

// again has c's kept bytes looked at in the next turn, without waiting for new ones.
func (l *loop) again(c *conn) {
	if c.flags&flagAgain == 0 {
		c.flags |= flagAgain
		l.againList = append(l.againList, c.ref())
	}
}

// resumeReading reads c again after a pause: first what was kept.
func (l *loop) resumeReading(c *conn) {
	c.flags &^= flagPaused
	l.watch(c)
	if c.in != nil && len(c.in.buf) > 0 {
		l.again(c)
	}
}

// setState moves c to another state and keeps the counts.
func (l *loop) setState(c *conn, to state) {
	if c.state == stateHead {
		l.heads.Add(-1)
	}
	l.states[c.state]--
	l.states[to]++
	c.state = to
	c.since = l.second
}

// sooner moves c's deadline forward to at, if that is earlier.
func (l *loop) sooner(c *conn, at uint32) {
	if c.flags&flagFiled != 0 && at < c.deadline {
		l.wheel.take(&l.conns, c)
		l.wheel.file(&l.conns, c, max(at, l.second+1))
	}
}

// closeWith sends a close frame and waits a little for the peer's. The client
// may come back: its memberships go on for the grace.
func (l *loop) closeWith(c *conn, code ws.StatusCode, text string, why end) {
	if c.state != stateOpen {
		l.destroy(c, why)
		return
	}
	l.flushReplies() // what it was handed counts as handed
	if c.state != stateOpen {
		return
	}
	l.loseSession(c, why)
	l.setState(c, stateClosing)
	c.flags &^= flagPaused | flagPinged
	if why == endProtocol || why == endTooBig {
		c.flags |= flagBroken
	}
	l.send(c, appendClose(l.scratch[:0], code, text), false)
	if c.state == stateFree {
		return
	}
	l.dropIn(c)
	l.watch(c)
	l.refile(c)
}

// lose ends a connection whose socket is of no more use.
func (l *loop) lose(c *conn, why end) {
	l.loseSession(c, why)
	l.destroy(c, why)
}

// slow ends a connection that does not take what it is sent.
func (l *loop) slow(c *conn, bound string) {
	l.m.limit("queue_" + bound)
	l.m.SlowConsumers.Inc()
	l.loseSession(c, endSlow)
	// No close frame: it would have to go in front of bytes that are queued, in
	// the middle of a frame.
	l.destroy(c, endSlow)
}

// destroy closes the descriptor, once and last, and frees the slot.
func (l *loop) destroy(c *conn, why end) {
	if c.state == stateFree {
		return
	}
	l.loseSession(c, why)
	l.wheel.take(&l.conns, c)
	l.dropIn(c)
	if c.out != nil {
		for _, s := range c.out.segs {
			l.queued -= len(s.b)
		}
		c.out = nil
	}
	if at, ok := l.byID[c.id]; ok && at == c.slot {
		delete(l.byID, c.id)
	}
	l.setState(c, stateFree)
	l.poll.forget(int(c.fd))
	_ = unix.Close(int(c.fd)) // EINTR or EIO: the descriptor is gone all the same
	l.conns.put(c)
	l.count.Add(-1)
	l.node.freed()
}
