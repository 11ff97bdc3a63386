package node

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestWheelEndsEveryDeadlineInItsSecond(t *testing.T) {
	const count = 1_000_000
	var (
		w     wheel
		conns table
		rng   = rand.New(rand.NewPCG(1, 2))
		want  = make([]uint32, count)
		fired = make([]uint32, count)
	)
	for range count {
		c := conns.take()
		c.state = stateOpen
		want[c.slot] = rng.Uint32N(3000) // several rounds of the wheel
		w.file(&conns, c, want[c.slot])
	}
	moved := make(map[uint32]bool)
	now := uint32(0)
	due := func(c *conn) {
		if !moved[c.slot] && c.slot%100 == 0 { // filed again, as most are
			moved[c.slot] = true
			want[c.slot] = now + 1 + rng.Uint32N(600)
			w.file(&conns, c, want[c.slot])
			return
		}
		fired[c.slot] = now
	}
	for ; now < 4000; now++ {
		for !w.turn(&conns, now, due) {
		}
		w.now = now + 1
	}
	if w.size != 0 {
		t.Errorf("%d entries are left", w.size)
	}
	for slot := range want {
		if fired[slot] != want[slot] {
			t.Fatalf("slot %d came up in second %d, want %d", slot, fired[slot], want[slot])
		}
	}
}

func TestWheelAfterAMonth(t *testing.T) {
	var w wheel
	var conns table
	w.now = 30 * 24 * 3600
	c := conns.take()
	c.state = stateOpen
	w.file(&conns, c, w.now+700)
	var at uint32
	for now := w.now; now <= 30*24*3600+701; now++ {
		w.turn(&conns, now, func(*conn) { at = now })
		w.now = now + 1
	}
	if at != 30*24*3600+700 {
		t.Errorf("came up in second %d, want %d", at, 30*24*3600+700)
	}
}

func TestWheelTakesOutOfTheMiddle(t *testing.T) {
	var w wheel
	var conns table
	var all []*conn
	for range 5 {
		c := conns.take()
		c.state = stateOpen
		w.file(&conns, c, 3)
		all = append(all, c)
	}
	for _, i := range []int{2, 4, 0} {
		w.take(&conns, all[i])
		w.take(&conns, all[i]) // twice does nothing
	}
	var got []uint32
	w.turn(&conns, 3, func(c *conn) { got = append(got, c.slot) })
	if len(got) != 2 || w.size != 0 {
		t.Errorf("slots %v came up and %d are left, want two and none", got, w.size)
	}
}

func TestSilentPeerIsPingedAndThenLost(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	opts.PingInterval, opts.PingTimeout = time.Second, time.Second
	n := startNode(t, opts)
	p, q := connect(t, n, "1"), connect(t, n, "2")
	if f := p.frame(); f.Header.OpCode != ws.OpPing {
		t.Fatalf("got a frame of kind %v, want a ping", f.Header.OpCode)
	}
	for range 3 { // q answers and stays
		for q.frame().Header.OpCode != ws.OpPing {
		}
		q.write(masked(ws.OpPong, ""))
	}
	waitFor(t, func() bool { return store.gone() == 1 })
	if _, err := p.r.ReadByte(); err == nil {
		t.Error("the silent peer's socket is still open")
	}
	q.ok("room:create", `"roomId":"r"`)
}
