package redisstore

import (
	"context"
	"strings"
	"testing"
	"time"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestNamesOfExpiredKeys(t *testing.T) {
	t.Parallel()
	k := keys{prefix: "p"}
	conn, ok := presence.ParseConnID("3f9ac1b2d3e4f5a6b7c8")
	if !ok {
		t.Fatal("no connection id")
	}
	if got, ok := k.graceOf(k.grace(conn)); !ok || got != conn {
		t.Errorf("grace: got %s, %v", got, ok)
	}
	if got, ok := k.leaseOf(k.lease("n.1.5")); !ok || got != "n.1.5" {
		t.Errorf("lease: got %s, %v", got, ok)
	}
	for _, name := range []string{
		"", "p", "other:{c3f}:grace:3f9ac1b2d3e4f5a6b7c8", "p:{c3f}:grace:", "p:{c3f}:grace:3f9ac1b2d3e4f5a6b7cG",
		"p:{c3e}:grace:3f9ac1b2d3e4f5a6b7c8", "p:{c3f}:due", "p:{app1:lobby}:members", k.session(conn),
	} {
		if _, ok := k.graceOf(name); ok {
			t.Errorf("%q is taken for a grace", name)
		}
		if _, ok := k.leaseOf(name); ok {
			t.Errorf("%q is taken for a lease", name)
		}
	}
}

func TestAnExpiredKeyRingsOnALinkThatIsMended(t *testing.T) {
	t.Parallel()
	srv, prefix := redistest.Start(t), redistest.Prefix(t)
	rdb := srv.Client(t)
	s := idle(t, srv, prefix, "n1")
	rung, lost := make(chan presence.ConnID, 10), make(chan string, 10)
	n := notices{
		store: s, client: s.masters.now.Load().nodes.expired,
		ring: func(conn presence.ConnID) { rung <- conn }, lost: func(stamp string) { lost <- stamp },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { n.run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	listening := func() {
		t.Helper()
		tick(t, "both links are subscribed", func(ctx context.Context) bool {
			n, err := rdb.PubSubNumSub(ctx, "__keyevent@0__:expired").Result()
			return err == nil && n["__keyevent@0__:expired"] == 2
		})
	}
	// expires sets a key, and looks at it until it is gone.
	expires := func(name string) {
		t.Helper()
		if err := rdb.Set(t.Context(), name, "", time.Millisecond).Err(); err != nil {
			t.Fatal(err)
		}
		tick(t, name+" has expired", func(ctx context.Context) bool { return rdb.Exists(ctx, name).Val() == 0 })
	}
	conn := presence.NewConnID()
	s.graces.began(conn, 1<<50)
	for range 2 {
		listening()
		expires("somebody:else")
		expires(s.keys.grace(conn))
		expires(s.keys.lease("n7.1"))
		select {
		case got := <-rung:
			if got != conn {
				t.Errorf("rung for %s, want %s", got, conn)
			}
		case <-time.After(waitFor):
			t.Fatal("the end of a grace does not ring")
		}
		select {
		case got := <-lost:
			if got != "n7.1" {
				t.Errorf("told of the lease of %q, want n7.1", got)
			}
		case <-time.After(waitFor):
			t.Fatal("the end of a lease is not told")
		}
		clients, err := rdb.ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(clients) {
			if strings.Contains(line, "name=presence-n1-expired ") {
				id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
				if err := rdb.Do(t.Context(), "CLIENT", "KILL", "ID", id).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := s.graces.count(0); n != 0 {
		t.Errorf("%d graces are thought to go on, want none", n)
	}
}
