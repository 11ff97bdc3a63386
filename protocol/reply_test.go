package protocol

import (
	"encoding/json"
	"strings"
	"testing"

	"presencesets"
)

var (
	testAck     = []byte(`"1720865608450k3j9x0a2b"`)
	testConn, _ = presence.ParseConnID("0123456789abcdef0123")
)

// want compares JSON text and says where it begins to differ.
func want(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if string(got) != want {
		t.Errorf("%s\n got %s\nwant %s", what, got, want)
	}
	if !json.Valid(got) {
		t.Errorf("%s is no JSON: %s", what, got)
	}
}

func TestAcknowledgements(t *testing.T) {
	const head = `{"type":"ds:server:message:acknowledged","body":{"ackId":"1720865608450k3j9x0a2b","data":`
	want(t, "true", AppendAck(nil, testAck, []byte("true")), head+`true}}`)
	want(t, "no data", AppendAck(nil, testAck, nil), head+`null}}`)
	want(t, "behind other bytes", AppendAck([]byte(`[1,`), testAck, nil)[3:], head+`null}}`)
	want(t, "count", AppendAckRevision(nil, testAck, []byte("3"), 1720865608496123), head+`3,"revision":1720865608496123}}`)
	want(t, "empty room", AppendAckRevision(nil, testAck, []byte("[]"), 0), head+`[],"revision":0}}`)
	want(t, "name", AppendAckText(nil, testAck, "acme", ":", "myRoom", PresenceInfix, "join"), head+`"acme:myRoom:$:presence:join"}}`)
	want(t, "odd name", AppendAckText(nil, testAck, "acme:r", MessageInfix, "\"\\\n\x00é😀</script>\xff"),
		head+`"acme:r::\"\\\n\u0000é😀</script>`+"\uFFFD"+`"}}`)
	want(t, "nothing", AppendAckText(nil, testAck), head+`""}}`)
	want(t, "room", AppendAckRoom(nil, testAck, "appaaaaa", "myRoom"),
		head+`{"uuid":"6fd0db4d-d523-5b5c-8c7a-8f1736b8885f","nspRoomId":"appaaaaa:myRoom","roomName":null,"visibility":"public","memberType":"member"}}}`)
	want(t, "created", AppendAckCreated(nil, testAck, "appaaaaa", "myRoom"),
		head+`{"id":"myRoom","uuid":"6fd0db4d-d523-5b5c-8c7a-8f1736b8885f","visibility":"public"}}}`)
}

func TestErrorAcknowledgementsTellWhatCanBeDone(t *testing.T) {
	const head = `{"type":"ds:server:message:acknowledged","body":{"ackId":"1720865608450k3j9x0a2b","data":null,"err":`
	want(t, "forbidden", AppendAckError(nil, testAck, presence.Errorf(presence.CodeForbidden, `presence is not permitted in room "myRoom"`)),
		head+`{"name":"ForbiddenError","message":"presence is not permitted in room \"myRoom\"","status":403,"code":"forbidden","retry":false}}}`)
	want(t, "too large", AppendAckError(nil, testAck, presence.Errorf(presence.CodeTooLarge, "userData is too long").WithField("userData").WithLimit(16384)),
		head+`{"name":"PayloadTooLargeError","message":"userData is too long","status":413,"code":"too_large","retry":false,"field":"userData","limit":16384}}}`)
	limited := presence.Errorf(presence.CodeRateLimited, "slow down").WithLimit(30)
	limited.RetryAfterMs = 1200
	want(t, "rate", AppendAckError(nil, testAck, limited),
		head+`{"name":"RateLimitError","message":"slow down","status":429,"code":"rate_limited","retry":true,"limit":30,"retryAfterMs":1200}}}`)
	want(t, "HTTP", AppendHTTPError(nil, presence.Errorf(presence.CodeUnauthorized, "the API key is not known")),
		`{"name":"UnauthorizedError","message":"the API key is not known","statusCode":401}`)
}

func TestEveryErrorOfTheTableIsAnAcknowledgement(t *testing.T) {
	for _, row := range presence.ErrorTable() {
		var frame struct {
			Body struct {
				Data any
				Err  struct {
					Name, Message, Code string
					Status              int
					Retry               bool
				}
			}
		}
		ack := AppendAckError(nil, testAck, presence.Errorf(row.Code, "a \"message\""))
		if err := json.Unmarshal(ack, &frame); err != nil {
			t.Fatalf("%s: %v: %s", row.Code, err, ack)
		}
		got := frame.Body.Err
		if got.Name != row.Name || got.Status != row.Status || got.Code != string(row.Code) || got.Retry != row.Retry || got.Message != `a "message"` {
			t.Errorf("%s: %s", row.Code, ack)
		}
	}
}

func TestTheFirstFrame(t *testing.T) {
	want(t, "with a client", AppendConnected(nil, &Connected{App: "acme", Conn: testConn, Client: "123", Node: "n1", GraceMs: 10000}),
		`{"type":"ds:server:connection:acknowledged","body":{"uid":"123","clientId":"123","connectionId":"acme:0123456789abcdef0123","node":"n1","graceMs":10000,"features":[]}}`)
	want(t, "without one", AppendConnected(nil, &Connected{App: "acme", Conn: testConn, Node: "n1", GraceMs: 5000, Features: []string{"resume", "x"}}),
		`{"type":"ds:server:connection:acknowledged","body":{"uid":"acme:0123456789abcdef0123","connectionId":"acme:0123456789abcdef0123","node":"n1","graceMs":5000,"features":["resume","x"]}}`)
	want(t, "with an odd one", AppendConnected(nil, &Connected{App: "acme", Conn: testConn, Client: "Zoë \"Z\"", Node: "n1"}),
		`{"type":"ds:server:connection:acknowledged","body":{"uid":"Zoë \"Z\"","clientId":"Zoë \"Z\"","connectionId":"acme:0123456789abcdef0123","node":"n1","graceMs":0,"features":[]}}`)
}

func TestARoomsUUIDIsItsOwnAndNeverChanges(t *testing.T) {
	uuid := func(app, room string) string { return string(appendRoomUUID(nil, app, room)) }
	seen := map[string]string{}
	for _, nsp := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "b"}, {"a", strings.Repeat("x", 255)}, {"a", strings.Repeat("x", 400)}} {
		u := uuid(nsp[0], nsp[1])
		if u != uuid(nsp[0], nsp[1]) || seen[u] != "" || len(u) != 36 || u[14] != '5' {
			t.Errorf("%v has the UUID %s", nsp, u)
		}
		seen[u] = nsp[1]
	}
}

func TestAnsweringAllocatesNothing(t *testing.T) {
	dst := make([]byte, 0, 4096)
	data, client := []byte(`{"x":1}`), []byte(`"123"`)
	event := sampleEvent()
	members := []presence.Member{{Conn: testConn, Client: client, Data: data}, {Conn: testConn, Client: client}}
	fail := presence.Errorf(presence.CodeTooLarge, "größer").WithField("userData").WithLimit(5)
	connected := &Connected{App: "acme", Conn: testConn, Client: "Zoë", Node: "n1", Features: []string{"resume"}}
	message := &Message{ID: MessageID([16]byte{}), Event: []byte("café\n"), Data: data, Client: client, App: "acme", Conn: testConn, HasConn: true, TimestampMs: 1}
	payload := AppendMessage(nil, message)
	app, room := "acme", "myRoom"
	for what, appendTo := range map[string]func(){
		"AppendAck":         func() { AppendAck(dst, testAck, data) },
		"AppendAckRevision": func() { AppendAckRevision(dst, testAck, data, 7) },
		"AppendAckText": func() {
			AppendAckText(dst, testAck, app, ":", room, MessageInfix, "café 😀 with a long name \x01 and more of it")
		},
		"AppendAckRoom":    func() { AppendAckRoom(dst, testAck, app, room) },
		"AppendAckCreated": func() { AppendAckCreated(dst, testAck, app, room) },
		"AppendAckError":   func() { AppendAckError(dst, testAck, fail) },
		"AppendHTTPError":  func() { AppendHTTPError(dst, fail) },
		"AppendConnected":  func() { AppendConnected(dst, connected) },
		"AppendEvent":      func() { AppendEvent(dst, app, room, event) },
		"AppendMembers":    func() { AppendMembers(dst, app, members) },
		"AppendMessage":    func() { AppendMessage(dst, message) },
		"AppendMessageEvent": func() {
			_, name, _ := SplitMessage(payload)
			AppendMessageEvent(dst, app, room, name, false, payload)
		},
	} {
		if got := testing.AllocsPerRun(100, appendTo); got != 0 {
			t.Errorf("%s: %v allocations; want 0", what, got)
		}
	}
}
