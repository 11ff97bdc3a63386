package bench

import (
	"fmt"
	"time"
)

// handshake compares connecting, from accept to the first frame, with the
// floor's accept and upgrade. Ours holds the credentials' check and the
// session that is opened in Redis; Redis's own share is a row of its own.
func (h *harness) handshake() error {
	n, err := h.node()
	if err != nil {
		return err
	}
	defer n.Stop(patience)
	t, err := startFloor(h.ctx, h.dir, h.Floor)
	if err != nil {
		return err
	}
	defer t.Stop(patience)
	stop := h.profile(n, "handshake")
	var inRedis []float64
	round := func(connect func() (*fleet, error), pids ...int) (float64, error) {
		var f *fleet
		used, err := spent(func() (err error) { f, err = connect(); return err }, pids...)
		if err != nil {
			return 0, err
		}
		f.close()
		if len(used) > 1 {
			inRedis = append(inRedis, micros(used[1], h.dials))
		}
		return micros(used[0], h.dials), settle(h.ctx, pids[0]) // what the ends cost is not of this round
	}
	a, b, err := h.interleave(
		func() (float64, error) {
			return round(func() (*fleet, error) { return h.connect(n, h.dials) }, n.PID(), h.redis.PID())
		},
		func() (float64, error) {
			return round(func() (*fleet, error) { return h.connectFloor(t, h.dials) }, t.PID())
		})
	if err != nil {
		return err
	}
	h.add(Row{
		Case: "handshake", Unit: "µs CPU a connection", Ours: a, Floor: b,
		Note: fmt.Sprintf("%d connections a round, %d at a time; ours with its session in Redis", h.dials, outstanding),
	})
	h.add(Row{Case: "handshake, Redis's share", Unit: "µs CPU a connection", Ours: inRedis})
	return stop()
}

// memory measures what an idle connection without a room keeps resident.
func (h *harness) memory() error {
	n, err := h.node()
	if err != nil {
		return err
	}
	defer n.Stop(patience)
	start, err := h.baseline(n)
	if err != nil {
		return err
	}
	ours, err := h.connect(n, h.many)
	if err != nil {
		return err
	}
	defer ours.close()
	grown, err := h.growth(n, start)
	if err != nil {
		return err
	}

	t, err := startFloor(h.ctx, h.dir, h.Floor)
	if err != nil {
		return err
	}
	defer t.Stop(patience)
	floorStart, err := rss(t.PID())
	if err != nil {
		return err
	}
	ours.close() // this process has no descriptors for both
	theirs, err := h.connectFloor(t, h.many)
	if err != nil {
		return err
	}
	defer theirs.close()
	floorEnd, err := rss(t.PID())
	if err != nil {
		return err
	}
	h.add(Row{
		Case: "memory, idle", Unit: "B resident a connection", Aim: 400,
		Ours: []float64{grown.bytes},
		Note: fmt.Sprintf("%d connections; heap %.0f B; before a collection %.0f B; floor %.0f B; goroutines %.0f → %.0f",
			h.many, grown.heap, grown.atOnce, float64(floorEnd-floorStart)/float64(h.many), start.goroutines, grown.goroutines),
	})
	return nil
}

// footprint is what a node holds.
type footprint struct {
	bytes      float64 // resident, after a collection
	atOnce     float64 // resident, before it
	heap       float64 // live on the Go heap, after a collection
	goroutines float64
}

// baseline warms the node, so that code and tables that every node needs are
// resident, and reads its footprint with nobody connected.
func (h *harness) baseline(n *nodeProcess) (footprint, error) {
	warm, err := h.connect(n, min(200, h.many))
	if err != nil {
		return footprint{}, err
	}
	warm.close()
	if err := settle(h.ctx, n.PID()); err != nil {
		return footprint{}, err
	}
	return h.footprint(n)
}

// growth returns what the node gained since start, a connection.
func (h *harness) growth(n *nodeProcess, start footprint) (footprint, error) {
	if err := settle(h.ctx, n.PID()); err != nil {
		return footprint{}, err
	}
	end, err := h.footprint(n)
	if err != nil {
		return footprint{}, err
	}
	return footprint{
		bytes:      (end.bytes - start.bytes) / float64(h.many),
		atOnce:     (end.atOnce - start.atOnce) / float64(h.many),
		heap:       (end.heap - start.heap) / float64(h.many),
		goroutines: end.goroutines,
	}, nil
}

// footprint reads what is resident, collects the garbage, and waits until the
// runtime has given back what it is going to: it does that in the background,
// so the smallest of the readings over 3 s is taken.
func (h *harness) footprint(n *nodeProcess) (footprint, error) {
	atOnce, err := rss(n.PID())
	if err != nil {
		return footprint{}, err
	}
	if err := n.collect(); err != nil {
		return footprint{}, err
	}
	m, err := n.metrics()
	if err != nil {
		return footprint{}, err
	}
	least := atOnce
	for range 15 {
		select {
		case <-h.ctx.Done():
			return footprint{}, h.ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		now, err := rss(n.PID())
		if err != nil {
			return footprint{}, err
		}
		least = min(least, now)
	}
	return footprint{
		bytes: float64(least), atOnce: float64(atOnce),
		heap: m["go_memstats_heap_alloc_bytes"], goroutines: m["go_goroutines"],
	}, nil
}

// rooms measures the whole life of an application's connections: set up, in
// rooms of ten, each member and observer. Set-up and join are charged before
// anyone observes; an update with its ten deliveries after.
func (h *harness) rooms() error {
	n, err := h.node()
	if err != nil {
		return err
	}
	defer n.Stop(patience)
	start, err := h.baseline(n)
	if err != nil {
		return err
	}
	stop := h.profile(n, "rooms")
	f, node, inRedis, err := h.setUp(n)
	if err != nil {
		return err
	}
	defer f.close()
	for _, event := range []string{"join", "leave", "update"} {
		err := f.each(h.many, func(i int) []byte { return request("room:presence:subscribe", room(i)+`,"event":"`+event+`"`) })
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
	}
	grown, err := h.growth(n, start)
	if err != nil {
		return err
	}
	updates, err := spent(func() error {
		return f.each(h.many, func(i int) []byte { return request("room:presence:update", room(i)+`,"userData":`+position) })
	}, n.PID(), h.redis.PID())
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	h.add(Row{
		Case: "set-up + room join + presence join, node", Unit: "µs CPU a connection", Aim: 90, Ours: []float64{node.sum()},
		Note: fmt.Sprintf("%v; %d connections, rooms of 10, %d at a time", node, h.many, outstanding),
	})
	h.add(Row{
		Case: "set-up + room join + presence join, Redis", Unit: "µs CPU a connection", Aim: 15, Ours: []float64{inRedis.sum()},
		Note: inRedis.String(),
	})
	h.add(Row{
		Case: "memory, member and observer", Unit: "B resident a connection", Aim: 1024,
		Ours: []float64{grown.bytes},
		Note: fmt.Sprintf("rooms of 10; heap %.0f B; before a collection %.0f B; goroutines %.0f → %.0f", grown.heap, grown.atOnce, start.goroutines, grown.goroutines),
	})
	h.add(Row{Case: "update seen by 10, node", Unit: "µs CPU an update", Ours: []float64{micros(updates[0], h.many)}})
	h.add(Row{Case: "update seen by 10, Redis", Unit: "µs CPU an update", Ours: []float64{micros(updates[1], h.many)}})
	return stop()
}

// steps is what the three steps of a set-up cost.
type steps [3]float64

func (s steps) sum() float64 { return s[0] + s[1] + s[2] }

func (s steps) String() string {
	return fmt.Sprintf("connect %.1f, room join %.1f, presence join %.1f", s[0], s[1], s[2])
}

// setUp connects, joins rooms of ten and becomes a member, each step for all
// connections before the next, and returns what that cost, in µs a connection.
func (h *harness) setUp(n *nodeProcess) (f *fleet, node, inRedis steps, err error) {
	for i, step := range []func() error{
		func() (err error) { f, err = h.connect(n, h.many); return err },
		func() error {
			return f.each(h.many, func(i int) []byte { return request("room:join", room(i)) })
		},
		func() error { return f.each(h.many, join) },
	} {
		used, err := spent(step, n.PID(), h.redis.PID())
		if err != nil {
			if f != nil {
				f.close()
			}
			return nil, node, inRedis, fmt.Errorf("step %d of the set-up: %w", i+1, err)
		}
		node[i], inRedis[i] = micros(used[0], h.many), micros(used[1], h.many)
	}
	return f, node, inRedis, nil
}

// join is the presence join of connection i.
func join(i int) []byte { return request("room:presence:join", room(i)+`,"userData":`+position) }
