package redisstore

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// crowd is what a test with several servers does with them: two nodes, clients
// on the one, and on the other somebody who watches every room.
type crowd struct {
	t       *testing.T
	prefix  string
	a, b    *Store
	desk    desk // of a
	rooms   []string
	clients []client
	in      map[int][]string // client → its rooms
	holds   map[int][]presence.Hold
	seen    map[string]*subscriber
	doubts  map[*Store]int64 // that were settled
}

const (
	crowdRooms   = 12
	crowdClients = 12
)

func newCrowd(t *testing.T, srv interface{ URL() string }) *crowd {
	t.Helper()
	c := &crowd{t: t, prefix: redistest.Prefix(t), in: make(map[int][]string), holds: make(map[int][]presence.Hold), seen: make(map[string]*subscriber), doubts: make(map[*Store]int64)}
	fast := func(o *Options) { o.LeaseBeat = 500 * time.Millisecond }
	c.a, c.b = openStore(t, srv, c.prefix, "n1", fast), openStore(t, srv, c.prefix, "n2", fast)
	c.desk = attach(c.a)
	for i := range crowdRooms {
		room := fmt.Sprintf("room%d", i)
		c.rooms = append(c.rooms, room)
		c.seen[room] = newSubscriber(t)
		must(t, c.b, presence.Op{Kind: presence.OpWatch, App: app, Room: room, Sink: c.seen[room]})
	}
	for i := range crowdClients {
		one := connect(t, c.a)
		for j := range 3 {
			h := hold(c.rooms[(i+4*j)%crowdRooms])
			must(t, c.a, one.op(presence.OpTrack, h.Room))
			h.At = must(t, c.a, one.op(presence.OpJoin, h.Room)).At
			c.in[i], c.holds[i] = append(c.in[i], h.Room), append(c.holds[i], h)
		}
		c.clients = append(c.clients, one)
	}
	return c
}

// settle waits until both nodes may write everywhere, and each has been told to
// reclaim since the change.
func (c *crowd) settle() {
	c.t.Helper()
	c.desk.told(c.t)
	for _, s := range []*Store{c.a, c.b} {
		awaitThat(c.t, "every master is known and heard", func() bool {
			if s.doubts.count.Load() == c.doubts[s] {
				return false
			}
			for _, m := range s.masters.now.Load().all {
				if m.server.Load() == nil {
					return false
				}
			}
			_, _, ok := s.lease.window()
			return ok && s.feed.probeAge() < s.opts.LeaseTTL/2
		})
		c.doubts[s] = s.doubts.count.Load()
	}
	for i := range c.clients {
		c.clients[i].reclaimed(c.t, c.a, c.holds[i]...)
	}
}

// wantThere fails the test unless all are members still, and may change that.
func (c *crowd) wantThere() {
	c.t.Helper()
	members := make(map[string][]client)
	for i, one := range c.clients {
		for _, room := range c.in[i] {
			members[room] = append(members[room], one)
			must(c.t, c.a, one.op(presence.OpUpdate, room))
		}
	}
	for room, want := range members {
		wantMembers(c.t, c.b, room, want...)
	}
}

// end has everybody leave, and wants each membership told once, from its
// beginning to its end.
func (c *crowd) end(clients ...*redis.Client) {
	c.t.Helper()
	for i, one := range c.clients {
		if i%2 == 0 {
			c.a.Depart(one.departure(presence.ReasonClosed))
		} else {
			d := one.detachment()
			d.Grace = time.Second
			c.a.Detach(d)
		}
	}
	for room, seen := range c.seen {
		want := 0
		for _, rooms := range c.in {
			for _, r := range rooms {
				if r == room {
					want++
				}
			}
		}
		events := seen.wait("every leave of "+room, func(events []*presence.Event, _ []string) bool {
			return toldOf(events, presence.KindLeave) >= want
		})
		if n := toldOf(events, presence.KindJoin); n != want {
			c.t.Errorf("room %s: %d joins were told, want %d", room, n, want)
		}
		if n := toldOf(events, presence.KindLeave); n != want {
			c.t.Errorf("room %s: %d leaves were told, want %d", room, n, want)
		}
	}
	awaitDepartures(c.t, c.a)
	awaitDepartures(c.t, c.b)
	for _, rdb := range clients {
		for _, name := range leftovers(c.t, rdb, c.prefix) {
			if !strings.Contains(name, ":session:") && !strings.HasSuffix(name, ":due") { // away
				c.t.Errorf("left: %s", name)
			}
		}
	}
}

func toldOf(events []*presence.Event, kind presence.Kind) (n int) {
	for _, e := range events {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

func TestTheMasterThatSentinelNamesIsFollowed(t *testing.T) {
	t.Parallel()
	srv := redistest.StartSentinel(t)
	c := newCrowd(t, srv)
	c.wantThere()
	next, err := srv.Failover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.settle()
	c.wantThere()
	c.end(next.Client(t))
}

func TestAClustersMastersAreFollowed(t *testing.T) {
	t.Parallel()
	srv := redistest.StartCluster(t, 1)
	c := newCrowd(t, srv)
	if n := len(c.a.masters.now.Load().all); n != 3 {
		t.Fatalf("%d masters, want 3", n)
	}
	c.wantThere()
	first, err := srv.Failover(t.Context(), c.a.keys.registry())
	if err != nil {
		t.Fatal(err)
	}
	c.settle()
	c.wantThere()
	// One that has not that slot.
	room := ""
	for _, r := range c.rooms {
		if m, err := srv.Master(t.Context(), c.a.keys.members(app, r)); err != nil {
			t.Fatal(err)
		} else if m != first {
			room = r
			break
		}
	}
	if _, err := srv.Failover(t.Context(), c.a.keys.members(app, room)); err != nil {
		t.Fatal(err)
	}
	c.settle()
	c.wantThere()
	var rdbs []*redis.Client
	for _, s := range srv.Servers {
		if s.PID() != 0 {
			rdbs = append(rdbs, s.Client(t))
		}
	}
	c.end(rdbs...)
	if n := len(c.a.masters.now.Load().all); n != 3 {
		t.Errorf("%d masters at the end, want 3", n)
	}
}

// TestASlotThatMovesTakesItsKeysAlong moves slots of a room, of a shard of
// connections and of the nodes while clients go on. Nobody loses anything by it, so
// nothing is to be reclaimed, and no request fails: what is between two masters
// waits.
func TestASlotThatMovesTakesItsKeysAlong(t *testing.T) {
	t.Parallel()
	srv := redistest.StartCluster(t, 0)
	c := newCrowd(t, srv)
	for _, key := range []string{
		c.a.keys.members(app, c.rooms[0]), c.a.keys.session(c.clients[0].conn), c.a.keys.registry(),
	} {
		from, err := srv.Master(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		to := srv.Servers[0]
		if to == from {
			to = srv.Servers[1]
		}
		ends := make(chan error, 1)
		go func() {
			_, err := srv.Move(t.Context(), key, to, 300*time.Millisecond)
			ends <- err
		}()
		for moving := true; moving; {
			select {
			case err := <-ends:
				if err != nil {
					t.Fatalf("move the slot of %s: %v", key, err)
				}
				moving = false
			default:
			}
			for i, one := range c.clients {
				must(t, c.a, one.op(presence.OpUpdate, c.in[i][0]))
			}
		}
		for _, s := range []*Store{c.a, c.b} {
			awaitThat(t, "the slot is looked for where it is", func() bool { return s.masters.ofKey(key).name == to.Addr() })
		}
		c.wantThere()
	}
	if len(c.desk.epochs) > 0 {
		t.Error("connections were to be reclaimed, though nothing was lost")
	}
	var rdbs []*redis.Client
	for _, s := range srv.Servers {
		rdbs = append(rdbs, s.Client(t))
	}
	c.end(rdbs...)
}
