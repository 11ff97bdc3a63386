package redisstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func contextWithin(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func TestAWriteIsValidAsLongAsEveryoneCanKnowOfIt(t *testing.T) {
	t.Parallel()
	ms := int64(time.Millisecond)
	// Redis said 1,000,000 to a request that took from 100 to 140 ms.
	g := &grant{now: 1_000_000, end: 1_006_000, sent: 100 * ms, got: 140 * ms}
	const ttl = 6 * time.Second
	for _, tc := range []struct {
		name     string
		at       int64
		probeAge time.Duration
		want     int64
		ok       bool
	}{
		{"two seconds behind the earliest that it may be", 140, 0, 1_002_000, true},
		{"an old probe", 140, 5 * time.Second, 1_001_000, true},
		{"a probe as old as the lease is long", 140, ttl, 1_000_000, false},
		{"no probe", 140, 1<<63 - 1, 0, false},
		{"near the end of the lease", 5140, 0, 1_006_000, true},
		{"the end may be over", 6100, 0, 1_006_000, false},
		{"the lease has ended", 9000, 0, 1_006_000, false},
	} {
		got, ok := g.validUntil(tc.at*ms, tc.probeAge, ttl)
		if ok != tc.ok || ok && got != tc.want {
			t.Errorf("%s: got %d, %v; want %d, %v", tc.name, got, ok, tc.want, tc.ok)
		}
	}
	if low, high := g.lower(240*ms), g.upper(240*ms); low != 1_000_100 || high != 1_000_141 {
		t.Errorf("Redis's clock: got %d to %d, want 1000100 to 1000141", low, high)
	}
}

func TestTheRegistrySaysWhoIsAlive(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.Addr = "10.0.0.1:9000" })
	other := openStore(t, srv, prefix, "n1")
	if s.Stamp() != "n1.1" || other.Stamp() != "n1.2" {
		t.Errorf("stamps: got %s and %s, want n1.1 and n1.2", s.Stamp(), other.Stamp())
	}
	text, err := rdb.HGet(t.Context(), s.keys.registry(), "n1.1").Result()
	if err != nil {
		t.Fatal(err)
	}
	var v registryValue
	if err := json.Unmarshal([]byte(text), &v); err != nil || v.Addr != "10.0.0.1:9000" || v.Version != "test" {
		t.Errorf("registry: got %s, %v", text, err)
	}
	list, err := rdb.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"presence-n1-control", "presence-n1-feed"} {
		if !strings.Contains(list, "name="+name+" ") {
			t.Errorf("no connection is named %s:\n%s", name, list)
		}
	}
}

func TestALapsedLeaseRefusesWritesAndRevives(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.LeaseTTL, o.LeaseBeat = 4*time.Second, 100*time.Millisecond })
	c := connect(t, s)
	c.enter(t, s, "lobby")
	stamp := s.Stamp()
	srv.Pause(t)
	awaitLease(t, s, false)
	op := c.op(presence.OpJoin, "lobby")
	if err := s.Submit(&op); err == nil || err.Code != presence.CodeUnavailable {
		t.Errorf("submit with a lapsed lease: got %v, want unavailable", err)
	}
	if c := check(t, s, "lease"); c.OK || c.Since.IsZero() {
		t.Errorf("readiness: got %+v", c)
	}
	srv.Resume(t)
	awaitLease(t, s, true)
	must(t, s, c.op(presence.OpJoin, "lobby"))
	if c := check(t, s, "lease"); !c.OK || s.Stamp() != stamp {
		t.Errorf("readiness: got %+v with stamp %s, want %s", c, s.Stamp(), stamp)
	}
	s.Depart(c.departure(presence.ReasonClosed))
}

// awaitLease waits until this node may write, or may not. Time alone ends a
// lease, so there is nothing else to wait for.
func awaitLease(t *testing.T, s *Store, want bool) {
	t.Helper()
	awaitThat(t, fmt.Sprintf("the lease is held: %v", want), func() bool {
		_, _, ok := s.lease.window()
		return ok == want
	})
}

// awaitThat looks until ok: for what nothing announces.
func awaitThat(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(waitFor)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("never: %s", what)
		}
	}
}

func check(t *testing.T, s *Store, name string) presence.Check {
	t.Helper()
	for _, c := range s.Ready() {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no check is named %s", name)
	return presence.Check{}
}

func TestANodeWhoseStampIsGoneTakesANewOne(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Shared(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := openStore(t, srv, prefix, "n1", func(o *Options) { o.LeaseBeat = 100 * time.Millisecond })
	old := connect(t, s)
	old.enter(t, s, "lobby")
	if err := rdb.HDel(t.Context(), s.keys.registry(), "n1.1").Err(); err != nil {
		t.Fatal(err)
	}
	awaitStampChange(t, s, "n1.1")
	awaitLease(t, s, true)
	young := connect(t, s)
	young.enter(t, s, "lobby")
	fails(t, s, old.op(presence.OpJoin, "lobby"), presence.CodeFenced)
	s.Depart(old.departure(presence.ReasonClosed))
	s.Depart(young.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}

func awaitStampChange(t *testing.T, s *Store, from string) {
	t.Helper()
	awaitThat(t, "the stamp changes from "+from, func() bool { return s.Stamp() != from })
}

func TestARedisThatComesBackEmptyServesNewConnections(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	s := openStore(t, srv, prefix, "n1")
	old := connect(t, s)
	old.enter(t, s, "lobby")
	stamp := s.Stamp()
	srv.Kill(t)
	op := do(t, s, old.op(presence.OpUpdate, "lobby"))
	if op.Err == nil || op.Err.Code != presence.CodeUnavailable {
		t.Errorf("update without Redis: got %v, want unavailable", op.Err)
	}
	srv.Restart(t)
	rdb := srv.Client(t)
	awaitStampChange(t, s, stamp)
	awaitThat(t, "the schema is written again", func() bool { return rdb.Exists(t.Context(), s.keys.schema()).Val() == 1 })
	awaitLease(t, s, true)
	fails(t, s, old.op(presence.OpJoin, "lobby"), presence.CodeFenced)
	young := connect(t, s)
	young.enter(t, s, "lobby")
	if n := must(t, s, young.op(presence.OpCount, "lobby")); n.Count != 1 {
		t.Errorf("count: got %d, want 1", n.Count)
	}
	s.Depart(old.departure(presence.ReasonClosed))
	s.Depart(young.departure(presence.ReasonClosed))
	awaitDepartures(t, s)
	wantEmpty(t, rdb, prefix)
}
