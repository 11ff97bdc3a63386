package redisstore

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// channels is what Redis says that it pushes to the feed's link.
func (r *rig) channels(room string) int64 {
	r.t.Helper()
	counts, err := r.redis.PubSubShardNumSub(r.t.Context(), r.feed.keys.feed(rigApp, room)).Result()
	if err != nil {
		r.t.Fatal(err)
	}
	return counts[r.feed.keys.feed(rigApp, room)]
}

func TestUnwatchLingersAndThenUnsubscribes(t *testing.T) {
	r := newRig(t, redistest.Shared(t))
	r.feed.linger = time.Hour
	r.start()
	s := r.follow("a")
	r.unwatch(rigApp, "a")
	r.onLoop(func() {})
	r.put("a", 1, `1`)
	s2 := r.follow("a") // in between: no new snapshot, and a fresh sink
	r.put("a", 2, `2`)
	s2.waitConn(2, 0)
	r.expectTold(s)
	if n := r.channels("a"); n != 1 {
		t.Errorf("%d subscriptions, want 1", n)
	}

	r.onLoop(func() { r.feed.linger = 0 })
	r.unwatch(rigApp, "a")
	r.until("the room is forgotten", func() bool { return len(r.rooms) == 0 && len(r.subs) == 0 })
	if n := r.channels("a"); n != 0 {
		t.Errorf("%d subscriptions after the last watcher, want 0", n)
	}
	rev := r.put("a", 3, `3`)
	if s3 := r.follow("a"); s3.since != rev {
		t.Errorf("watch after that was answered with %d, want %d", s3.since, rev)
	}
}

func TestRefusedWatchLeavesNothingBehind(t *testing.T) {
	server := redistest.Start(t)
	r := newRig(t, server)
	r.feed.linger = 0
	r.start()
	r.follow("a")
	server.Pause(t)
	refused := r.begin(presence.OpWatch, "b", newSubscriber(t))
	if op := <-refused; op.Err == nil {
		t.Error("watch was answered by a Redis that is paused")
	}
	server.Resume(t)
	r.until("only the other room is hosted", func() bool { return len(r.rooms) == 1 && len(r.subs) == 1 })
}

// TestWatchesThatCrossUnwatches lets a subscribe meet its own unsubscribe in
// every way, while the room changes and the link breaks now and then.
func TestWatchesThatCrossUnwatches(t *testing.T) {
	r := newRig(t, redistest.Start(t))
	r.feed.linger = 0
	r.start()
	const rooms = 3
	end := make(chan struct{})
	var writers sync.WaitGroup
	writers.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-end:
				return
			default:
			}
			if room, who := fmt.Sprint(n%rooms), byte(rand.N(4)); rand.N(3) > 0 {
				r.put(room, who, strconv.Itoa(n))
			} else {
				r.cut(room, who)
			}
		}
	})
	for n := range 1000 {
		room := fmt.Sprint(rand.N(rooms))
		s := newSubscriber(t)
		done := r.begin(presence.OpWatch, room, s)
		switch rand.N(4) {
		case 0: // go at once
			r.unwatch(rigApp, room)
			<-done
		case 1: // go when it is answered
			<-done
			r.unwatch(rigApp, room)
		case 2: // go and come
			r.unwatch(rigApp, room)
			again := r.begin(presence.OpWatch, room, s)
			<-done
			<-again
			r.unwatch(rigApp, room)
		default: // stay until something comes
			if op := <-done; op.Err != nil {
				t.Fatalf("watch %d of room %s: %v", n, room, op.Err)
			}
			s.waitFor(1)
			r.unwatch(rigApp, room)
		}
		if n%200 == 199 {
			r.cutLink()
		}
	}
	for i := range rooms {
		room := fmt.Sprint(i)
		s := r.follow(room)
		s.waitConn(99, r.put(room, 99, `"last"`))
		r.unwatch(rigApp, room)
	}
	close(end)
	writers.Wait()
	for i := range rooms {
		room := fmt.Sprint(i)
		s := r.follow(room)
		list := r.stored(room)
		r.cut(room, 99)
		s.waitConn(99, list.Revision+1)
		r.expectFold(room, list, s)
	}
}
