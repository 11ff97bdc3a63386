package redistest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestMain(m *testing.M) { Main(m) }

func TestServerComesBackEmptyOnItsPort(t *testing.T) {
	s := Start(t)
	c := s.Client(t)
	ctx := t.Context()
	if err := c.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	addr := s.Addr()
	for _, end := range []func(testing.TB){s.Stop, s.Kill, s.Kill} { // the second Kill finds nothing to do
		end(t)
		if err := c.Ping(ctx).Err(); err == nil {
			t.Fatal("PING was answered by a server that is stopped")
		}
	}
	s.Restart(t)
	if s.Addr() != addr {
		t.Errorf("address after Restart is %s, want %s", s.Addr(), addr)
	}
	if err := c.Get(ctx, "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("GET k after Restart: %v, want redis.Nil: the server should be empty", err)
	}
}

func TestServerKeepsItsDataWhenToldSo(t *testing.T) {
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	c := s.Client(t)
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Restart(t) // by SIGKILL
	if got, err := c.Get(t.Context(), "k").Result(); got != "v" {
		t.Errorf("GET k = %q, %v, want v", got, err)
	}
}

func TestPausedServerHangsAndGoesOn(t *testing.T) {
	s := Start(t)
	c := s.Client(t)
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.Pause(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Ping(ctx).Err(); err == nil {
		t.Error("a paused server answered PING")
	}
	s.Resume(t)
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Errorf("PING after Resume: %v", err)
	}
	s.Pause(t)
	s.Stop(t) // must not hang on a paused process
}

func TestSharedServerIsOne(t *testing.T) {
	a, b := Shared(t), Shared(t)
	if a != b {
		t.Error("two calls gave two servers")
	}
	if p, q := Prefix(t), Prefix(t); p == q {
		t.Errorf("Prefix gave %q twice", p)
	}
	c := redis.NewClient(&redis.Options{Network: "unix", Addr: a.Socket()})
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Errorf("PING over the unix socket: %v", err)
	}
	opt, err := redis.ParseURL(a.URL())
	if err != nil || opt.Addr != a.Addr() {
		t.Errorf("ParseURL(%q): %v, want address %s", a.URL(), err, a.Addr())
	}
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	_, err := Launch("--no-such-setting", "1")
	if err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Errorf("error is %v, want Redis's own words about no-such-setting", err)
	}
}

func TestStartWithoutBinarySaysWhatToType(t *testing.T) {
	t.Setenv("PRESENCE_TEST_REDIS", "")
	t.Setenv("PRESENCE_REDIS", "")
	t.Setenv("PATH", t.TempDir())
	if _, err := Launch(); err == nil || !strings.Contains(err.Error(), "apt-get install redis-tools") {
		t.Errorf("error is %v, want the line to type", err)
	}
	t.Setenv("PRESENCE_REDIS", filepath.Join(t.TempDir(), "absent"))
	if _, err := Launch(); err == nil || !strings.Contains(err.Error(), "PRESENCE_REDIS names no program") {
		t.Errorf("error is %v, want the variable's name", err)
	}
}

func TestRemoveLeavesNoFolder(t *testing.T) {
	s, err := Launch()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}
