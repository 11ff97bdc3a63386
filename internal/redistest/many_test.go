package redistest

import (
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestSentinelGivesTheReplicaTheMastersPlace(t *testing.T) {
	t.Parallel()
	s := StartSentinel(t)
	ctx := t.Context()
	old, err := s.Master(ctx)
	if err != nil || old != s.Servers[0] {
		t.Fatalf("the master is %v, %v, want the first server", old, err)
	}
	c := old.Client(t)
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Wait(ctx, 1, setupTime).Result(); n != 1 || err != nil {
		t.Fatalf("WAIT 1: %d, %v", n, err)
	}
	opt, err := redis.ParseFailoverURL(s.URL())
	if err != nil || opt.MasterName != SentinelMaster || len(opt.SentinelAddrs) != 3 {
		t.Errorf("ParseFailoverURL(%q): %+v, %v", s.URL(), opt, err)
	}
	next, err := s.Failover(ctx)
	if err != nil || next != s.Servers[1] {
		t.Fatalf("after the failover: %v, %v, want the second server", next, err)
	}
	if got, err := next.Client(t).Get(ctx, "k").Result(); got != "v" {
		t.Errorf("GET k on the new master: %q, %v, want v", got, err)
	}
	if err := old.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := await(ctx, "the old master follows", s.complete); err != nil {
		t.Error(err)
	}
}

func TestClusterServesAllSlotsAndAReplicaTakesOver(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 1)
	ctx := t.Context()
	opt, err := redis.ParseClusterURL(c.URL())
	if err != nil || len(opt.Addrs) != 6 {
		t.Errorf("ParseClusterURL(%q): %+v, %v", c.URL(), opt, err)
	}
	client := c.Connect()
	defer client.Close()
	masters := map[*Server]bool{}
	for _, key := range []string{"{a}", "{b}", "{c}", "{d}", "{e}"} {
		if err := client.Set(ctx, key, key, 0).Err(); err != nil {
			t.Fatal(err)
		}
		m, err := c.Master(ctx, key)
		if err == nil { // a replica that lags behind would lose it
			direct := m.Connect()
			err = errors.Join(direct.Set(ctx, key, key, 0).Err(), direct.Wait(ctx, 1, 5*time.Second).Err(), direct.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		masters[m] = true
	}
	if len(masters) != 3 {
		t.Errorf("the keys are on %d masters, want 3", len(masters))
	}
	old, err := c.Master(ctx, "{a}")
	if err != nil {
		t.Fatal(err)
	}
	next, err := c.Failover(ctx, "{a}")
	if err != nil || next == old {
		t.Fatalf("after the failover: %v, %v", next, err)
	}
	if err := old.Begin(); err != nil {
		t.Fatal(err)
	}
	if err := say(ctx, next, "get", "{a}"); err != nil {
		t.Errorf("GET on the new master: %v", err)
	}
}

func TestTroubleByCommand(t *testing.T) {
	s := Start(t, "--appendonly", "yes")
	c := s.Client(t)
	ctx := t.Context()
	if err := FillMemory(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "k", "v", 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Errorf("SET on a full server: %v, want OOM", err)
	}
	if err := FreeMemory(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
	p := c.Subscribe(ctx, "any")
	defer p.Close()
	if _, err := p.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	if n, err := KillPubSub(ctx, c); n != 1 || err != nil {
		t.Errorf("KillPubSub: %d, %v, want 1", n, err)
	}
	sha, err := c.ScriptLoad(ctx, "return 1").Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := ForgetScripts(ctx, c); err != nil {
		t.Fatal(err)
	}
	if err := c.EvalSha(ctx, sha, nil).Err(); err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT") {
		t.Errorf("EVALSHA: %v, want NOSCRIPT", err)
	}
	for on, want := range map[bool]string{false: "", true: "xE"} {
		if err := Notifications(ctx, c, on); err != nil {
			t.Fatal(err)
		}
		if got := c.ConfigGet(ctx, "notify-keyspace-events").Val()["notify-keyspace-events"]; got != want {
			t.Errorf("notify-keyspace-events is %q, want %q", got, want)
		}
	}
	// Its data is there after a crash, and gone when it is wiped.
	if err := s.Wipe(); err == nil {
		t.Error("a running server was wiped")
	}
	s.Restart(t)
	if got := c.Get(ctx, "k").Val(); got != "v" {
		t.Errorf("GET k after a crash: %q, want v", got)
	}
	if err := errors.Join(s.End(syscall.SIGKILL), s.Wipe(), s.Begin()); err != nil {
		t.Fatal(err)
	}
	if n := c.DBSize(ctx).Val(); n != 0 {
		t.Errorf("a wiped server holds %d keys", n)
	}
}
