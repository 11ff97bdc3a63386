package node

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func TestFramesThatBreakTheRulesCloseTheSocketWithTheirCode(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	unmasked := func(f ws.Frame) []byte {
		var b bytes.Buffer
		if err := ws.WriteFrame(&b, f); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	frag := func(op ws.OpCode, fin bool, payload []byte) []byte {
		return unmasked(ws.MaskFrame(ws.NewFrame(op, fin, payload)))
	}
	rsv := frag(ws.OpText, true, []byte("x"))
	rsv[0] |= 0x40
	long := append([]byte{0x81, 0xfe, 0, 5, 1, 2, 3, 4}, 0, 0, 0, 0, 0) // 5 in a 16-bit length
	for _, tt := range []struct {
		name string
		send []byte
		want ws.StatusCode
	}{
		{"unmasked", unmasked(ws.NewTextFrame([]byte("{}"))), 1002},
		{"reserved bit", rsv, 1002},
		{"reserved op code", frag(3, true, nil), 1002},
		{"length not in its shortest form", long, 1002},
		{"fragmented ping", frag(ws.OpPing, false, nil), 1002},
		{"ping of 126 bytes", frag(ws.OpPing, true, make([]byte, 126)), 1002},
		{"continuation of nothing", frag(ws.OpContinuation, true, nil), 1002},
		{"text inside a fragmented message", append(frag(ws.OpText, false, []byte("a")), frag(ws.OpText, true, []byte("b"))...), 1002},
		{"binary", frag(ws.OpBinary, true, []byte{1}), 1003},
		{"bad UTF-8", frag(ws.OpText, true, []byte{'"', 0xff, '"'}), 1007},
		{"UTF-8 cut by a fragment stays whole, then is bad", append(frag(ws.OpText, false, []byte{0xe2, 0x82}), frag(ws.OpContinuation, true, []byte{'x'})...), 1007},
		{"declared length over the limit", []byte{0x81, 0xff, 0, 0, 0, 0, 0, 5, 0, 0, 1, 2, 3, 4}, 1009},
		{"fragments over the limit", bytes.Repeat(frag(ws.OpContinuation, false, make([]byte, 60_000)), 5), 1009},
		{"close of one byte", frag(ws.OpClose, true, []byte{3}), 1002},
		{"close code 1005", frag(ws.OpClose, true, []byte{3, 0xed}), 1002},
		{"close reason of bad UTF-8", frag(ws.OpClose, true, []byte{3, 0xe8, 0xff}), 1002},
		{"third message that is no JSON", bytes.Repeat(masked(ws.OpText, "nonsense"), 3), 1008},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := connect(t, n, "1")
			if strings.HasPrefix(tt.name, "fragments over") {
				p.write(frag(ws.OpText, false, []byte("x")))
			}
			p.write(tt.send)
			if got := p.closed(); got != tt.want {
				t.Errorf("closed with %d, want %d", got, tt.want)
			}
		})
	}
}

func TestCloseFrameIsAnswered(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	for payload, want := range map[string]struct {
		code   ws.StatusCode
		reason string
	}{
		"\x03\xe8":     {1000, "closed"},
		"\x03\xe9bye":  {1001, "closed"},
		"":             {1005, "closed"},
		"\x0f\xa0pull": {4000, "timeout"},
	} {
		p := connect(t, n, "1")
		p.write(masked(ws.OpClose, payload))
		if got := p.closed(); got != want.code && !(payload == "" && got == 0) {
			t.Errorf("close %q: answered with %d, want %d", payload, got, want.code)
		}
		waitFor(t, func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			for _, d := range store.departed {
				if strings.HasSuffix(p.id, d.Conn.String()) {
					if string(d.Reason) != want.reason {
						t.Errorf("close %q: departed as %s, want %s", payload, d.Reason, want.reason)
					}
					return true
				}
			}
			for _, d := range store.detached {
				if strings.HasSuffix(p.id, d.Conn.String()) {
					if string(d.Reason) != want.reason {
						t.Errorf("close %q: detached as %s, want %s", payload, d.Reason, want.reason)
					}
					return true
				}
			}
			return false
		})
	}
}

func TestFrameAtTheLimitIsReadAndOneAboveTheMessageLimitIsRefused(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	fill := strings.Repeat("x", 16<<10-2)
	p.ok("room:presence:join", `"roomId":"r","userData":"`+fill+`"`)
	p.fails("room:presence:join", `"roomId":"r","userData":"x`+fill+`"`, "PayloadTooLargeError")
	p.fails("publish", `"roomId":"r","event":"e","data":"`+strings.Repeat("x", 65<<10)+`"`, "PayloadTooLargeError")
	p.fails("publish", `"roomId":"r","event":"e","data":"`+strings.Repeat("x", 250<<10)+`"`, "PayloadTooLargeError")
	p.ok("room:presence:count", `"roomId":"r"`)
}

// FuzzHeader compares the header parser with gobwas's, which differs in one
// thing: it takes lengths that are not in their shortest form.
func FuzzHeader(f *testing.F) {
	f.Add([]byte{0x81, 0x85, 1, 2, 3, 4})
	f.Add([]byte{0x81, 0xfe, 0, 126, 1, 2, 3, 4})
	f.Add([]byte{0x81, 0xfe, 0, 5, 1, 2, 3, 4})
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4})
	f.Add([]byte{0x8a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, n, err := parseHeader(b)
		r := bytes.NewReader(b)
		want, werr := ws.ReadHeader(r)
		switch {
		case err == errLength:
			return
		case err == errShort:
			if werr == nil {
				t.Fatalf("% x: incomplete for us, %+v for ws.ReadHeader", b, want)
			}
			return
		case werr != nil:
			t.Fatalf("% x: got %+v, ws.ReadHeader fails with %v", b, got, werr)
		}
		if got != want || n != len(b)-r.Len() {
			t.Fatalf("% x: got %+v of %d bytes, want %+v of %d", b, got, n, want, len(b)-r.Len())
		}
	})
}
