package netfault

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire is a connection through a proxy, seen from both ends.
type wire struct{ near, far net.Conn }

func start(t *testing.T) (*Proxy, func() wire) {
	p, _, dial := begin(t)
	return p, dial
}

// begin is start for who accepts what comes by itself.
func begin(t *testing.T) (*Proxy, net.Listener, func() wire) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p, err := Listen(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, l, func() (w wire) {
		t.Helper()
		if w.near, err = net.Dial("tcp", p.Addr()); err != nil {
			t.Fatal(err)
		}
		if w.far, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		for _, c := range []net.Conn{w.near, w.far} {
			t.Cleanup(func() { c.Close() })
			if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		return w
	}
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("heard %q, %v, want %q", b, err, want)
	}
}

// deaf checks that nothing comes: the only way to see an absence is to wait.
func deaf(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ETIMEDOUT) && !isTimeout(err) {
		t.Fatalf("a held connection gave %d bytes, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestWhatIsHeldArrivesLater(t *testing.T) {
	p, dial := start(t)
	held, free := dial(), dial()
	say(t, held.near, "a")
	hear(t, held.far, "a")
	if n := p.Hold(func(near, _ string) bool { return near == held.near.LocalAddr().String() }); n != 1 {
		t.Fatalf("held %d, want 1", n)
	}
	say(t, held.near, "late")
	say(t, held.far, "back")
	deaf(t, held.far)
	say(t, free.near, "b")
	hear(t, free.far, "b")
	held.near.(*net.TCPConn).CloseWrite() // an end is held as well
	deaf(t, held.far)
	p.Release()
	hear(t, held.far, "late")
	hear(t, held.near, "back")
	if _, err := held.far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the near end closed: %v, want EOF", err)
	}
}

func TestABlackHoleTakesNewConnectionsToo(t *testing.T) {
	p, dial := start(t)
	w := dial()
	p.Hold(nil)
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, "x")
	deaf(t, c)
	if n := p.Reset(nil); n < 1 {
		t.Errorf("reset %d connections", n)
	}
	if _, err := w.near.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("near after Reset: %v, want a reset", err)
	}
	if _, err := w.far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("far after Reset: %v, want a reset", err)
	}
}

func TestACutTakesTheNewConnectionsThatMatch(t *testing.T) {
	p, l, dial := begin(t)
	w := dial()
	chosen := func(near, _ string) bool { return near != w.near.LocalAddr().String() }
	for range 2 { // a second cut must not forget who waits at the first
		if n := p.Cut(chosen); n != 0 {
			t.Fatalf("held %d, want none", n)
		}
	}
	say(t, w.near, "a")
	hear(t, w.far, "a")
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, "late")
	deaf(t, c)
	say(t, w.near, "b")
	hear(t, w.far, "b")
	p.Release()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	hear(t, far, "late")
}

func TestAResetIsPassedOn(t *testing.T) {
	_, dial := start(t)
	w := dial()
	say(t, w.near, "a")
	hear(t, w.far, "a")
	if err := errors.Join(w.near.(*net.TCPConn).SetLinger(0), w.near.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
}

func TestATargetThatIsGoneRefuses(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	p, err := Listen(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		return // refused at once
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a connection to nobody gave a byte")
	}
}
