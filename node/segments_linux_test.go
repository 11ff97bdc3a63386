package node

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

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
			s := stillLoop(t, testOptions(t, newMemStore()))
			c, peer := s.open("1")
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
				if _, err := unix.Write(peer, rest[:n]); err != nil {
					break // the socket was closed before it was all sent
				}
				rest = rest[n:]
				s.turn()
			}
			for range 4 + len(sent)/300 { // more frames than one turn takes, and the store's answers
				s.turn()
			}
			// After our close frame only the time of the end depends on the cuts.
			return fmt.Sprintf("%q, open %v", s.drain(peer), c.state == stateOpen)
		}
		if whole, cut := run(false), run(true); whole != cut {
			t.Fatalf("% x\nwhole: %s\ncut:   %s", sent, whole, cut)
		}
	})
}
