package faults

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// link is a connection to a server through its wire, whose PINGs are answered
// soon or not at all.
type link struct {
	net.Conn
	lines *bufio.Scanner
}

func dialWire(t *testing.T, d *deployment) link {
	t.Helper()
	c, err := net.Dial("tcp", d.wires[d.one].Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return link{c, bufio.NewScanner(c)}
}

func (l link) ping(t *testing.T, patience time.Duration) error {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	if !l.lines.Scan() || l.lines.Text() != "+PONG" {
		return errors.Join(l.lines.Err(), errors.New("no PONG: "+l.lines.Text()))
	}
	return nil
}

func TestACutIsThatOfOneProcess(t *testing.T) {
	d, err := deploy(t.Context(), single)
	t.Cleanup(func() {
		if err := d.remove(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command("sleep", "600")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = other.Process.Kill() // it has nothing to do
		_ = other.Wait()
	}()
	const soon, silence = 20 * time.Second, 50 * time.Millisecond
	before := dialWire(t, d)
	if err := d.cut([]int{other.Process.Pid}, d.servers...); err == nil {
		t.Error("a process without a link was cut off")
	}
	if err := before.ping(t, soon); err != nil {
		t.Errorf("while another process is cut off: %v", err)
	}
	if err := d.cut([]int{os.Getpid()}, d.servers...); err != nil {
		t.Fatal(err)
	}
	if err := before.ping(t, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a link that is cut: %v, want silence", err)
	}
	if err := dialWire(t, d).ping(t, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a link that is opened during the cut: %v, want silence", err)
	}
	d.release()
	after := dialWire(t, d)
	if err := after.ping(t, soon); err != nil {
		t.Errorf("after the cut: %v", err)
	}
	if err := d.reset(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := after.ping(t, soon); err == nil {
		t.Error("a link that was reset answered")
	}
}

func TestOnlyWhatAFailoverMayLoseIsExcused(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		hit      hit
		from, at time.Time
		want     int
	}{
		"no failover":             {hit{began: now}, now, now, 0},
		"a failover that is none": {hit{began: now, redis: true}, now, now, 0},
		"before another serves":   {hit{began: now, losesLast: true}, now, now.Add(time.Minute), 2},
		"just after":              {hit{began: now, losesLast: true, repaired: now}, now, now.Add(time.Minute), 2},
		"asked later":             {hit{began: now, losesLast: true, repaired: now}, now.Add(lossWindow), now.Add(time.Minute), 0},
	} {
		f, s := &field{hit: c.hit}, &seat{}
		f.changed(s, c.from, c.at)
		if s.flaps != c.want || !s.changed.Equal(c.at) {
			t.Errorf("%s: %d excused, changed %v, want %d, %v", name, s.flaps, s.changed, c.want, c.at)
		}
	}
}
