//go:build !linux && unix

package node

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// poller is a loop's readiness on systems without epoll: poll(2) over all its
// sockets, O(sockets) a turn. It is there so that the module builds and its
// tests run on a developer's machine; production is Linux.
type poller struct {
	events [256]pollEvent
	n      int

	mu      sync.Mutex // protects the rest
	watched map[int]pollEvent
	fds     []unix.PollFd // scratch
	pipe    [2]int        // wakes
	closed  bool
}

// pollEvent has the shape of an epoll event.
type pollEvent struct {
	Events  uint32
	Fd, Pad int32
}

const (
	wakeSlot = 1<<31 - 1
	pollIn   = uint32(unix.POLLIN)
	pollOut  = uint32(unix.POLLOUT)
	evIn     = uint32(unix.POLLIN)
	evOut    = uint32(unix.POLLOUT)
	evErr    = uint32(unix.POLLERR | unix.POLLHUP | unix.POLLNVAL)
	evEnd    = uint32(unix.POLLIN | unix.POLLHUP)
)

func newPoller() (*poller, error) {
	p := &poller{watched: make(map[int]pollEvent)}
	if err := unix.Pipe(p.pipe[:]); err != nil {
		return nil, fmt.Errorf("make a loop's wake pipe: %w", err)
	}
	for _, fd := range p.pipe {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, fmt.Errorf("make a loop's wake pipe: %w", err)
		}
	}
	return p, nil
}

func (p *poller) once() { p.poll(0) }
func (p *poller) wait(deadline time.Time) bool {
	return p.poll(max(0, int(time.Until(deadline).Milliseconds())+1))
}

func (p *poller) poll(timeout int) bool {
	p.mu.Lock()
	p.fds = append(p.fds[:0], unix.PollFd{Fd: int32(p.pipe[0]), Events: unix.POLLIN})
	for fd, ev := range p.watched {
		p.fds = append(p.fds, unix.PollFd{Fd: int32(fd), Events: int16(ev.Events)})
	}
	fds, closed := p.fds, p.closed
	p.mu.Unlock()
	p.n = 0
	if closed {
		return false
	}
	if _, err := unix.Poll(fds, timeout); err != nil {
		return err == unix.EINTR
	}
	if fds[0].Revents != 0 {
		var drain [64]byte
		_, _ = unix.Read(p.pipe[0], drain[:]) // only wakes are in it
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range fds[1:] {
		if f.Revents != 0 && p.n < len(p.events) {
			ev := p.watched[int(f.Fd)]
			ev.Events = uint32(uint16(f.Revents))
			p.events[p.n] = ev
			p.n++
		}
	}
	return true
}

func (p *poller) wake() { _, _ = unix.Write(p.pipe[1], []byte{1}) } // EAGAIN: it is full of wakes

func (p *poller) add(fd int, slot, gen, interest uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched[fd] = pollEvent{interest, int32(slot), int32(gen)}
	return nil
}

func (p *poller) modify(fd int, slot, gen, interest uint32) error {
	return p.add(fd, slot, gen, interest)
}

// remove must be called before the descriptor is closed.
func (p *poller) remove(fd int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.watched, fd)
	return nil
}

func (p *poller) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		_ = unix.Close(p.pipe[0]) // nothing can be done about either
		_ = unix.Close(p.pipe[1])
	}
}

// forget is what a closed descriptor needs here and not with epoll.
func (p *poller) forget(fd int) { _ = p.remove(fd) } // cannot fail

func errnoOf(err error) unix.Errno {
	if errno, ok := err.(unix.Errno); ok {
		return errno
	}
	return 0
}

func recv(fd int, b []byte) (n int, errno unix.Errno) {
	n, err := unix.Read(fd, b)
	return max(n, 0), errnoOf(err)
}

func send(fd int, b []byte) (n int, errno unix.Errno) {
	n, err := unix.Write(fd, b)
	return max(n, 0), errnoOf(err)
}

// acceptSocket takes one connection from a listening socket.
func acceptSocket(fd int) (int, error) {
	conn, _, err := unix.Accept(fd)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(conn)
	return conn, unix.SetNonblock(conn, true)
}

// tuneSocket sets what small answers need.
func tuneSocket(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // a hint
}

// unsent is not known here: what was written counts as taken.
func unsent(int) int { return 0 }
