package node

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// reader is a loop with one open connection over a socket pair, without its
// goroutine: the test turns it by hand.
type reader struct {
	l    *loop
	c    *conn
	far  int
	node *Node
}

func newReader(t testing.TB) *reader {
	t.Helper()
	opts := testOptions(t, newMemStore())
	opts.Loops = 1
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{l: n.loops[0], far: pair[1], node: n}
	r.l.socket(pair[0])
	r.c = r.l.conns.at(0)
	key, kerr := opts.Keyring.Authenticate(testKey)
	if kerr != nil {
		t.Fatal(kerr)
	}
	r.c.key, r.c.client = key, "1"
	r.l.setState(r.c, stateOpen)
	t.Cleanup(func() {
		r.l.destroy(r.c, endLost)
		unix.Close(r.far)
		r.l.poll.close()
		n.adminLn.Close()
		unix.Close(n.listenFD)
	})
	return r
}

// turn has the loop read once and do what a turn does behind it.
func (r *reader) turn() {
	if r.c.state != stateFree {
		r.l.readable(r.c)
	}
	for range 4 {
		r.l.takeTasks()
		r.l.runAgain()
		r.l.startReady()
	}
	r.l.flushReplies()
}

// answers is everything that was sent so far.
func (r *reader) answers() []byte {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := unix.Read(r.far, buf)
		if n <= 0 || err != nil {
			return all
		}
		all = append(all, buf[:n]...)
	}
}

// FuzzSegments sends the same bytes in one piece and cut at a fuzzed place
// into pieces of a fuzzed size: the answers must be the same, whatever the
// bytes are. Only bytes that a client could have sent before the socket was
// closed count, so the comparison ends with the close frame.
func FuzzSegments(f *testing.F) {
	join := masked(ws.OpText, `{"type":"ds:client:room:create","body":{"roomId":"r"},"ackId":"1"}`)
	f.Add(join, uint8(1), uint8(0))
	f.Add(append(bytes.Clone(join), masked(ws.OpPing, "p")...), uint8(3), uint8(7))
	f.Add(append(bytes.Clone(join), masked(ws.OpClose, "\x03\xe8")...), uint8(200), uint8(2))
	frag := ws.MaskFrame(ws.NewFrame(ws.OpText, false, []byte(`{"type":"ds:client:ro`)))
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, frag); err != nil {
		f.Fatal(err)
	}
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(ws.OpContinuation, true, []byte(`om:create","body":{"roomId":"r"},"ackId":"2"}`)))); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes(), uint8(5), uint8(1))
	f.Add([]byte{0x81, 0xfe, 0, 5, 1, 2, 3, 4, 0, 0, 0, 0, 0}, uint8(2), uint8(1))
	f.Fuzz(func(t *testing.T, sent []byte, size, first uint8) {
		if len(sent) > 32<<10 {
			return
		}
		run := func(cut bool) string {
			r := newReader(t)
			rest := sent
			for len(rest) > 0 {
				n := len(rest)
				if cut {
					n = min(n, int(size)+1)
					if first > 0 {
						n = min(len(rest), int(first))
						first = 0
					}
				}
				if _, err := unix.Write(r.far, rest[:n]); err != nil {
					break // the socket was closed before it was all sent
				}
				rest = rest[n:]
				r.turn()
			}
			for range 1 + len(sent)/300 { // more frames than one turn takes
				r.turn()
			}
			// After our close frame only the time of the end depends on the cuts.
			return fmt.Sprintf("%q, open %v", r.answers(), r.c.state == stateOpen)
		}
		if whole, cut := run(false), run(true); whole != cut {
			t.Fatalf("% x\nwhole: %s\ncut:   %s", sent, whole, cut)
		}
	})
}
