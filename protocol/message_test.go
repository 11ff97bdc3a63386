package protocol

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestMessages(t *testing.T) {
	m := Message{
		ID: "0b8e0000-0000-4000-8000-000000000000", Event: []byte("message"), Data: []byte(`{"hello":"universe"}`),
		Client: []byte(`"123"`), App: "acme", Conn: testConn, HasConn: true, TimestampMs: 1720865608496,
	}
	const text = `{"id":"0b8e0000-0000-4000-8000-000000000000","event":"message","body":{"hello":"universe"},"sender":{"clientId":"123","connectionId":"acme:0123456789abcdef0123"},"timestamp":1720865608496}`
	payload := AppendMessage(nil, &m)
	want(t, "message", payload, text)

	id, name, ok := SplitMessage(payload)
	if string(id) != m.ID || string(name) != `"message"` || !ok {
		t.Errorf("SplitMessage: %s, %s, %t", id, name, ok)
	}
	want(t, "by name", AppendMessageEvent(nil, "acme", "myRoom", name, false, payload), `{"type":"acme:myRoom::message","body":`+text+`}`)
	want(t, "all", AppendMessageEvent(nil, "acme", "myRoom", name, true, payload), `{"type":"acme:myRoom::$:subscribe:all","body":`+text+`}`)

	m.Client, m.HasConn, m.Data = nil, false, []byte("null")
	want(t, "over HTTP", AppendMessage(nil, &m),
		`{"id":"0b8e0000-0000-4000-8000-000000000000","event":"message","body":null,"sender":{"clientId":null,"connectionId":null},"timestamp":1720865608496}`)
}

func TestAMessageIsSplitWhateverItsEventIsCalled(t *testing.T) {
	for _, event := range []string{"e", `"`, `\`, `\"`, `","body":`, "é😀\u2028", "\x00\n", strings.Repeat(`\"`, 127), " ", "::", "a:b"} {
		m := Message{ID: MessageID([16]byte{1, 2, 3}), Event: []byte(event), Data: []byte(`{"event":"no"}`), App: "acme"}
		payload := AppendMessage(nil, &m)
		id, name, ok := SplitMessage(payload)
		if !ok || string(id) != m.ID {
			t.Errorf("event %q: SplitMessage(%s): id %s, %t", event, payload, id, ok)
			continue
		}
		var frame struct {
			Type string
			Body struct{ Event string }
		}
		if err := json.Unmarshal(AppendMessageEvent(nil, "acme", "r", name, false, payload), &frame); err != nil {
			t.Errorf("event %q: %v", event, err)
		}
		if frame.Type != "acme:r::"+event || frame.Body.Event != event {
			t.Errorf("event %q arrives as type %q, event %q", event, frame.Type, frame.Body.Event)
		}
	}
}

func TestWhatIsNoMessageIsNotSplit(t *testing.T) {
	whole := string(AppendMessage(nil, &Message{ID: MessageID([16]byte{}), Event: []byte("event"), Data: []byte("1")}))
	body := strings.Index(whole, `,"body":`) + len(`,"body":`)
	for n := range body {
		if id, name, ok := SplitMessage([]byte(whole[:n])); ok {
			t.Errorf("SplitMessage(%s): %s, %s", whole[:n], id, name)
		}
	}
	for _, payload := range []string{`{}`, `[]`, `{"event":"e","id":"` + MessageID([16]byte{}) + `"}`, strings.Replace(whole, `"event":"`, `"event":x`, 1)} {
		if id, name, ok := SplitMessage([]byte(payload)); ok {
			t.Errorf("SplitMessage(%s): %s, %s", payload, id, name)
		}
	}
}

func TestAMessagesIDIsAUUIDOfVersion4(t *testing.T) {
	var random [16]byte
	for i := range random {
		random[i] = 0xff
	}
	if got := MessageID(random); got != "ffffffff-ffff-4fff-bfff-ffffffffffff" {
		t.Errorf("MessageID of sixteen 0xff: %s", got)
	}
	if got := MessageID([16]byte{}); got != "00000000-0000-4000-8000-000000000000" {
		t.Errorf("MessageID of zeros: %s", got)
	}
}
