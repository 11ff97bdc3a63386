package main

import (
	"bytes"
	"strings"
	"testing"
)

// stuck is a reader of the log that takes nothing until it is let go.
type stuck struct {
	let  chan struct{}
	took bytes.Buffer
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.let
	return s.took.Write(p)
}

func TestLogDoesNotWaitForItsReader(t *testing.T) {
	out := &stuck{let: make(chan struct{})}
	w := newLogWriter(out)
	for range logLines + 500 { // would hang, were it to wait
		if _, err := w.Write([]byte("line\n")); err != nil {
			t.Fatal(err)
		}
	}
	close(out.let)
	w.close()
	got := out.took.String()
	if n := strings.Count(got, "line\n"); n < logLines || n > logLines+1 {
		t.Errorf("%d lines were written, want the %d that fit and the one that was under way", n, logLines)
	}
	if !strings.Contains(got, "log lines were left out") {
		t.Error("nothing says that lines were left out")
	}
}
