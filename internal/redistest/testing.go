package redistest

import (
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"
)

// Start runs a redis-server for this test alone and kills it when the test
// ends. args are further redis-server arguments, such as "--maxmemory", "8mb".
// It blocks until the server takes connections (about 10 ms).
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := Launch(args...)
	if err != nil {
		t.Fatalf("start a Redis for this test: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			t.Errorf("remove this test's Redis: %v", err)
		}
	})
	return s
}

// shared is the server of the whole test process.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Shared returns the one server of this test process, started at the first
// call. Tests keep apart by [Prefix]; a test that stops, pauses, fills or
// flushes its server takes one of its own from [Start]. The package needs
// a TestMain that calls [Main].
func Shared(t testing.TB) *Server {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = Launch() })
	if shared.err != nil {
		t.Fatalf("start the shared Redis: %v", shared.err)
	}
	return shared.server
}

// Main is the TestMain of a package that uses [Shared]: it runs the tests,
// removes the shared server, fails when goroutines were left behind, and exits.
func Main(m *testing.M, opts ...goleak.Option) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Remove(); err != nil {
			fmt.Fprintln(os.Stderr, "remove the shared Redis:", err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(opts...); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

var prefixes atomic.Int64

// Prefix returns a key prefix that no other test of this process has.
func Prefix(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("t%d", prefixes.Add(1))
}

// Client returns a go-redis client of s that is closed when the test ends. It
// retries nothing and keeps to the deadline of a context, so that a test sees
// what really happened.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	c := s.Connect()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("close the Redis client: %v", err)
		}
	})
	return c
}

// silent asks for none of the announcements that some managed Redis make.
var silent = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}

// Connect returns a client as [Server.Client] does, which the caller closes.
func (s *Server) Connect() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     s.Addr(),
		Protocol:                 2,
		ContextTimeoutEnabled:    true,
		MaxRetries:               -1,
		DialerRetries:            1,
		DisableIdentity:          true,
		MaintNotificationsConfig: silent,
	})
}

// Stop ends the server as an operator would, with SIGTERM, and waits until it
// is gone. It does nothing when the server is not running.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.End(syscall.SIGTERM); err != nil {
		t.Fatalf("stop Redis: %v", err)
	}
}

// Kill ends the server with SIGKILL, as a crash would, and waits until it is
// gone. It does nothing when the server is not running.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.End(syscall.SIGKILL); err != nil {
		t.Fatalf("kill Redis: %v", err)
	}
}

// Restart starts the server on its old port, killing it first if it runs. It
// comes back empty, unless it was started with arguments that keep its data
// ("--appendonly", "yes").
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill(t)
	if err := s.Begin(); err != nil {
		t.Fatalf("restart Redis: %v", err)
	}
}

// Pause stops the process (SIGSTOP): its connections stay and hang, without an
// error, until [Server.Resume].
func (s *Server) Pause(t testing.TB) { t.Helper(); s.signal(t, syscall.SIGSTOP) }

// Resume lets a paused process run on.
func (s *Server) Resume(t testing.TB) { t.Helper(); s.signal(t, syscall.SIGCONT) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := s.Signal(sig); err != nil {
		t.Fatalf("%v for Redis: %v", sig, err)
	}
}
