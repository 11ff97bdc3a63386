package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
)

// pair is a Redis and two nodes, with nothing between a client and its node.
type pair struct {
	redis  *redistest.Server
	keys   *redis.Client // to look at the state as an operator does
	n1, n2 *node
}

// unlimited lets a test ask as often as it likes.
var unlimited = []string{"PRESENCE_LIMITS_REQUESTS=0", "PRESENCE_LIMITS_OTHER_REQUESTS=0"}

// forgetful also makes nodes forget who was lost as soon as the grace is over.
var forgetful = append([]string{"PRESENCE_SESSIONS_RETENTION=0s"}, unlimited...)

func startPair(t *testing.T, env ...string) *pair { t.Helper(); return startPairOn(t, nil, env...) }

// startPairOn also passes arguments to the Redis.
func startPairOn(t *testing.T, redisArgs []string, env ...string) *pair {
	t.Helper()
	p := &pair{redis: redistest.Start(t, redisArgs...)}
	p.keys = p.redis.Client(t)
	p.n1 = startNode(t, "n1", p.redis.Addr(), env...)
	p.n2 = startNode(t, "n2", p.redis.Addr(), env...)
	return p
}

// peer is a websocket client that shows every text frame as it came. Unlike
// client it passes nothing over: what comes next must be what is expected.
type peer struct {
	t      testing.TB
	name   string
	conn   net.Conn
	id     string // connectionId, "localapp:…"
	first  string // the node's first frame
	frames chan string
	code   ws.StatusCode // of the node's close frame; read it when frames is closed
	acks   atomic.Int64
	pings  atomic.Int64 // that were answered
	mute   atomic.Bool  // answers no ping any more
}

func upgradeRequest(query string) string {
	return "GET /core?" + query + " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

func dial(t testing.TB, n *node) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", n.client, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func credentials(name string) string {
	query := "apiKey=" + url.QueryEscape(apiKey)
	if name != "" {
		query += "&clientId=" + url.QueryEscape(name)
	}
	return query
}

// enter opens a websocket; "" is a client without an id.
func enter(t testing.TB, n *node, name string) *peer {
	t.Helper()
	return enterWith(t, n, name, upgradeRequest(credentials(name)))
}

// enterWith opens a websocket with these very bytes.
func enterWith(t testing.TB, n *node, name, sent string) *peer {
	t.Helper()
	p := &peer{t: t, name: name, conn: dial(t, n), frames: make(chan string, 1<<16)}
	if _, err := io.WriteString(p.conn, sent); err != nil {
		t.Fatal(err)
	}
	p.begin()
	return p
}

// begin reads the 101 and the first frame, and then all that comes.
func (p *peer) begin() {
	p.t.Helper()
	r := bufio.NewReaderSize(p.conn, 64<<10)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		p.t.Fatalf("%s: upgrade: %v", p.name, err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(res.Body)
		p.t.Fatalf("%s: upgrade: %s %s", p.name, res.Status, body)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(p.frames)
		for {
			h, err := ws.ReadHeader(r)
			if err != nil {
				return
			}
			payload := make([]byte, h.Length) // of our own node
			if _, err := io.ReadFull(r, payload); err != nil {
				return
			}
			switch h.OpCode {
			case ws.OpText:
				p.frames <- string(payload)
			case ws.OpPing:
				if p.mute.Load() {
					continue
				}
				_, _ = p.conn.Write(masked(ws.OpPong, string(payload))) // an error: the socket ends, as the next read will tell
				p.pings.Add(1)
			case ws.OpClose:
				p.code, _ = ws.ParseCloseFrameData(payload)
				return
			}
		}
	}()
	p.t.Cleanup(func() { p.conn.Close(); <-done })
	p.first = p.read()
	var first struct {
		Body struct{ ConnectionID string }
	}
	if err := json.Unmarshal([]byte(p.first), &first); err != nil || first.Body.ConnectionID == "" {
		p.t.Fatalf("%s: the first frame is %s (%v)", p.name, p.first, err)
	}
	p.id = first.Body.ConnectionID
}

func masked(op ws.OpCode, payload string) []byte {
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// key is the part of the id that Redis knows.
func (p *peer) key() string { return p.id[strings.IndexByte(p.id, ':')+1:] }

// read returns the next text frame.
func (p *peer) read() string {
	p.t.Helper()
	select {
	case f, open := <-p.frames:
		if !open {
			p.t.Fatalf("%s: the socket ended, code %d", p.name, p.code)
		}
		return f
	case <-time.After(patience):
		p.t.Fatalf("%s: no frame within %v", p.name, patience)
	}
	return ""
}

// ended waits for the node's close frame, or the end of the socket (0).
func (p *peer) ended() ws.StatusCode {
	p.t.Helper()
	late := time.After(patience)
	for {
		select {
		case _, open := <-p.frames:
			if !open {
				return p.code
			}
		case <-late:
			p.t.Fatalf("%s: the socket is still open", p.name)
		}
	}
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.conn.Write(b); err != nil {
		p.t.Fatalf("%s: write: %v", p.name, err)
	}
}

func (p *peer) send(text string) { p.t.Helper(); p.write(masked(ws.OpText, text)) }

// request builds a request whose body has these fields (JSON without braces).
func (p *peer) request(kind, fields string) (text, ackID string) {
	ackID = fmt.Sprintf("%s%d", kind, p.acks.Add(1))
	return `{"type":"ds:client:` + kind + `","body":{` + fields + `},"ackId":"` + ackID + `"}`, ackID
}

// ask sends a request and returns the next frame.
func (p *peer) ask(kind, fields string) (got, ackID string) {
	p.t.Helper()
	text, ackID := p.request(kind, fields)
	p.send(text)
	return p.read(), ackID
}

// acked sends a request whose acknowledgement must come next, byte for byte,
// with this data.
func (p *peer) acked(kind, fields, data string) {
	p.t.Helper()
	got, ackID := p.ask(kind, fields)
	if want := ack(ackID, data); got != want {
		p.t.Errorf("%s: %s {%s}\n got %s\nwant %s", p.name, kind, fields, got, want)
	}
}

// refusal is an error acknowledgement.
type refusal struct {
	Name, Message, Code, Field string
	Status                     int
	Limit, RetryAfterMs        int64
	Retry                      bool
}

// refused sends a request that must be refused, and checks what belongs to the name.
func (p *peer) refused(kind, fields, name string, status int, code string) refusal {
	p.t.Helper()
	got, ackID := p.ask(kind, fields)
	return p.isRefusal(got, ackID, name, status, code)
}

func (p *peer) isRefusal(got, ackID, name string, status int, code string) refusal {
	p.t.Helper()
	r, err := refusalIn(got, ackID)
	if err != nil || r.Name != name || r.Status != status || r.Code != code || r.Message == "" ||
		r.Retry != (status == 503 || status == 429) {
		p.t.Errorf("%s: got %s (%v), want %s %d %s", p.name, got, err, name, status, code)
	}
	return r
}

func refusalIn(frame, ackID string) (r refusal, err error) {
	head := `{"type":"ds:server:message:acknowledged","body":{"ackId":"` + ackID + `","data":null,"err":`
	rest, ok := strings.CutPrefix(frame, head)
	if !ok {
		return r, errors.New("not an error acknowledgement of this request")
	}
	return r, json.Unmarshal([]byte(strings.TrimSuffix(rest, "}}")), &r)
}

func ack(ackID, data string) string {
	return `{"type":"ds:server:message:acknowledged","body":{"ackId":"` + ackID + `","data":` + data + `}}`
}

// enterRoom joins a room.
func (p *peer) enterRoom(room string) {
	p.t.Helper()
	got, ackID := p.ask("room:join", `"roomId":"`+room+`"`)
	if !strings.HasPrefix(got, `{"type":"ds:server:message:acknowledged","body":{"ackId":"`+ackID+`","data":{"uuid":"`) {
		p.t.Fatalf("%s: room join: %s", p.name, got)
	}
}

// watch joins a room and subscribes its three presence events in one write, as
// the public client does.
func (p *peer) watch(room string) {
	p.t.Helper()
	p.enterRoom(room)
	var all []byte
	var want []string
	for _, event := range []string{"join", "leave", "update"} {
		text, ackID := p.request("room:presence:subscribe", `"roomId":"`+room+`","event":"`+event+`"`)
		all = append(all, masked(ws.OpText, text)...)
		want = append(want, ack(ackID, `"localapp:`+room+`:$:presence:`+event+`"`))
	}
	p.write(all)
	for _, w := range want {
		if got := p.read(); got != w {
			p.t.Fatalf("%s: subscribe\n got %s\nwant %s", p.name, got, w)
		}
	}
}

// event is a presence event as it came.
type event struct {
	Type string
	Body struct {
		Event, Timestamp, ID, ClientID, ConnectionID, Reason string

		Data     json.RawMessage
		Revision int64
	}
}

// isEvent checks a presence event to the byte and returns its revision. tail
// is what comes behind the revision: a leave's reason.
func (p *peer) isEvent(got, room, kind string, of *peer, data, reason string) int64 {
	p.t.Helper()
	var e event
	if err := json.Unmarshal([]byte(got), &e); err != nil {
		p.t.Fatalf("%s: got %s: %v", p.name, got, err)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z", e.Body.Timestamp); err != nil || !strings.HasSuffix(e.Body.Timestamp, "Z") {
		p.t.Errorf("%s: timestamp %q: %v", p.name, e.Body.Timestamp, err)
	}
	client, err := json.Marshal(of.name)
	if err != nil {
		p.t.Fatal(err)
	}
	if data != "" {
		data = `,"data":` + data
	}
	if reason != "" {
		reason = `,"reason":"` + reason + `"`
	}
	want := fmt.Sprintf(`{"type":"localapp:%s:$:presence:%s","body":{"event":"%s","timestamp":"%s","id":"%s","clientId":%s,"connectionId":"%s"%s,"revision":%d%s}}`,
		room, kind, kind, e.Body.Timestamp, of.id, client, of.id, data, e.Body.Revision, reason)
	if got != want {
		p.t.Errorf("%s: %s\n got %s\nwant %s", p.name, kind, got, want)
	}
	return e.Body.Revision
}

// silent checks that the next frame is the answer to a question, and so that
// nothing came unasked before it.
func (p *peer) silent() {
	p.t.Helper()
	got, ackID := p.ask("room:create", `"roomId":"any"`)
	if !strings.Contains(got, `"ackId":"`+ackID+`"`) {
		p.t.Errorf("%s: got %s, want nothing before the answer", p.name, got)
	}
}

// bye closes the socket as disconnect() does and waits for the node's answer.
func (p *peer) bye() {
	p.t.Helper()
	p.write(masked(ws.OpClose, ""))
	p.ended()
}

// members returns the room's hash as it is in Redis, without the revision.
func (p *pair) members(t testing.TB, room string) map[string]string {
	t.Helper()
	h, err := p.keys.HGetAll(t.Context(), "presence:{localapp:"+room+"}:members").Result()
	if err != nil {
		t.Fatal(err)
	}
	delete(h, "#")
	return h
}

// eventually polls for what no frame tells.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(patience); !is(); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
