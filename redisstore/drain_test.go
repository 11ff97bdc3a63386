package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"presencesets/internal/redistest"
)

func TestANodeThatIsAloneDoesNotWait(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	if err := s.BeginDrain(t.Context()); !errors.Is(err, ErrAlone) {
		t.Errorf("drain of the only node: got %v", err)
	}
	if n := srv.Client(t).Exists(t.Context(), s.keys.draining()).Val(); n != 0 {
		t.Error("the only node holds the right to drain")
	}
}

func TestADrainWaitsForANodeThatIsReady(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1")
	pretend(t, rdb, s.keys, "n2.1", `{"probe_ms":-1}`)
	if wait, err := s.tryDrain(t.Context()); err != nil || wait == nil || !strings.Contains(wait.Error(), "ready") {
		t.Errorf("drain while nobody is ready: got %v, %v; want to wait", wait, err)
	}
	over := errors.New("time is up")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if err := s.BeginDrain(ctx); !errors.Is(err, over) {
		t.Errorf("drain without time: got %v", err)
	}
	began := make(chan error, 1)
	go func() { began <- s.BeginDrain(t.Context()) }()
	pretend(t, rdb, s.keys, "n2.1", `{"probe_ms":5}`)
	select {
	case err := <-began:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(waitFor):
		t.Fatal("the drain never began")
	}
	tick(t, "the registry says that the node drains", func(ctx context.Context) bool {
		var v registryValue
		return json.Unmarshal([]byte(rdb.HGet(ctx, s.keys.registry(), s.Stamp()).Val()), &v) == nil && v.Draining
	})
	if err := s.BeginDrain(t.Context()); err != nil {
		t.Errorf("second call: %v", err)
	}
}

func TestNodesDrainOneAtATime(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	a, b := openStore(t, srv, prefix, "n1"), openStore(t, srv, prefix, "n2")
	pretend(t, rdb, a.keys, "n3.1", `{"probe_ms":5}`)
	// A store says that it hears from its second beat on; the third node does.
	if err := a.BeginDrain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if holder := rdb.Get(t.Context(), a.keys.draining()).Val(); holder != a.Stamp() {
		t.Errorf("%q holds the right to drain, want %s", holder, a.Stamp())
	}
	if ttl := rdb.PTTL(t.Context(), a.keys.draining()).Val(); ttl <= 0 || ttl > a.opts.DrainTime {
		t.Errorf("the right to drain ends in %v, want within %v", ttl, a.opts.DrainTime)
	}
	if wait, err := b.tryDrain(t.Context()); wait == nil || !strings.Contains(wait.Error(), a.Stamp()) {
		t.Errorf("drain beside another: got %v, %v; want to wait for %s", wait, err, a.Stamp())
	}
	began := make(chan error, 1)
	go func() { began <- b.BeginDrain(t.Context()) }()
	closeStore(t, a)
	select {
	case err := <-began:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(waitFor):
		t.Fatal("the second drain never began")
	}
	if holder := rdb.Get(t.Context(), a.keys.draining()).Val(); holder != b.Stamp() {
		t.Errorf("%q holds the right to drain, want %s", holder, b.Stamp())
	}
	if err := rdb.Set(t.Context(), a.keys.draining(), "n3.1", time.Hour).Err(); err != nil { // b was so slow that its right ended
		t.Fatal(err)
	}
	closeStore(t, b)
	if holder := rdb.Get(t.Context(), a.keys.draining()).Val(); holder != "n3.1" {
		t.Errorf("%q holds the right to drain, want n3.1", holder)
	}
}
