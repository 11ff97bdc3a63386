package bench

import (
	"fmt"
	"strconv"
	"time"
)

// delivery compares what one subscriber costs when a room's message or
// presence event goes out to thousands, with the floor's bare loop of sends of
// frames of the same length; and shows what merging frames wins when several
// are under way.
func (h *harness) delivery() error {
	n, err := h.node()
	if err != nil {
		return err
	}
	defer n.Stop(patience)
	ours, err := h.connect(n, h.pair)
	if err != nil {
		return err
	}
	defer ours.close()
	const where = `"roomId":"bench"`
	for _, body := range []struct{ kind, rest string }{
		{"room:join", ""},
		{"room:subscription:bind", `,"event":"position"`},
		{"room:presence:join", `,"userData":` + position},
		{"room:presence:subscribe", `,"event":"update"`}, // last: the joins are not what is measured
	} {
		if err := ours.each(h.pair, func(int) []byte { return request(body.kind, where+body.rest) }); err != nil {
			return fmt.Errorf("%s: %w", body.kind, err)
		}
	}
	publish := request("publish", where+`,"event":"position","data":`+position)
	update := request("room:presence:update", where+`,"userData":`+position)
	if err := h.deliver(n, ours, "delivery of a message", publish, 1); err != nil {
		return err
	}
	if err := h.deliver(n, ours, "delivery of a presence update", update, 1); err != nil {
		return err
	}
	return h.deliver(n, ours, fmt.Sprintf("delivery, %d messages under way", h.presses), publish, h.presses)
}

// deliver measures one kind of event, with the given number under way.
func (h *harness) deliver(n *nodeProcess, ours *fleet, name string, frame []byte, under int) error {
	event, err := ours.ask(0, frame, func(p []byte) bool { return !isAnswer(p) })
	if err != nil {
		return err
	}
	if err := ours.idle(200 * time.Millisecond); err != nil {
		return err
	}
	t, err := startFloor(h.ctx, h.dir, h.Floor, "--fanout", "--reply", strconv.Itoa(len(event)))
	if err != nil {
		return err
	}
	defer t.Stop(patience)
	theirs, err := h.connectFloor(t, h.pair)
	if err != nil {
		return err
	}
	defer theirs.close()

	stop := h.profile(n, name)
	before, err := n.metrics()
	if err != nil {
		return err
	}
	any := func([]byte) bool { return true }
	a, b, err := h.interleave(
		func() (float64, error) {
			return ours.deliveryRound(frame, under, h.length, n.PID(), func(p []byte) bool { return !isAnswer(p) })
		},
		func() (float64, error) { return theirs.deliveryRound(frame, under, h.length, t.PID(), any) })
	if err != nil {
		return err
	}
	after, err := n.metrics()
	if err != nil {
		return err
	}
	row := Row{
		Case: name, Unit: "µs CPU a delivery", Ours: a, Floor: b, Aim: 1.2,
		Note: fmt.Sprintf("%d B to %d sockets; %s, floor 1", len(event), h.pair, framesPerSend(before, after)),
	}
	if under > 1 {
		row.Aim = 0 // merging is what makes the difference here, and the floor does not merge
	}
	h.add(row)
	return stop()
}

// deliveryRound publishes for the given time, each burst from other
// connections, the next one when everybody has all of the last, and returns
// the server's CPU time a delivery in µs.
func (f *fleet) deliveryRound(frame []byte, under int, length time.Duration, pid int, counts func([]byte) bool) (float64, error) {
	got, all, sender := 0, 0, 0
	f.onFrame = func(_ int, payload []byte) {
		if counts(payload) {
			got++
		}
	}
	burst := func() error {
		for range under {
			f.send(sender, frame)
			sender = (sender + 1) % len(f.conns)
		}
		all += under * len(f.conns)
		return f.until(func() bool { return got >= all })
	}
	if err := burst(); err != nil { // warm
		return 0, err
	}
	start := all
	used, err := spent(func() error {
		for end := time.Now().Add(length); time.Now().Before(end); {
			if err := burst(); err != nil {
				return err
			}
		}
		return nil
	}, pid)
	if err != nil {
		return 0, fmt.Errorf("after %d of %d deliveries: %w", got, all, err)
	}
	return micros(used[0], all-start), nil
}
