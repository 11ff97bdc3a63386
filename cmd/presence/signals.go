package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
)

// Signals. Each one asks for more haste than the one before:
//
//	SIGTERM    drain: the clients go to other nodes, for those who can
//	SIGINT     stop now; so does a SIGTERM where nothing drains, or a second one
//	once more  end the process
//
// Every kind of stop keeps the memberships of those who are connected for their
// grace; only the end of the process leaves that to the other nodes.

// errStopped is the cause of a context that a signal ended.
var errStopped = errors.New("stopped by a signal")

// terminate is how a command hears of the first SIGTERM.
type terminate struct {
	caught atomic.Bool // somebody listens
	asked  chan struct{}
}

type terminateKey struct{}

// catchTerminate returns what is closed at the first SIGTERM, which from now on
// does not end ctx. It never is where no signals are heard.
func catchTerminate(ctx context.Context) <-chan struct{} {
	t, ok := ctx.Value(terminateKey{}).(*terminate)
	if !ok {
		return nil
	}
	t.caught.Store(true)
	return t.asked
}

// untilSignal returns a context that ends when a signal says "now".
func untilSignal(stderr io.Writer) (context.Context, func()) {
	t := &terminate{asked: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(context.WithValue(context.Background(), terminateKey{}, t))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	next := func() (os.Signal, bool) {
		select {
		case s := <-signals:
			return s, true
		case <-done:
			return nil, false
		}
	}
	go func() {
		s, ok := next()
		if ok && s == syscall.SIGTERM && t.caught.Load() {
			close(t.asked)
			_, ok = next()
		}
		if !ok {
			return
		}
		cancel(errStopped)
		if s, ok = next(); ok {
			fmt.Fprintf(stderr, "presence: %s again: ending at once\n", s)
			os.Exit(exitFailed)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
