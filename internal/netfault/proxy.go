// Package netfault is a wire that can be cut in the ways in which networks
// fail: a TCP proxy on the loopback address that goes silent (nothing arrives,
// nothing ends, and later everything arrives late) or resets its connections.
//
//	p, err := netfault.Listen("127.0.0.1:6379")
//	p.Hold(nil)    // a black hole, for new connections too
//	p.Release()    // what was held is delivered
//	p.Reset(nil)   // RST to both ends of each connection
//	p.Close()
package netfault

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// Proxy passes connections on to one address, until it is told otherwise. Its
// methods may be called from any goroutine.
type Proxy struct {
	// set once
	to       string
	listener net.Listener
	running  sync.WaitGroup

	// mu protects the following.
	mu     sync.Mutex
	pairs  map[*pair]bool
	cut    Match         // which new connections wait at its gate; nil: none
	held   chan struct{} // that gate
	gate   chan struct{} // of all others: always open
	closed bool
}

// pair is one connection: near is who dialled us, far is where it goes.
type pair struct {
	near, far *net.TCPConn
	over      chan struct{} // closed: reset, or the proxy is closed

	mu   sync.Mutex
	gate chan struct{} // closed: bytes pass
}

// Match picks connections: near is the address that dialled the proxy, far the
// proxy's own address towards the target, as the target sees it; "" while it
// has not dialled.
type Match func(near, far string) bool

// Listen opens a proxy to the address on a free port.
func Listen(to string) (*Proxy, error) { return ListenOn("127.0.0.1:0", to) }

// ListenOn opens a proxy on an address of its own.
func ListenOn(addr, to string) (*Proxy, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &Proxy{to: to, listener: l, pairs: map[*pair]bool{}, gate: open()}
	p.running.Go(p.accept)
	return p, nil
}

// open makes a gate that lets everything through.
func open() chan struct{} {
	g := make(chan struct{})
	close(g)
	return g
}

// Addr returns where the proxy listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.pass(near.(*net.TCPConn)) })
	}
}

// pass dials the target when the gate is open, and copies both ways.
func (p *Proxy) pass(near *net.TCPConn) {
	c := &pair{near: near, over: make(chan struct{})}
	p.mu.Lock()
	c.gate = p.gate
	if p.cut != nil && p.cut(near.RemoteAddr().String(), "") {
		c.gate = p.held
	}
	if p.closed {
		p.mu.Unlock()
		near.Close()
		return
	}
	p.pairs[c] = true
	p.mu.Unlock()
	defer p.forget(c)
	if !c.wait() {
		return
	}
	far, err := net.Dial("tcp", p.to)
	if err != nil {
		abort(near) // nobody listens there: refused, as it were
		return
	}
	c.mu.Lock()
	c.far = far.(*net.TCPConn)
	c.mu.Unlock()
	select {
	case <-c.over: // reset while we dialled
		abort(c.far)
		return
	default:
	}
	var back sync.WaitGroup
	back.Go(func() { c.copy(c.near, c.far) })
	c.copy(c.far, c.near)
	back.Wait()
}

// forget closes what is left of a connection.
func (p *Proxy) forget(c *pair) {
	p.mu.Lock()
	delete(p.pairs, c)
	p.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.near.Close()
	if c.far != nil {
		c.far.Close()
	}
}

// copy carries what from sends, and how it ends, to to.
func (c *pair) copy(to, from *net.TCPConn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if !c.wait() {
			return
		}
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				abort(from)
				return
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite() // an error: it has ended by itself
			return
		case err != nil:
			abort(to)
			return
		}
	}
}

// wait returns when bytes may pass; false: never again.
func (c *pair) wait() bool {
	for {
		c.mu.Lock()
		gate := c.gate
		c.mu.Unlock()
		select {
		case <-c.over:
			return false
		case <-gate:
		}
		c.mu.Lock()
		same := c.gate == gate
		c.mu.Unlock()
		if same {
			return true
		}
	}
}

// abort closes with a reset.
func abort(c *net.TCPConn) {
	_ = c.SetLinger(0) // an error: it is closed already
	c.Close()
}

// chosen are the connections that match; nil matches all.
func (p *Proxy) chosen(match Match) (list []*pair) {
	for c := range p.pairs {
		c.mu.Lock()
		far := ""
		if c.far != nil {
			far = c.far.LocalAddr().String()
		}
		c.mu.Unlock()
		if match == nil || match(c.near.RemoteAddr().String(), far) {
			list = append(list, c)
		}
	}
	return list
}

// Hold stops the connections that match, in both directions: bytes, ends and
// resets stay where they are until Release. With nil all are held, and those
// that are opened meanwhile. It returns how many it stopped.
func (p *Proxy) Hold(match Match) int {
	if match == nil {
		return p.Cut(func(_, _ string) bool { return true })
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hold(match, make(chan struct{}))
}

// Cut is [Proxy.Hold] for those that are opened meanwhile and match, too. It
// takes the place of an earlier Cut.
func (p *Proxy) Cut(match Match) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.held = match, make(chan struct{})
	return p.hold(match, p.held)
}

func (p *Proxy) hold(match Match, gate chan struct{}) int {
	list := p.chosen(match)
	for _, c := range list {
		c.mu.Lock()
		if c.gate == p.gate { // else it waits already
			c.gate = gate
		}
		c.mu.Unlock()
	}
	return len(list)
}

// Release lets everything through again, what was held first.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = nil
	gates := map[chan struct{}]bool{}
	for c := range p.pairs {
		c.mu.Lock()
		gates[c.gate] = true
		c.gate = p.gate
		c.mu.Unlock()
	}
	for g := range gates {
		if g != p.gate {
			close(g)
		}
	}
}

// Reset ends the connections that match with an RST to both ends; nil matches
// all. It returns how many it ended.
func (p *Proxy) Reset(match Match) int {
	p.mu.Lock()
	list := p.chosen(match)
	for _, c := range list {
		delete(p.pairs, c)
	}
	p.mu.Unlock()
	for _, c := range list {
		close(c.over)
		c.mu.Lock()
		abort(c.near)
		if c.far != nil {
			abort(c.far)
		}
		c.mu.Unlock()
	}
	return len(list)
}

// Close ends all connections with a reset and waits until nothing runs.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.listener.Close()
	p.Reset(nil)
	p.running.Wait()
	if err != nil {
		return fmt.Errorf("close the proxy: %w", err)
	}
	return nil
}
