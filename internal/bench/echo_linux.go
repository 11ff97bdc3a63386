package bench

import (
	"fmt"
	"strconv"
	"time"
)

// echo compares the request that the loop answers by itself, without Redis,
// with the floor's echo of frames of the same lengths: the cost of a message
// in, strictly decoded, and an answer out.
func (h *harness) echo() error {
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
	frame := request("room:metrics:unsubscribe", `"roomId":"bench","event":"all"`)
	answer, err := ours.ask(0, frame, isAnswer)
	if err != nil {
		return err
	}
	t, err := startFloor(h.ctx, h.dir, h.Floor, "--reply", strconv.Itoa(len(answer)))
	if err != nil {
		return err
	}
	defer t.Stop(patience)
	theirs, err := h.connectFloor(t, h.pair)
	if err != nil {
		return err
	}
	defer theirs.close()

	stop := h.profile(n, "echo")
	before, err := n.metrics()
	if err != nil {
		return err
	}
	a, b, err := h.interleave(
		func() (float64, error) { return ours.echoRound(frame, h.length, n.PID()) },
		func() (float64, error) { return theirs.echoRound(frame, h.length, t.PID()) })
	if err != nil {
		return err
	}
	after, err := n.metrics()
	if err != nil {
		return err
	}
	h.add(Row{
		Case: "echo", Unit: "µs CPU a message", Ours: a, Floor: b, Aim: 1.25,
		Note: fmt.Sprintf("%d B in, %d B out, %d sockets, %d outstanding; %s",
			len(frame), len(answer), h.pair, outstanding, framesPerSend(before, after)),
	})
	return stop()
}

// echoRound keeps up to 64 requests under way, each on another connection, for
// the given time, and returns the server's CPU time a message in µs.
func (f *fleet) echoRound(frame []byte, length time.Duration, pid int) (float64, error) {
	under, done, next := 0, 0, 0
	f.onFrame = func(i int, _ []byte) {
		under--
		done++
		f.conns[i].wanted--
	}
	fill := func() {
		for under < min(outstanding, len(f.conns)) && f.failure == nil {
			for f.conns[next].wanted > 0 {
				next = (next + 1) % len(f.conns)
			}
			f.conns[next].wanted++
			under++
			f.send(next, frame)
			next = (next + 1) % len(f.conns)
		}
	}
	pump := func(length time.Duration) error {
		done = 0
		end := time.Now().Add(length)
		err := f.until(func() bool { fill(); return time.Now().After(end) })
		if err != nil {
			return err
		}
		return f.until(func() bool { return under == 0 })
	}
	if err := pump(length / 10); err != nil { // caches and the scheduler's guesses get warm
		return 0, err
	}
	used, err := spent(func() error { return pump(length) }, pid)
	if err != nil {
		return 0, err
	}
	return micros(used[0], done), nil
}

// framesPerSend says how many frames one system call of the node carried
// between two readings of its metrics.
func framesPerSend(before, after samples) string {
	const frames, sends = "presence_loop_sent_frames_total", "presence_loop_sends_total"
	if after[sends] == before[sends] {
		return "no send counted"
	}
	return fmt.Sprintf("%.2f frames a send", (after[frames]-before[frames])/(after[sends]-before[sends]))
}
