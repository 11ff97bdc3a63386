package redistest

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/netfault"
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
	if err := s.Whole(ctx); err != nil {
		t.Error(err)
	}
	if again, err := s.HandOver(ctx); err != nil || again != old {
		t.Errorf("after a failover by command: %v, %v, want the first server", again, err)
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
	if err := c.Whole(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := c.HandOver(ctx, "{a}"); err != nil || again != old {
		t.Errorf("after a failover by command: %v, %v, want the first master", again, err)
	}
}

func TestASlotMovesUnderWrites(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, 0)
	ctx := t.Context()
	const keys = 200
	client := c.Connect()
	defer client.Close()
	from, err := c.Master(ctx, "{a}")
	if err != nil {
		t.Fatal(err)
	}
	var to *Server
	for _, s := range c.Servers {
		if s != from {
			to = s
		}
	}
	counts := make([]int64, keys)
	count := func(i int) error {
		n, err := client.Incr(ctx, fmt.Sprintf("{a}%d", i)).Result()
		if counts[i]++; err == nil && n != counts[i] {
			err = fmt.Errorf("{a}%d is %d, want %d", i, n, counts[i])
		}
		return err
	}
	for i := range keys - 10 { // the last ones are made meanwhile
		if err := count(i); err != nil {
			t.Fatal(err)
		}
	}
	type result struct {
		moved int
		err   error
	}
	done := make(chan result, 1)
	go func() {
		n, err := c.Move(ctx, "{a}", to, 0)
		done <- result{n, err}
	}()
	for i := 0; ; i = (i + 1) % keys {
		if err := count(i); err != nil {
			t.Fatal(err)
		}
		select {
		case r := <-done:
			if r.err != nil || r.moved < keys-10 {
				t.Fatalf("moved %d keys, %v, want at least %d", r.moved, r.err, keys-10)
			}
			for i := range keys {
				if err := count(i); err != nil {
					t.Fatal(err)
				}
			}
			if now, err := c.Master(ctx, "{a}"); err != nil || now != to {
				t.Errorf("the slot is %v's, %v", now, err)
			}
			if n, err := c.Move(ctx, "{a}", to, 0); n != 0 || err != nil {
				t.Errorf("moved to where it is: %d, %v", n, err)
			}
			return
		default:
		}
	}
}

func TestServersAreFoundAtTheirFronts(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	fronts := map[*Server]string{}
	front := func(s *Server) (string, error) {
		p, err := netfault.Listen(s.Addr())
		if err != nil {
			return "", err
		}
		t.Cleanup(func() { p.Close() })
		fronts[s] = p.Addr()
		return p.Addr(), nil
	}
	c, err := LaunchClusterBehind(ctx, front, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Remove() })
	client := c.Connect()
	defer client.Close()
	for i, key := range []string{"{b}", "{c}", "{a}"} { // of the first, the second, the third part of the slots
		m, err := client.MasterForKey(ctx, key)
		if s := c.Servers[i]; err != nil || s.Seen() != fronts[s] || m.Options().Addr != fronts[s] {
			t.Errorf("%s is seen at %s, and a client finds %s at %v, %v; want %s", s.Addr(), s.Seen(), key, m, err, fronts[s])
		}
	}
	clear(fronts)
	s, err := LaunchSentinelBehind(ctx, front)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Remove() })
	old, err := s.Master(ctx)
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.HandOver(ctx)
	if err != nil || next == old {
		t.Fatalf("after a failover: %v, %v", next, err)
	}
	seen, err := s.Sentinels[0].Client(t).Do(ctx, "sentinel", "get-master-addr-by-name", SentinelMaster).StringSlice()
	if err != nil || strings.Join(seen, ":") != fronts[next] {
		t.Errorf("the sentinels name %v, %v, want %s", seen, err, fronts[next])
	}
	if err := s.Whole(ctx); err != nil {
		t.Fatal(err)
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
