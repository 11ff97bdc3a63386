package redisstore

import (
	"strings"
	"testing"

	presence "presencesets"
	"presencesets/internal/redistest"
)

func TestAServerThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	refused := func(t *testing.T, o Options, want string) {
		t.Helper()
		o.NodeID = "n1"
		s, err := Open(t.Context(), o)
		if err == nil {
			closeStore(t, s)
			t.Fatalf("open of %s works", o.URL)
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q; want it to say %q", err, want)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error gives the password away: %q", err)
		}
	}
	t.Run("one server, and Sentinel in the URL", func(t *testing.T) {
		refused(t, Options{Mode: "single", URL: "redis://:secret@localhost:26379/0?master_name=m"}, "redis.mode says single")
	})
	t.Run("Sentinel, and no master in the URL", func(t *testing.T) {
		refused(t, Options{Mode: "sentinel", URL: "redis://:secret@localhost:26379/0"}, "?master_name=")
	})
	t.Run("a Cluster, and Sentinel in the URL", func(t *testing.T) {
		refused(t, Options{Mode: "cluster", URL: "redis://:secret@localhost:7000/0?master_name=m"}, "redis.mode says cluster")
	})
	t.Run("no such kind", func(t *testing.T) {
		refused(t, Options{Mode: "ring", URL: "redis://:secret@localhost:7000/0"}, `redis.mode is "ring"`)
	})
	t.Run("no URL", func(t *testing.T) { refused(t, Options{URL: "secret"}, "redis.url") })
	t.Run("a prefix with a brace", func(t *testing.T) {
		refused(t, Options{URL: "redis://localhost:6379/0", Prefix: "a{b"}, "redis.prefix")
	})
	t.Run("a Cluster, asked for one server", func(t *testing.T) {
		refused(t, Options{Mode: "single", URL: redistest.Start(t, "--cluster-enabled", "yes").URL()}, "runs in mode cluster")
	})
	t.Run("a Cluster without slots", func(t *testing.T) {
		refused(t, Options{URL: redistest.Start(t, "--cluster-enabled", "yes").URL()}, "Cluster")
	})
	t.Run("a replica", func(t *testing.T) {
		master := redistest.Start(t)
		host, port, _ := strings.Cut(master.Addr(), ":")
		refused(t, Options{URL: redistest.Start(t, "--replicaof", host, port).URL()}, "replica")
	})
	t.Run("nobody there", func(t *testing.T) {
		srv := redistest.Start(t)
		srv.Kill(t)
		refused(t, Options{URL: srv.URL()}, srv.Addr())
	})
	t.Run("keys of a newer program", func(t *testing.T) {
		srv, prefix := redistest.Shared(t), redistest.Prefix(t)
		if err := srv.Client(t).Set(t.Context(), keys{prefix}.schema(), schemaVersion+1, 0).Err(); err != nil {
			t.Fatal(err)
		}
		refused(t, Options{URL: srv.URL(), Prefix: prefix}, "newer program")
	})
}

func TestNotificationsAreAddedToWhatIsSet(t *testing.T) {
	t.Parallel()
	srv := redistest.Start(t, "--notify-keyspace-events", "Kg")
	openStore(t, srv, redistest.Prefix(t), "n1", func(o *Options) { o.ManageNotifications = false })
	rdb := srv.Client(t)
	setting := func() string {
		return rdb.ConfigGet(t.Context(), "notify-keyspace-events").Val()["notify-keyspace-events"]
	}
	if got := setting(); strings.Contains(got, "E") {
		t.Errorf("unasked, the setting became %q", got)
	}
	openStore(t, srv, redistest.Prefix(t), "n1")
	for _, flag := range "KgEx" {
		if got := setting(); !strings.ContainsRune(got, flag) {
			t.Errorf("the setting is %q, want %c in it", got, flag)
		}
	}
}

func TestReadinessNamesEveryPart(t *testing.T) {
	t.Parallel()
	s := openStore(t, redistest.Shared(t), redistest.Prefix(t), "n1")
	for _, name := range []string{"redis", "lease", "feed"} {
		if c := check(t, s, name); !c.OK || c.Since.IsZero() || c.Text == "" {
			t.Errorf("check %s: got %+v", name, c)
		}
	}
	var _ []presence.Check = s.Ready()
}
