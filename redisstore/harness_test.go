package redisstore

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// waitFor bounds every wait of a test. It is far above what anything takes:
// a test that meets it has found a hang.
const waitFor = 60 * time.Second

// app is the app of all test rooms.
const app = "app1"

// openStore opens a store with the prefix and closes it when the test ends.
func openStore(t testing.TB, srv interface{ URL() string }, prefix, node string, change ...func(*Options)) *Store {
	t.Helper()
	o := Options{
		URL: srv.URL(), Prefix: prefix, NodeID: node, Version: "test", ManageNotifications: true,
		LeaseTTL: 6 * time.Second, LeaseBeat: 500 * time.Millisecond,
	}
	for _, c := range change {
		c(&o)
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatalf("open the store of node %s: %v", node, err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// closeStore closes s, and fails the test when something is left behind.
func closeStore(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), waitFor)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Errorf("close the store of %s: %v", s.opts.NodeID, err)
	}
}

// outcomes is a completion that keeps copies of what Done saw, in order.
type outcomes chan presence.Op

func (o outcomes) OpDone(op *presence.Op) { o <- *op }

// next is the next outcome.
func (o outcomes) next(t testing.TB) presence.Op {
	t.Helper()
	select {
	case op := <-o:
		return op
	case <-time.After(waitFor):
		t.Fatal("an operation was never answered")
		panic("unreachable")
	}
}

// submit hands op over and returns its outcomes.
func submit(t testing.TB, s *Store, op presence.Op) outcomes {
	t.Helper()
	o := make(outcomes, 2)
	op.Done = o
	if err := s.Submit(&op); err != nil {
		t.Fatalf("submit %s: %v", op.Kind, err)
	}
	return o
}

// do runs op and returns it as it was in the last Done.
func do(t testing.TB, s *Store, op presence.Op) presence.Op {
	t.Helper()
	o := submit(t, s, op)
	for {
		if op := o.next(t); !op.Unknown {
			return op
		}
	}
}

// must runs op, which has to succeed.
func must(t testing.TB, s *Store, op presence.Op) presence.Op {
	t.Helper()
	op = do(t, s, op)
	if op.Err != nil {
		t.Fatalf("%s in room %q: %v", op.Kind, op.Room, op.Err)
	}
	return op
}

// fails runs op, which has to fail with code.
func fails(t testing.TB, s *Store, op presence.Op, code presence.Code) presence.Op {
	t.Helper()
	op = do(t, s, op)
	if op.Err == nil || op.Err.Code != code {
		t.Fatalf("%s in room %q: got %v, want an error with code %s", op.Kind, op.Room, op.Err, code)
	}
	return op
}

// client is one connection of a test.
type client struct {
	conn presence.ConnID
	inc  int64
}

// connect opens a session.
func connect(t testing.TB, s *Store) client {
	t.Helper()
	c := client{conn: presence.NewConnID()}
	op := must(t, s, c.op(presence.OpOpen, ""))
	c.inc = op.NewInc
	return c
}

// op is an operation of the connection, with all that its kind needs.
func (c client) op(kind presence.OpKind, room string) presence.Op {
	op := presence.Op{Kind: kind, App: app, Room: room, Conn: c.conn, Inc: c.inc}
	switch kind {
	case presence.OpOpen:
		op.Key, op.Client, op.Grace = "app1.k1", "123", 10*time.Second
	case presence.OpTrack:
		op.Track = "p 0 {}"
	case presence.OpJoin, presence.OpUpdate:
		op.ClientJSON, op.Data = []byte(`"123"`), []byte(`{"n":1}`)
	case presence.OpLeave:
		op.Reason = presence.ReasonLeft
	}
	return op
}

// enter tracks and joins rooms.
func (c client) enter(t testing.TB, s *Store, rooms ...string) {
	t.Helper()
	for _, room := range rooms {
		must(t, s, c.op(presence.OpTrack, room))
		must(t, s, c.op(presence.OpJoin, room))
	}
}

func (c client) departure(reason presence.Reason) presence.Departure {
	return presence.Departure{App: app, Conn: c.conn, Inc: c.inc, Reason: reason}
}

// lines records what Redis publishes in rooms.
type lines struct {
	mu   sync.Mutex
	all  []presence.Event
	more chan struct{}
}

// listen records the events of rooms until the test ends.
func listen(t testing.TB, rdb *redis.Client, k keys, rooms ...string) *lines {
	t.Helper()
	l := &lines{more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	sub := rdb.SSubscribe(ctx)
	var done sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		if err := sub.Close(); err != nil {
			t.Errorf("close the test's subscription: %v", err)
		}
		done.Wait()
	})
	for _, room := range rooms {
		if err := sub.SSubscribe(ctx, k.feed(app, room)); err != nil {
			t.Fatalf("subscribe to room %s: %v", room, err)
		}
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatalf("subscribe to room %s: %v", room, err)
		}
	}
	done.Go(func() {
		for {
			msg, err := sub.ReceiveMessage(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				continue // go-redis connects again
			}
			e, err := parseEvent([]byte(msg.Payload))
			if err != nil {
				t.Errorf("unreadable event %q: %v", msg.Payload, err)
				continue
			}
			l.mu.Lock()
			l.all = append(l.all, e)
			l.mu.Unlock()
			select {
			case l.more <- struct{}{}:
			default:
			}
		}
	})
	return l
}

// await waits until ok says so of the events so far, and returns them.
func (l *lines) await(t testing.TB, what string, ok func([]presence.Event) bool) []presence.Event {
	t.Helper()
	deadline := time.After(waitFor)
	for {
		l.mu.Lock()
		all := append([]presence.Event(nil), l.all...)
		l.mu.Unlock()
		if ok(all) {
			return all
		}
		select {
		case <-l.more:
		case <-deadline:
			t.Fatalf("waited for %s; got %d events: %+v", what, len(all), all)
		}
	}
}

// counts counts events by kind and connection.
func counts(all []presence.Event, kind presence.Kind) map[presence.ConnID]int {
	n := make(map[presence.ConnID]int)
	for _, e := range all {
		if e.Kind == kind {
			n[e.Conn]++
		}
	}
	return n
}

// awaitGone waits until a key is deleted; Redis announces it.
func awaitGone(t testing.TB, rdb *redis.Client, key string) {
	t.Helper()
	if err := rdb.ConfigSet(t.Context(), "notify-keyspace-events", "KEA").Err(); err != nil {
		t.Fatalf("have Redis announce changes: %v", err)
	}
	sub := rdb.Subscribe(t.Context(), "__keyspace@0__:"+key)
	defer func() { _ = sub.Close() }() // a second close is an error, and harmless
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatalf("subscribe to the changes of %s: %v", key, err)
	}
	for {
		n, err := rdb.Exists(t.Context(), key).Result()
		if err != nil {
			t.Fatalf("look for %s: %v", key, err)
		}
		if n == 0 {
			return
		}
		if _, err := sub.ReceiveTimeout(t.Context(), waitFor); err != nil {
			t.Fatalf("wait for the end of %s: %v", key, err)
		}
	}
}

// awaitDepartures waits until every departure that s knows of is made.
func awaitDepartures(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitFor)
	defer cancel()
	if n := s.departures.flush(ctx); n > 0 {
		t.Fatalf("%d departures are not made", n)
	}
}

// wantEmpty fails the test when anything of connections or rooms is left.
func wantEmpty(t testing.TB, rdb *redis.Client, prefix string) {
	t.Helper()
	if left := leftovers(t, rdb, prefix); len(left) > 0 {
		t.Errorf("keys that are left: %q", left)
	}
}

// leftovers returns what of connections and rooms is in Redis under the
// prefix: nothing, when everybody left.
func leftovers(t testing.TB, rdb *redis.Client, prefix string) []string {
	t.Helper()
	names, err := rdb.Keys(t.Context(), prefix+":*").Result()
	if err != nil {
		t.Fatalf("list keys: %v", err)
	}
	var left []string
	for _, name := range names {
		if !strings.Contains(name, ":{nodes}:") {
			left = append(left, name)
		}
	}
	return left
}

// laneOf is the lane of the one master.
func laneOf(s *Store) *lane { return s.masters.now.Load().nodes.lane }

// call runs a script by hand, beside every store. Some store has made Redis
// know it.
func call(ctx context.Context, rdb *redis.Client, s script, keys []string, args ...any) (any, error) {
	return rdb.EvalSha(ctx, s.sha, keys, args...).Result()
}

// direct is a client of the one master.
func direct(s *Store) *redis.Client { return s.masters.now.Load().nodes.control }
