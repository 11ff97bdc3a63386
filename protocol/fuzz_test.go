package protocol

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"presencesets"
)

// FuzzRequest holds Decode against plain parsers: what it takes is strict JSON
// with fields as they should be, what it makes of the data is what
// encoding/json's Compact makes of it, and every answer to it is JSON.
func FuzzRequest(f *testing.F) {
	for _, want := range requests {
		f.Add([]byte(`{"type":"` + want.name + `","body":{"roomId":"r","event":"join","limit":5,"userData":{"a": 0.00},"data":[1]},"ackId":"a"}`))
	}
	for _, data := range fidelityData {
		f.Add([]byte(body("room:presence:join", `{"roomId":"r","userData": `+data+` }`)))
	}
	for _, msg := range []string{
		update250, ``, `{`, `{"ackId":"a"`, `{"type":"x,"body":{},"ackId":"a"}`, `[[[[`, `{"type":5}`,
		body("publish", "{ \"roomId\" : \"\\u0072\", \"event\":\"caf\\u00e9\",\n\"data\" : [ \"\\ud83d\" ] }"),
		`{"type":"t","x":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]],"ackId":"a"}`,
	} {
		f.Add([]byte(msg))
	}
	limits := Limits{Message: 4096, Data: 512, Depth: 32, RoomName: 255, EventName: 255}
	d := NewDecoder(limits) // one for all, as a loop has it
	f.Fuzz(func(t *testing.T, msg []byte) {
		before := bytes.Clone(msg)
		var r Request
		fail := d.Decode(msg, &r)
		if !bytes.Equal(msg, before) {
			t.Fatalf("Decode changed the message %q to %q", before, msg)
		}
		if r.AckID != nil {
			checkString(t, "ackId", r.AckID)
		}
		if fail != nil {
			checkRefusal(t, msg, &r, fail, limits)
			return
		}
		if !jsontext.Value(msg).IsValid() || depthOf(t, msg) > limits.Depth {
			t.Fatalf("Decode took %q", msg)
		}
		checkRequest(t, msg, &r)
		checkAnswers(t, &r)
	})
}

// checkRefusal: a reason must be given, and what is refused as no JSON must be none.
func checkRefusal(t *testing.T, msg []byte, r *Request, fail *presence.Error, limits Limits) {
	ack := r.AckID
	if ack == nil {
		ack = []byte(`""`)
	}
	if out := AppendAckError(nil, ack, fail); !json.Valid(out) {
		t.Fatalf("Decode(%q): the answer is no JSON: %s", msg, out)
	}
	switch {
	case fail.Code == presence.CodeTooLarge && (len(msg) > limits.Message || fail.Field == fieldUserData):
	case fail.Code != presence.CodeInvalid || fail.Message == "":
		t.Fatalf("Decode(%q): %+v", msg, fail)
	case fail.Limit == int64(limits.Depth) && r.Type == TypeUnknown:
		// No depth can be had of what is no JSON.
		if jsontext.Value(msg).IsValid() && depthOf(t, msg) <= limits.Depth {
			t.Fatalf("Decode(%q): %v", msg, fail)
		}
	case r.Malformed && jsontext.Value(msg).IsValid():
		var object map[string]json.RawMessage
		if json.Unmarshal(msg, &object) == nil && len(object["type"]) > 0 && object["type"][0] == '"' {
			t.Fatalf("Decode(%q) takes this for no JSON with a type: %v", msg, fail)
		}
	case !r.Malformed && fail.Field == "":
		t.Fatalf("Decode(%q): no field in %v", msg, fail)
	}
}

// checkRequest parses msg, which is valid, once more with encoding/json.
func checkRequest(t *testing.T, msg []byte, r *Request) {
	var object, fields map[string]json.RawMessage
	if err := json.Unmarshal(msg, &object); err != nil {
		t.Fatalf("Decode took %q: %v", msg, err)
	}
	if ack := object["ackId"]; string(ack) != string(r.AckID) && string(ack) != "null" {
		t.Fatalf("Decode(%q): ackId %s", msg, r.AckID)
	}
	switch r.Type {
	case TypeUnknown, TypeNotSupported, TypeAcknowledgeOnly:
		return
	}
	if err := json.Unmarshal(object["body"], &fields); err != nil {
		t.Fatalf("Decode took %q: %v", msg, err)
	}
	for field, got := range map[string][]byte{fieldRoom: r.Room, fieldEvent: r.Event} {
		var want string
		if err := json.Unmarshal(fields[field], &want); got != nil && (err != nil || want != string(got)) {
			t.Fatalf("Decode(%q): %s is %q, want %q, %v", msg, field, got, want, err)
		}
	}
	data := fields[fieldUserData]
	switch r.Type {
	case TypePublish:
		data = fields[fieldData]
	case TypePresenceJoin, TypePresenceUpdate, TypePresenceLeave:
	default:
		data = nil
	}
	var want bytes.Buffer
	if data != nil {
		if err := json.Compact(&want, data); err != nil {
			t.Fatal(err)
		}
	}
	if (data == nil) != (r.Data == nil) || want.String() != string(r.Data) {
		t.Fatalf("Decode(%q): data %q, want %q", msg, r.Data, want.String())
	}
}

// checkAnswers builds everything that can be answered to r.
func checkAnswers(t *testing.T, r *Request) {
	ack := r.AckID
	if ack == nil {
		ack = []byte(`""`)
	}
	client := AppendString(nil, r.Event)
	message := AppendMessage(nil, &Message{ID: MessageID([16]byte{}), Event: r.Event, Data: r.Data, Client: client, App: "acme", HasConn: true})
	id, name, ok := SplitMessage(message)
	if !ok || string(id) != MessageID([16]byte{}) {
		t.Fatalf("SplitMessage(%s): %s, %s, %t", message, id, name, ok)
	}
	checkString(t, "event", name)
	event := &presence.Event{Kind: presence.KindJoin, Client: client, Data: r.Data}
	for what, out := range map[string][]byte{
		"acknowledgement": AppendAckText(nil, ack, "acme:", string(r.Room), MessageInfix, string(r.Event)),
		"room":            AppendAckRoom(nil, ack, "acme", string(r.Room)),
		"message":         AppendAck(nil, ack, message),
		"message event":   AppendMessageEvent(nil, "acme", string(r.Room), name, false, message),
		"event":           AppendEvent(nil, "acme", string(r.Room), event),
		"members":         AppendAckRevision(nil, ack, AppendMembers(nil, "acme", []presence.Member{{Client: client, Data: r.Data}}), 1),
	} {
		if !jsontext.Value(out).IsValid() {
			t.Fatalf("the %s is no strict JSON: %q", what, out)
		}
	}
}

func checkString(t *testing.T, what string, text []byte) {
	if text[0] != '"' || !jsontext.Value(text).IsValid() {
		t.Fatalf("%s is no JSON string: %q", what, text)
	}
}

// depthOf counts the levels of valid JSON by its tokens.
func depthOf(t *testing.T, msg []byte) (depth int) {
	d := jsontext.NewDecoder(bytes.NewReader(msg))
	for {
		switch _, err := d.ReadToken(); err {
		case nil:
			depth = max(depth, d.StackDepth())
		case io.EOF:
			return depth
		default:
			t.Fatal(err)
		}
	}
}
