package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	presence "presencesets"
	"presencesets/auth"
	"presencesets/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testKey = "acme.web1:secretsecretsecretsecret0"

// testOptions are the defaults of a node with short names for what tests turn.
func testOptions(t testing.TB, store Store) Options {
	t.Helper()
	keys, err := auth.NewKeyring([]string{testKey, "other.web1:secretsecretsecretsecret1"})
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		ClientAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0", NodeID: "n1", Loops: 2, MaxConnections: 10000, Heads: 4096,
		HandshakeTimeout: 10 * time.Second, PingInterval: 25 * time.Second, PingTimeout: 10 * time.Second,
		QueueBytes: 64 << 10, QueueAge: 10 * time.Second, Grace: 10 * time.Second, Origins: []string{"*"},
		Limits: Limits{
			Frame: 256 << 10, Message: 64 << 10, Data: 16 << 10, Reply: 4 << 20, Depth: 32, RoomName: 255,
			ClientID: 128, EventName: 255, Rooms: 100, Members: 50000, Subscriptions: 100, InFlight: 32,
		},
		Store: store, Keyring: keys, Metrics: metrics.New(metrics.BuildInfo{Version: "test", Go: "go"}),
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// startNode runs a node until the test ends.
func startNode(t testing.TB, opts Options) *Node {
	t.Helper()
	n, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return n
}

// peer is a websocket client that shows every byte.
type peer struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
	id   string // its connection id, "app:…"
	acks int
}

func dialRaw(t testing.TB, n *Node) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.ClientAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(3 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

func upgradeRequest(query string) string {
	return "GET /core?" + query + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// connect opens a websocket as the client of that id; "" for none.
func connect(t testing.TB, n *Node, client string) *peer {
	t.Helper()
	c := dialRaw(t, n)
	query := "apiKey=" + testKey
	if client != "" {
		query += "&clientId=" + client
	}
	if _, err := io.WriteString(c, upgradeRequest(query)); err != nil {
		t.Fatal(err)
	}
	return accepted(t, c)
}

// accepted reads the 101 and the first frame.
func accepted(t testing.TB, c net.Conn) *peer {
	t.Helper()
	p := &peer{t: t, conn: c, r: bufio.NewReaderSize(c, 1<<20)}
	res, err := http.ReadResponse(p.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		t.Fatalf("upgrade: got %s %s, want 101", res.Status, body)
	}
	var first struct {
		Type string
		Body struct{ ConnectionID string }
	}
	if err := json.Unmarshal([]byte(p.read()), &first); err != nil {
		t.Fatal(err)
	}
	if first.Type != "ds:server:connection:acknowledged" {
		t.Fatalf("first frame: got type %q", first.Type)
	}
	p.id = first.Body.ConnectionID
	return p
}

// frame reads one frame.
func (p *peer) frame() ws.Frame {
	p.t.Helper()
	f, err := readFrame(p.r)
	if err != nil {
		p.t.Fatalf("read a frame: %v", err)
	}
	return f
}

// readFrame reads one frame of the server, which is believed its length.
func readFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	payload := make([]byte, h.Length)
	_, err = io.ReadFull(r, payload)
	return ws.Frame{Header: h, Payload: payload}, err
}

// read reads one text frame; a ping before it goes unanswered.
func (p *peer) read() string {
	p.t.Helper()
	f := p.frame()
	for f.Header.OpCode == ws.OpPing {
		f = p.frame()
	}
	if f.Header.OpCode != ws.OpText {
		p.t.Fatalf("got a frame of kind %v with %q, want text", f.Header.OpCode, f.Payload)
	}
	return string(f.Payload)
}

// closed reads until the peer's close frame and returns its code.
func (p *peer) closed() ws.StatusCode {
	p.t.Helper()
	for {
		f := p.frame()
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return code
		}
	}
}

func masked(op ws.OpCode, payload string) []byte {
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) send(text string) { p.t.Helper(); p.write(masked(ws.OpText, text)) }

// request builds a request; body is its fields without braces.
func (p *peer) request(name, body string) string {
	p.acks++
	return fmt.Sprintf(`{"type":"ds:client:%s","body":{%s},"ackId":"a%d"}`, name, body, p.acks)
}

// ask sends a request and returns the next frame.
func (p *peer) ask(name, body string) string {
	p.t.Helper()
	p.send(p.request(name, body))
	return p.read()
}

// ok sends a request whose acknowledgement must come next, without an error.
func (p *peer) ok(name, body string) string {
	p.t.Helper()
	got := p.ask(name, body)
	if !strings.Contains(got, fmt.Sprintf(`"ackId":"a%d"`, p.acks)) || strings.Contains(got, `"err"`) {
		p.t.Fatalf("%s {%s}: got %s, want its acknowledgement", name, body, got)
	}
	return got
}

// fails sends a request that must be refused with that name.
func (p *peer) fails(name, body, errName string) string {
	p.t.Helper()
	got := p.ask(name, body)
	if !strings.Contains(got, fmt.Sprintf(`"ackId":"a%d"`, p.acks)) || !strings.Contains(got, `"name":"`+errName+`"`) {
		p.t.Fatalf("%s {%s}: got %s, want %s", name, body, got, errName)
	}
	return got
}

func TestConnIsAtMost128Bytes(t *testing.T) {
	if size := unsafe.Sizeof(conn{}); size > 128 {
		t.Errorf("conn has %d bytes; a node holds a million of them", size)
	}
}

func TestPresenceEventsReachEverySubscriberWithTheExactPayload(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	bob, eve := connect(t, n, "bob"), connect(t, n, "")
	for _, p := range []*peer{bob, eve} {
		if got, want := p.ok("room:join", `"roomId":"r"`), `"nspRoomId":"acme:r"`; !strings.Contains(got, want) {
			t.Errorf("room join: got %s, want %s in it", got, want)
		}
	}
	// The three that presence.subscribe(fn) sends at once.
	eve.write([]byte(string(masked(ws.OpText, eve.request("room:presence:subscribe", `"roomId":"r","event":"join"`))) +
		string(masked(ws.OpText, eve.request("room:presence:subscribe", `"roomId":"r","event":"update"`))) +
		string(masked(ws.OpText, eve.request("room:presence:subscribe", `"roomId":"r","event":"leave"`)))))
	for _, event := range []string{"join", "update", "leave"} {
		if got, want := eve.read(), `"data":"acme:r:$:presence:`+event+`"`; !strings.Contains(got, want) {
			t.Errorf("subscribe: got %s, want %s in it", got, want)
		}
	}
	bob.ok("room:presence:join", `"roomId":"r","userData":{"x": 0.00}`)
	bob.ok("room:presence:update", `"roomId":"r","userData":[]`)
	bob.ok("room:presence:leave", `"roomId":"r"`)
	for _, want := range []string{
		`"event":"join"`, `"event":"update"`, `"event":"leave"`,
	} {
		got := eve.read()
		if !strings.Contains(got, want) || !strings.Contains(got, `"id":"`+bob.id+`"`) || !strings.Contains(got, `"clientId":"bob"`) {
			t.Errorf("event: got %s, want %s of bob", got, want)
		}
		if want == `"event":"join"` && !strings.Contains(got, `"data":{"x":0.00}`) {
			t.Errorf("data changed on the way: %s", got)
		}
	}
}

func TestOwnEventComesAfterItsAcknowledgementEvenWhenTheAnswerIsLate(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "bob")
	p.ok("room:join", `"roomId":"r"`)
	p.ok("room:presence:subscribe", `"roomId":"r","event":"join"`)
	store.mu.Lock()
	store.hold = func(*presence.Op) bool { return true }
	store.mu.Unlock()
	if got := p.ask("room:presence:join", `"roomId":"r"`); !strings.Contains(got, `"ackId":"a3"`) {
		t.Fatalf("got %s first, want the acknowledgement", got)
	}
	if got := p.read(); !strings.Contains(got, `"event":"join"`) {
		t.Fatalf("got %s, want the event", got)
	}
	store.release()
	if got := p.ok("room:presence:count", `"roomId":"r"`); !strings.Contains(got, `"data":1`) {
		t.Errorf("count: got %s, and no second acknowledgement before it", got)
	}
}
