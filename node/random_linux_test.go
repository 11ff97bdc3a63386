package node

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	presence "presencesets"
)

// TestRandomConversationsAreAnsweredOnceAndLeaveNothingBehind has four
// connections ask at random, in fragments, cut anywhere, of a store that
// refuses, is late, or does not know what became of an operation. Every request
// is acknowledged exactly once; when all have hung up, nothing is left: no
// entry, room, watch, member, byte or timer.
func TestRandomConversationsAreAnsweredOnceAndLeaveNothingBehind(t *testing.T) {
	for seed := range uint64(100) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { newRandomTalk(t, seed).run() })
	}
}

type randomTalk struct {
	*still
	rng   *rand.Rand
	store *memStore
	doubt []*presence.Op // answered as unknown first
	peers []*randomPeer
	sent  int
	acks  map[string]int
}

type randomPeer struct {
	fd      int
	pending []byte
}

var ackPattern = regexp.MustCompile(`"ackId":"(\d+)"`)

func newRandomTalk(t *testing.T, seed uint64) *randomTalk {
	store := newMemStore()
	opts := testOptions(t, store)
	r := &randomTalk{rng: rand.New(rand.NewPCG(seed, 1)), store: store, acks: make(map[string]int)}
	opts.Limits.InFlight = 1 + r.rng.IntN(8)
	opts.Limits.Rooms, opts.Limits.Subscriptions = 3, 2
	r.still = stillLoop(t, opts)
	for i := range 4 {
		_, fd := r.open(fmt.Sprint("u", i))
		r.peers = append(r.peers, &randomPeer{fd: fd})
	}
	if r.rng.IntN(2) == 0 {
		store.hold = r.hold
		store.refuse = func(*presence.Op) *presence.Error {
			if r.rng.IntN(6) == 0 {
				return presence.Errorf(presence.CodeUnavailable, "not now")
			}
			return nil
		}
	}
	return r
}

// hold keeps one answer in three back, and is in doubt of some of those.
func (r *randomTalk) hold(op *presence.Op) bool {
	if r.rng.IntN(3) != 0 {
		return false
	}
	switch op.Kind {
	case presence.OpMembers, presence.OpCount, presence.OpPublish:
	default:
		if r.rng.IntN(2) == 0 {
			r.doubt = append(r.doubt, op)
		}
	}
	return true
}

func (r *randomTalk) run() {
	for range 300 {
		p := r.peers[r.rng.IntN(len(r.peers))]
		switch n := r.rng.IntN(100); {
		case n < 70:
			r.request(p)
		case n < 85:
			r.listen(p)
		case n < 90:
			r.answer()
		case n < 92:
			r.now = r.now.Add(2 * time.Second)
			r.second += 2
			r.expireWaits()
			r.timers()
		}
		if r.rng.IntN(3) > 0 {
			r.push(p, r.rng.IntN(len(p.pending)+1))
		}
		r.turn()
		if r.partial < 0 || r.queued < 0 {
			r.t.Fatalf("%d bytes half read, %d queued", r.partial, r.queued)
		}
	}
	r.store.hold = nil
	for range 200 {
		r.answer()
		for _, p := range r.peers {
			r.push(p, len(p.pending))
			r.turn()
			r.listen(p)
		}
	}
	for id := range r.sent {
		if n := r.acks[fmt.Sprint(id)]; n != 1 {
			r.t.Errorf("request %d was acknowledged %d times", id, n)
		}
	}
	r.hangUp()
}

// request writes one request, whole or in two fragments with a ping between.
func (r *randomTalk) request(p *randomPeer) {
	names := []string{
		"room:join", "room:join", "room:leave", "room:presence:join", "room:presence:update", "room:presence:leave",
		"room:presence:get", "room:presence:subscribe", "room:presence:unsubscribe", "room:presence:unsubscribe:all",
		"room:subscription:bind", "room:subscription:unbind", "publish", "room:presence:count",
	}
	msg := fmt.Sprintf(`{"type":"ds:client:%s","body":{"roomId":"r%d","event":"%s","data":"%0*d","userData":1},"ackId":"%d"}`,
		names[r.rng.IntN(len(names))], r.rng.IntN(3), []string{"join", "leave"}[r.rng.IntN(2)], 1+r.rng.IntN(300), 1, r.sent)
	r.sent++
	if r.rng.IntN(4) > 0 {
		p.pending = append(p.pending, masked(ws.OpText, msg)...)
		return
	}
	cut := r.rng.IntN(len(msg))
	first := ws.MaskFrame(ws.NewFrame(ws.OpText, false, []byte(msg[:cut])))
	p.pending = append(p.pending, ws.MustCompileFrame(first)...)
	p.pending = append(p.pending, masked(ws.OpPing, "x")...)
	p.pending = append(p.pending, masked(ws.OpContinuation, msg[cut:])...)
}

func (r *randomTalk) push(p *randomPeer, n int) {
	if n == 0 {
		return
	}
	if took, _ := unix.Write(p.fd, p.pending[:n]); took > 0 { // EAGAIN: it is not read just now
		p.pending = p.pending[took:]
	}
}

func (r *randomTalk) listen(p *randomPeer) {
	for _, m := range ackPattern.FindAllStringSubmatch(r.drain(p.fd), -1) {
		r.acks[m[1]]++
	}
}

// answer gives the answers that were held back, the doubts first.
func (r *randomTalk) answer() {
	r.store.mu.Lock()
	held := r.store.held
	r.store.held = nil
	r.store.mu.Unlock()
	for _, op := range r.doubt {
		err := op.Err
		op.Err, op.Unknown = presence.Errorf(presence.CodeUnavailable, "no answer"), true
		op.Done.OpDone(op)
		if r.rng.IntN(2) == 0 { // else the loop sees both at once
			r.turn()
		}
		op.Err, op.Unknown = err, false
	}
	r.doubt = nil
	for _, done := range held {
		done()
	}
}

func (r *randomTalk) hangUp() {
	for _, p := range r.peers {
		if err := unix.Shutdown(p.fd, unix.SHUT_RDWR); err != nil {
			r.t.Fatal(err)
		}
		r.turn()
	}
	r.second += 60
	r.timers()
	for range 50 {
		r.answer()
		r.turn()
	}
	if r.conns.used != 0 || r.partial != 0 || r.queued != 0 || r.subs != 0 || r.loop.rooms != 0 || r.members != 0 ||
		len(r.node.rooms) != 0 || r.waitingRooms.len() != 0 || r.wheel.size != 0 {
		r.t.Errorf("left: %d connections, %d bytes half read, %d queued, %d subscribers, %d and %d rooms, %d members, %d timers",
			r.conns.used, r.partial, r.queued, r.subs, r.loop.rooms, len(r.node.rooms), r.members, r.wheel.size)
	}
	for name, room := range r.store.rooms {
		if room.sink != nil || room.msgs != nil || len(room.members) != 0 {
			r.t.Errorf("room %s: still watched or with %d members", name, len(room.members))
		}
	}
	if len(r.store.sessions) != 0 {
		r.t.Errorf("%d sessions are left", len(r.store.sessions))
	}
}
