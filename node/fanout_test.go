package node

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	presence "presencesets"
)

// watchers opens count connections that get the update events of room r.
func watchers(t *testing.T, n *Node, count int) []*peer {
	t.Helper()
	out := make([]*peer, count)
	for i := range out {
		out[i] = connect(t, n, "")
		out[i].ok("room:join", `"roomId":"r"`)
		out[i].ok("room:presence:subscribe", `"roomId":"r","event":"update"`)
	}
	return out
}

func roomOf(n *Node, app, room string) *Room {
	n.roomsMu.Lock()
	defer n.roomsMu.Unlock()
	return n.rooms[app+":"+room]
}

func update(rev int, data string) *presence.Event {
	return &presence.Event{
		Kind: presence.KindUpdate, Revision: presence.Revision(rev), Prev: presence.Revision(rev - 1),
		Conn: presence.ConnID{1}, Time: 1, Client: []byte(`"c"`), Data: []byte(data),
	}
}

type gotEvent struct {
	Body struct{ Revision int }
}

// expectRevisions reads until it has revision last and checks that none is missing or out of order.
func (p *peer) expectRevisions(first, last int) error {
	for want := first; want <= last; want++ {
		var ev gotEvent
		text := p.read()
		if err := json.Unmarshal([]byte(text), &ev); err != nil {
			return err
		}
		if ev.Body.Revision != want {
			return fmt.Errorf("got revision %d, want %d", ev.Body.Revision, want)
		}
	}
	return nil
}

func TestClosingSomeSubscribersInTheWalkLosesNothingForTheOthers(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.Loops = 1
	n := startNode(t, opts)
	const total, events = 600, 200 // more than one step of a walk
	peers := watchers(t, n, total)
	room := roomOf(n, "acme", "r")
	var wg sync.WaitGroup
	for i, p := range peers {
		if i%3 == 0 {
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := p.expectRevisions(1, events); err != nil {
				t.Errorf("subscriber %d: %v", i, err)
			}
		}()
	}
	for rev := 1; rev <= events; rev++ {
		room.RoomEvent(update(rev, `{"x":1}`))
		if rev%2 == 0 { // by the peer's reset, while walks are under way
			if i := rev / 2 * 3; i < total {
				peers[i].conn.Close()
			}
		}
	}
	wg.Wait()
}

func TestSubscriberThatComesInTheWalkMissesAndRepeatsNothing(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.Loops = 1
	store := opts.Store.(*memStore)
	n := startNode(t, opts)
	actor := connect(t, n, "a")
	actor.ok("room:join", `"roomId":"r"`)
	actor.ok("room:presence:join", `"roomId":"r"`)
	watchers(t, n, 300)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		conn := presence.ConnID{9}
		for {
			select {
			case <-stop:
				return
			default:
			}
			store.mu.Lock()
			r := store.rooms["acme:r"]
			m := r.members[conn]
			if m == nil {
				m = &presence.Member{Conn: conn, Client: []byte(`"z"`)}
			}
			store.change(r, presence.KindUpdate, m, "", nil)
			store.mu.Unlock()
			time.Sleep(20 * time.Microsecond) // the load, not a wait for anything
		}
	}()
	for range 20 {
		p := connect(t, n, "")
		p.ok("room:join", `"roomId":"r"`)
		p.ok("room:presence:subscribe", `"roomId":"r","event":"update"`)
		var first, ev gotEvent
		if err := json.Unmarshal([]byte(p.read()), &first); err != nil {
			t.Fatal(err)
		}
		for i := 1; i < 50; i++ {
			if err := json.Unmarshal([]byte(p.read()), &ev); err != nil {
				t.Fatal(err)
			}
			if ev.Body.Revision != first.Body.Revision+i {
				t.Fatalf("event %d has revision %d, want %d", i, ev.Body.Revision, first.Body.Revision+i)
			}
		}
		p.conn.Close()
	}
	close(stop)
	wg.Wait()
}

func TestSlowConsumerIsCutAndTheOthersMissNothing(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	n := startNode(t, opts)
	peers := watchers(t, n, 20)
	room := roomOf(n, "acme", "r")
	data := `"` + strings.Repeat("x", 8<<10) + `"`
	const events = 120 // 1 MB, more than the kernel and our queue take for one peer
	var wg sync.WaitGroup
	var read [20]atomic.Int32
	for i, p := range peers {
		if i < 2 {
			continue // these two never read again
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			for rev := 1; rev <= events; rev++ {
				if err := p.expectRevisions(rev, rev); err != nil {
					t.Errorf("subscriber %d: %v", i, err)
					return
				}
				read[i].Store(int32(rev))
			}
		}()
	}
	for rev := 1; rev <= events; rev++ {
		room.RoomEvent(update(rev, data))
		if rev%4 == 0 { // keep what a reading peer has not taken below its limit
			waitFor(t, func() bool {
				for i := 2; i < len(peers); i++ {
					if int(read[i].Load()) < rev {
						return false
					}
				}
				return true
			})
		}
	}
	wg.Wait()
	waitFor(t, func() bool { return store.gone() == 2 })
	waitFor(t, func() bool {
		sum := int64(0)
		for _, s := range n.loopStats() {
			sum += s.QueueBytes
		}
		return sum == 0
	})
}

func TestMessagesReachBindsByNameAndByAll(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	p, q := connect(t, n, "p"), connect(t, n, "")
	for _, x := range []*peer{p, q} {
		x.ok("room:join", `"roomId":"r"`)
	}
	p.ok("room:subscription:bind", `"roomId":"r","event":"moved"`)
	q.ok("room:subscription:bind", `"roomId":"r","event":"$:subscribe:all"`)
	q.ok("room:subscription:bind", `"roomId":"r","event":"moved"`)
	if got := p.ok("publish", `"roomId":"r","event":"moved","data":{"a":1}`); !strings.Contains(got, `"sender":{"clientId":"p"`) {
		t.Errorf("publish: got %s", got)
	}
	if got := p.read(); !strings.HasPrefix(got, `{"type":"acme:r::moved"`) {
		t.Errorf("own message: got %s", got)
	}
	a, b := q.read(), q.read()
	if !strings.HasPrefix(a, `{"type":"acme:r::moved"`) || !strings.HasPrefix(b, `{"type":"acme:r::$:subscribe:all"`) {
		t.Errorf("got %s and %s, want one under each name", a, b)
	}
	q.ok("room:subscription:unbind", `"roomId":"r","event":"moved"`)
	p.ok("publish", `"roomId":"r","event":"moved","data":2`)
	if got := q.read(); !strings.HasPrefix(got, `{"type":"acme:r::$:subscribe:all"`) {
		t.Errorf("after the unbind: got %s", got)
	}
	if got := q.ok("room:subscription:unbind", `"roomId":"r"`); !strings.Contains(got, `"data":"acme:r"`) {
		t.Errorf("unbind of all: got %s", got)
	}
	p.read()
	p.ok("publish", `"roomId":"r","event":"moved","data":3`)
	q.ok("room:presence:count", `"roomId":"r"`) // and no message before it
}
