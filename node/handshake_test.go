package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	presence "presencesets"
)

// response sends raw and reads an HTTP answer.
func response(t testing.TB, n *Node, raw string) (*http.Response, string) {
	t.Helper()
	c := dialRaw(t, n)
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestRefusalsAreHTTPStatusesBeforeTheUpgrade(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	opts.Origins = []string{"https://good.example"}
	n := startNode(t, opts)
	key := "apiKey=" + testKey
	for _, tt := range []struct {
		name, raw string
		status    int
		want      string
	}{
		{"no credentials", upgradeRequest("clientId=1"), 401, "UnauthorizedError"},
		{"undefined counts as absent", upgradeRequest("apiKey=undefined"), 401, "UnauthorizedError"},
		{"malformed key", upgradeRequest("apiKey=nonsense"), 401, "UnauthorizedError"},
		{"unknown key", upgradeRequest("apiKey=acme.nobody:secretsecretsecretsecret0"), 401, "UnauthorizedError"},
		{"wrong secret", upgradeRequest("apiKey=acme.web1:secretsecretsecretsecretX"), 401, "UnauthorizedError"},
		{"connection id of no form", upgradeRequest(key + "&connectionId=acme:x"), 400, "ValidationError"},
		{"connection id of another app", upgradeRequest(key + "&connectionId=other:0123456789abcdef0123"), 403, "ForbiddenError"},
		{"client id too long", upgradeRequest(key + "&clientId=" + strings.Repeat("x", 129)), 400, "limit is 128"},
		{"wrong path", strings.Replace(upgradeRequest(key), "/core?", "/nowhere?", 1), 404, "NotFoundError"},
		{"origin", strings.Replace(upgradeRequest(key), "\r\n\r\n", "\r\nOrigin: https://bad.example\r\n\r\n", 1), 403, "origin"},
		{"old version", strings.Replace(upgradeRequest(key), "Version: 13", "Version: 8", 1), 426, ""},
		{"no key", strings.Replace(upgradeRequest(key), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1), 400, ""},
		{"head of 9 KiB", strings.Replace(upgradeRequest(key), "\r\n\r\n", "\r\nX: "+strings.Repeat("y", 9<<10)+"\r\n\r\n", 1), 431, "8192"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, body := response(t, n, tt.raw)
			if res.StatusCode != tt.status || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %s, want %d with %q", res.StatusCode, body, tt.status, tt.want)
			}
			if tt.want != "" && res.Header.Get("Content-Type") != "application/json" {
				t.Errorf("got content type %q, want JSON", res.Header.Get("Content-Type"))
			}
		})
	}
	if len(store.sessions) != 0 {
		t.Errorf("%d sessions were opened by refused sockets", len(store.sessions))
	}
}

func TestStoreThatRefusesASessionIs503WithRetryAfter(t *testing.T) {
	store := newMemStore()
	store.refuse = func(*presence.Op) *presence.Error { return presence.Errorf(presence.CodeUnavailable, "away") }
	n := startNode(t, testOptions(t, store))
	res, body := response(t, n, upgradeRequest("apiKey="+testKey))
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "UnavailableError") {
		t.Errorf("got %d %v %s, want 503 with Retry-After", res.StatusCode, res.Header, body)
	}
}

// conversation is a handshake and three frames, the second in two fragments
// with a ping between them.
func conversation() string {
	frag := func(op ws.OpCode, fin bool, s string) string {
		f := ws.MaskFrame(ws.NewFrame(op, fin, []byte(s)))
		var b strings.Builder
		if err := ws.WriteFrame(&b, f); err != nil {
			panic(err)
		}
		return b.String()
	}
	return upgradeRequest("apiKey="+testKey+"&clientId=1") +
		string(masked(ws.OpText, `{"type":"ds:client:room:join","body":{"roomId":"r"},"ackId":"1"}`)) +
		frag(ws.OpText, false, `{"type":"ds:client:room:presence:join","bo`) + string(masked(ws.OpPing, "p")) +
		frag(ws.OpContinuation, false, `dy":{"roomId":"r"},`) + frag(ws.OpContinuation, true, `"ackId":"2"}`) +
		string(masked(ws.OpText, `{"type":"ds:client:room:presence:count","body":{"roomId":"r"},"ackId":"3"}`))
}

func expectConversation(t *testing.T, c net.Conn) {
	t.Helper()
	p := accepted(t, c)
	var texts []string
	pongs := 0
	for len(texts) < 3 || pongs < 1 {
		f := p.frame()
		switch f.Header.OpCode {
		case ws.OpText:
			texts = append(texts, string(f.Payload))
		case ws.OpPong:
			pongs++
		}
	}
	for i, want := range []string{`"ackId":"1"`, `"ackId":"2"`, `"ackId":"3","data":1`} {
		if !strings.Contains(texts[i], want) {
			t.Errorf("answer %d: got %s, want %s in it", i, texts[i], want)
		}
	}
}

func TestHandshakeAndFramesInOneSegment(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	c := dialRaw(t, n)
	if _, err := io.WriteString(c, conversation()); err != nil {
		t.Fatal(err)
	}
	expectConversation(t, c)
}

func TestHandshakeAndFramesByteByByte(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	c := dialRaw(t, n)
	go func() {
		for _, b := range []byte(conversation()) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
		}
	}()
	expectConversation(t, c)
}

func TestPlainHTTPIsHandedToNetHTTP(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.Demo = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %s", r.Method, r.URL.Path, len(body), r.RemoteAddr)
	})
	n := startNode(t, opts)
	c := dialRaw(t, n)
	r := bufio.NewReader(c)
	read := func() string {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	// A body over several segments, then two pipelined requests on the same connection.
	body := strings.Repeat("x", 100_000)
	fmt.Fprintf(c, "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:10])
	if _, err := io.WriteString(c, body[10:]); err != nil {
		t.Fatal(err)
	}
	if got, want := read(), "POST /up 100000 "+c.LocalAddr().String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	fmt.Fprintf(c, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n")
	if got := read() + read(); !strings.Contains(got, "GET /a") || !strings.Contains(got, "GET /b") {
		t.Errorf("pipelined: got %q", got)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/core": 426, "/core/events": 501, "/state/rooms": 501, "/auth/token": 501} {
		res, body := response(t, n, "GET "+path+" HTTP/1.0\r\nHost: h\r\n\r\n")
		if res.StatusCode != want || !strings.HasPrefix(body, "{") {
			t.Errorf("%s: got %d %s, want %d and JSON", path, res.StatusCode, body, want)
		}
	}
	if res, _ := response(t, n, "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n"); res.StatusCode != 200 {
		t.Errorf("h2c upgrade: got %d, want it ignored", res.StatusCode)
	}
}

func TestSlowHeadIsEndedByItsDeadline(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.HandshakeTimeout = time.Second
	n := startNode(t, opts)
	c := dialRaw(t, n)
	if _, err := io.WriteString(c, "GET /core HTTP/1.1\r\nHost:"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a head that never ends was kept")
	}
}

func TestHangUpBeforeTheSessionIsOpenLeavesNoSession(t *testing.T) {
	store := newMemStore()
	store.hold = func(*presence.Op) bool { return true }
	n := startNode(t, testOptions(t, store))
	c := dialRaw(t, n)
	if _, err := io.WriteString(c, upgradeRequest("apiKey="+testKey+"&clientId=1")); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
	waitFor(t, func() bool { return n.open.Load() == 0 })
	store.release()
	waitFor(t, func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return len(store.departed) == 1 && len(store.sessions) == 0
	})
}

// waitFor polls a condition that another goroutine makes true; the test's own
// time limit is the bound.
func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal("the condition did not come true")
		}
		time.Sleep(time.Millisecond) // between two looks at what no event announces; it decides nothing
	}
}
