package child

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAProgramThatEndsBeforeItIsReadyTellsWhy(t *testing.T) {
	p, err := Start(t.TempDir(), "short", nil, "sh", "-c", "echo no such setting; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(context.Background(), func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "no such setting") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want what it printed and its status", err)
	}
}

func TestStopEndsAProgramThatDoesNotListen(t *testing.T) {
	p, err := Start(t.TempDir(), "deaf", []string{"GREETING=ready"}, "sh", "-c", "trap '' INT; echo $GREETING; while :; do sleep 1; done")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await(context.Background(), func() bool { return p.Tail() == "ready" }); err != nil {
		t.Fatal(err)
	}
	p.Stop(time.Millisecond)
	if state := p.cmd.ProcessState; state == nil || state.String() != "signal: killed" {
		t.Errorf("got %v, want killed", state)
	}
}

func TestAMissingProgramIsAnError(t *testing.T) {
	if _, err := Start(t.TempDir(), "none", nil, "/no/such/program"); err == nil {
		t.Error("no error")
	}
}
