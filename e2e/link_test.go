package e2e

import (
	"io"
	"net"
	"sync"
	"testing"
)

// link is the wire between a node and Redis, which a test can cut and mend.
type link struct {
	addr, to string

	// mu protects the following.
	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	running  sync.WaitGroup
}

func newLink(t *testing.T, to string) *link {
	t.Helper()
	l := &link{addr: freeAddr(t), to: to}
	l.mend(t)
	t.Cleanup(l.cut)
	return l
}

// mend lets connections through (again).
func (l *link) mend(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", l.addr)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	l.running.Add(1)
	go func() {
		defer l.running.Done()
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", l.to)
			if err != nil {
				near.Close()
				continue
			}
			l.join(listener, near, far)
		}
	}()
}

// join copies in both directions until either side ends.
func (l *link) join(of net.Listener, near, far net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.listener != of { // cut while we dialled
		near.Close()
		far.Close()
		return
	}
	l.conns = append(l.conns, near, far)
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		l.running.Add(1)
		go func() {
			defer l.running.Done()
			_, _ = io.Copy(pair[0], pair[1]) // an end is an end, whatever its error
			pair[0].Close()
			pair[1].Close()
		}()
	}
}

// cut ends every connection and refuses new ones.
func (l *link) cut() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
	}
	for _, c := range l.conns {
		c.Close()
	}
	l.listener, l.conns = nil, nil
	l.mu.Unlock()
	l.running.Wait()
}
