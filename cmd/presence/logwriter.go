package main

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// logWriter hands lines to a goroutine that writes them, so that nobody who
// logs waits for whoever reads the log: an event loop that blocked on a full
// pipe would stop all its connections. When logLines of them wait, further
// ones are left out, and how many is said as soon as there is room.
type logWriter struct {
	// set once
	out   io.Writer
	lines chan []byte
	done  chan struct{}

	left atomic.Int64

	mu     sync.RWMutex // held for reading while a line is queued
	closed bool         // protected by mu
}

// logLines is how many lines may wait.
const logLines = 1024

func newLogWriter(out io.Writer) *logWriter {
	w := &logWriter{out: out, lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for line := range w.lines {
			w.write(line)
			if n := w.left.Swap(0); n > 0 {
				w.write(fmt.Appendf(nil, "presence: %d log lines were left out: nobody took them in time\n", n))
			}
		}
	}()
	return w
}

// write ignores an error: there is nowhere left to tell it.
func (w *logWriter) write(line []byte) { _, _ = w.out.Write(line) }

// Write implements io.Writer for slog's handlers, which write a line a call.
func (w *logWriter) Write(line []byte) (int, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		w.write(line)
		return len(line), nil
	}
	select {
	case w.lines <- bytes.Clone(line):
	default:
		w.left.Add(1)
	}
	return len(line), nil
}

// close writes what waits, and blocks for as long as that takes.
func (w *logWriter) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lines)
	}
	w.mu.Unlock()
	<-w.done
}
