package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// state is where a connection of a fleet stands.
type state uint8

const (
	stateDialling state = iota // connect(2) is under way
	stateHead                  // the upgrade was asked for
	stateGreeting              // upgraded; the node's first frame is still to come
	stateOpen
	stateGone
)

// conn is one client connection. It owns no buffer while no frame is cut.
type conn struct {
	fd     int32
	state  state
	wanted uint16 // answers that this connection still waits for; the cases count it
	rest   []byte // a piece of a frame or of the head
}

// fleet is many client connections to one server on one epoll descriptor. It
// is driven by one goroutine: every method must be called from the same one.
type fleet struct {
	addr     unix.SockaddrInet4
	path     func(i int) string // path and query of connection i
	greeted  bool               // the server sends a first frame of its own
	conns    []conn
	open     int // connections that are ready
	onFrame  func(i int, payload []byte)
	poll     int
	events   [512]unix.EpollEvent
	buf      [64 << 10]byte
	failure  error
	bytesIn  uint64
	framesIn uint64
}

// newFleet makes an empty fleet for the server on the given port of the
// loopback address.
func newFleet(port int, path func(i int) string, greeted bool) (*fleet, error) {
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	return &fleet{
		addr: unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}},
		path: path, greeted: greeted, poll: poll,
	}, nil
}

// dial adds n connections, at most window of them on the way at a time, and
// returns when all are ready.
func (f *fleet) dial(n, window int) error {
	want := len(f.conns) + n
	f.conns = append(make([]conn, 0, want), f.conns...)
	for f.open < want {
		for len(f.conns) < want && len(f.conns)-f.open < window {
			if err := f.dialOne(); err != nil {
				return err
			}
		}
		if err := f.turn(5 * time.Second); err != nil {
			return fmt.Errorf("after %d of %d connections: %w", f.open, want, err)
		}
	}
	return nil
}

// dialOne begins one connection. The source address changes with each, so that
// no pair of addresses runs out of ports while closed ones are in TIME_WAIT.
func (f *fleet) dialOne() error {
	i := len(f.conns)
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	source := unix.SockaddrInet4{Addr: [4]byte{127, 0, byte(1 + i%16), 7}}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.Bind(fd, &source),
	)
	if err == nil {
		if err = unix.Connect(fd, &f.addr); errors.Is(err, unix.EINPROGRESS) {
			err = nil
		}
	}
	if err == nil {
		err = unix.EpollCtl(f.poll, unix.EPOLL_CTL_ADD, fd,
			&unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(i)})
	}
	if err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("dial %d: %w", i, err)
	}
	f.conns = append(f.conns, conn{fd: int32(fd)})
	return nil
}

// send writes one or more whole frames to connection i. A socket that does not
// take them at once is an error: the cases send little and wait for answers.
func (f *fleet) send(i int, frames []byte) {
	n, err := unix.SendmsgN(int(f.conns[i].fd), frames, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if err == nil && n < len(frames) {
		err = unix.EAGAIN
	}
	if err != nil {
		f.fail(i, fmt.Errorf("send: %w", err))
	}
}

// turn waits for readiness once and handles what is ready. Nothing within the
// timeout is an error.
func (f *fleet) turn(timeout time.Duration) error {
	n, err := unix.EpollWait(f.poll, f.events[:], int(timeout.Milliseconds()))
	switch {
	case errors.Is(err, unix.EINTR):
		return f.failure
	case err != nil:
		return fmt.Errorf("epoll_wait: %w", err)
	case n == 0:
		return fmt.Errorf("nothing came within %v", timeout)
	}
	for _, ev := range f.events[:n] {
		if f.conns[ev.Fd].state == stateDialling {
			f.connected(int(ev.Fd))
		} else {
			f.readable(int(ev.Fd))
		}
	}
	return f.failure
}

// until turns until done says so.
func (f *fleet) until(done func() bool) error {
	for !done() {
		if err := f.turn(10 * time.Second); err != nil {
			return err
		}
	}
	return f.failure
}

// idle handles what comes, until nothing has come for the given time.
func (f *fleet) idle(quiet time.Duration) error {
	for {
		n, err := unix.EpollWait(f.poll, f.events[:1], int(quiet.Milliseconds()))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("epoll_wait: %w", err)
		}
		if n == 0 {
			return f.failure
		}
		if err := f.turn(quiet); err != nil {
			return err
		}
	}
}

// connected sends the upgrade once connect(2) has succeeded.
func (f *fleet) connected(i int) {
	c := &f.conns[i]
	if code, err := unix.GetsockoptInt(int(c.fd), unix.SOL_SOCKET, unix.SO_ERROR); err != nil || code != 0 {
		f.fail(i, fmt.Errorf("connect: %w", unix.Errno(code)))
		return
	}
	c.state = stateHead
	err := unix.EpollCtl(f.poll, unix.EPOLL_CTL_MOD, int(c.fd), &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)})
	if err != nil {
		f.fail(i, fmt.Errorf("epoll_ctl: %w", err))
		return
	}
	f.send(i, []byte("GET "+f.path(i)+" HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"))
}

// readable takes one piece from the socket: the poller is level-triggered.
func (f *fleet) readable(i int) {
	c := &f.conns[i]
	if c.state == stateGone {
		return
	}
	n, err := unix.Read(int(c.fd), f.buf[:])
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return
	}
	if n <= 0 {
		f.fail(i, fmt.Errorf("the server hung up: %w", errors.Join(err)))
		return
	}
	f.bytesIn += uint64(n)
	data := f.buf[:n]
	if c.rest != nil {
		data = append(c.rest, data...)
		c.rest = nil
	}
	if c.state == stateHead {
		if data = f.head(i, data); data == nil {
			return
		}
	}
	f.frames(i, data)
}

// head takes the answer to the upgrade off data; nil: it is not whole.
func (f *fleet) head(i int, data []byte) []byte {
	c := &f.conns[i]
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		c.rest = bytes.Clone(data)
		return nil
	}
	if !bytes.HasPrefix(data, []byte("HTTP/1.1 101 ")) || !bytes.Contains(data[:end], []byte("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")) {
		f.fail(i, fmt.Errorf("upgrade refused: %.300s", data))
		return nil
	}
	c.state = stateGreeting
	if !f.greeted {
		c.state = stateOpen
		f.open++
	}
	return data[end+4:]
}

// frames hands the whole frames of data to the case and keeps the rest.
func (f *fleet) frames(i int, data []byte) {
	c := &f.conns[i]
	for len(data) > 0 {
		op, payload, size := frameOf(data)
		if size == 0 {
			c.rest = bytes.Clone(data)
			return
		}
		data = data[size:]
		f.framesIn++
		switch {
		case op == opPing:
			f.send(i, masked(opPong, payload))
		case op == opClose:
			f.fail(i, fmt.Errorf("the server closed: %q", payload))
		case op != opText:
		case c.state == stateGreeting:
			c.state = stateOpen
			f.open++
		case f.onFrame != nil:
			f.onFrame(i, payload)
		}
		if c.state == stateGone {
			return
		}
	}
}

// fail notes the first failure of the fleet and gives the connection up.
func (f *fleet) fail(i int, err error) {
	if f.failure == nil {
		f.failure = fmt.Errorf("connection %d: %w", i, err)
	}
	f.closeOne(i)
}

func (f *fleet) closeOne(i int) {
	if c := &f.conns[i]; c.state != stateGone {
		c.state = stateGone
		_ = unix.Close(int(c.fd)) // nothing is written through it any more
	}
}

// close ends every connection with a reset, so that none stays in TIME_WAIT.
// A second call does nothing.
func (f *fleet) close() {
	if f.poll < 0 {
		return
	}
	for i := range f.conns {
		if f.conns[i].state != stateGone {
			// A failure only means an ordinary close.
			_ = unix.SetsockoptLinger(int(f.conns[i].fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		}
		f.closeOne(i)
	}
	_ = unix.Close(f.poll)
	f.poll = -1
}

// Opcodes of RFC 6455 5.2.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// masked builds one client frame.
func masked(op byte, payload []byte) []byte {
	key := [4]byte{0x5a, 0x17, 0xc3, 0x88}
	b := []byte{0x80 | op}
	if len(payload) < 126 {
		b = append(b, 0x80|byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(len(payload)))
	}
	b = append(b, key[:]...)
	for i, p := range payload {
		b = append(b, p^key[i&3])
	}
	return b
}

// frameOf reads the first server frame of b; size 0: it is not whole.
func frameOf(b []byte) (op byte, payload []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	head, n := 2, int(b[1]&127)
	switch n {
	case 126:
		if head = 4; len(b) < head {
			return 0, nil, 0
		}
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		if head = 10; len(b) < head {
			return 0, nil, 0
		}
		n = int(binary.BigEndian.Uint64(b[2:]))
	}
	if len(b) < head+n {
		return 0, nil, 0
	}
	return b[0] & 15, b[head : head+n], head + n
}
