package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// poller is a loop's readiness: an epoll descriptor that is itself handed to
// the Go runtime's poller. The loop goroutine so parks like any goroutine that
// waits for a socket; a blocking epoll_wait would hold a thread, lose its P to
// sysmon and pay a hand-over at each wake (docs/adr/0002-own-event-loops.md).
type poller struct {
	fd     int
	wakeFD int
	file   *os.File
	raw    syscall.RawConn
	events [256]unix.EpollEvent
	n      int
	ready  func(uintptr) bool // poll once; a field, so that no closure is made each turn
}

// wakeSlot marks the event of the eventfd; no connection has this slot.
const wakeSlot = 1<<31 - 1

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // os.NewFile hands it to the runtime's poller only so
		_ = unix.Close(fd) // the first error is the one to report
		return nil, fmt.Errorf("set epoll descriptor non-blocking: %w", err)
	}
	p := &poller{fd: fd, file: os.NewFile(uintptr(fd), "epoll")}
	p.raw, err = p.file.SyscallConn()
	if err == nil {
		p.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		_ = p.file.Close() // the first error is the one to report
		return nil, fmt.Errorf("make a loop's poller: %w", err)
	}
	// Edge-triggered, so that its counter never has to be read.
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeSlot}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, p.wakeFD, &ev); err != nil {
		p.close()
		return nil, fmt.Errorf("watch the wake descriptor: %w", err)
	}
	p.ready = func(uintptr) bool {
		p.once()
		// "again" only after 0 events: the runtime watches edges, and one that
		// was not drained would never be reported again.
		return p.n > 0
	}
	return p, nil
}

// once collects what is ready now, without waiting.
func (p *poller) once() {
	n, errno := epollReady(p.fd, p.events[:])
	if errno != 0 {
		n = 0 // EINTR; the descriptor is ours and valid, nothing else can come
	}
	p.n = n
}

// wait parks until something is ready or the deadline passes. It reports false
// when the poller was closed.
func (p *poller) wait(deadline time.Time) bool {
	p.n = 0
	if err := p.file.SetReadDeadline(deadline); err != nil {
		return false
	}
	err := p.raw.Read(p.ready)
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// wake ends a wait. It may be called from any goroutine.
func (p *poller) wake() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(p.wakeFD, one[:]) // EAGAIN only when 2^64-2 wakes are pending, and then it is awake
}

// add watches a socket; its events carry slot and gen, never the descriptor.
func (p *poller) add(fd int, slot, gen, interest uint32) error {
	ev := unix.EpollEvent{Events: interest, Fd: int32(slot), Pad: int32(gen)}
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, fd, &ev)
}

func (p *poller) modify(fd int, slot, gen, interest uint32) error {
	ev := unix.EpollEvent{Events: interest, Fd: int32(slot), Pad: int32(gen)}
	return unix.EpollCtl(p.fd, unix.EPOLL_CTL_MOD, fd, &ev)
}

func (p *poller) remove(fd int) error { return unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, fd, nil) }

func (p *poller) close() {
	_ = p.file.Close()       // also closes fd
	_ = unix.Close(p.wakeFD) // nothing can be done about either
}

// forget is for systems whose poller must be told of a closed descriptor.
func (p *poller) forget(int) {}

const (
	pollIn  = unix.EPOLLIN | unix.EPOLLRDHUP
	pollOut = unix.EPOLLOUT
	evIn    = unix.EPOLLIN
	evOut   = unix.EPOLLOUT
	evErr   = unix.EPOLLERR | unix.EPOLLHUP
	evEnd   = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLHUP
)
