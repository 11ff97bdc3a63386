package protocol

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"presencesets"
)

// testLimits are the defaults of the settings.
var testLimits = Limits{Message: 65536, Data: 16384, Depth: 32, RoomName: 255, EventName: 255}

// decoded is a Request with text in place of bytes, for comparing.
type decoded struct {
	Type       Type
	AckID      string
	Room       string
	Event      string
	Data       string
	Limit      int
	Visibility string
	Password   bool
	Malformed  bool
}

func decode(t testing.TB, msg string) (decoded, *presence.Error) {
	t.Helper()
	var r Request
	err := NewDecoder(testLimits).Decode([]byte(msg), &r)
	return decoded{
		r.Type, string(r.AckID), string(r.Room), string(r.Event), string(r.Data), r.Limit,
		string(r.Visibility), r.Password, r.Malformed,
	}, err
}

func TestRequestsOfThePublicClientAreRead(t *testing.T) {
	for _, test := range []struct {
		msg  string
		want decoded
	}{
		{
			`{"type":"ds:client:room:presence:join",
		 "body":{"roomId":"myRoom","userData":{"username":"Bob"},"intiatedAt":"2024-07-13T10:13:28.450Z"},
		 "ackId":"1720865608450k3j9x0a2b","createdAt":"2024-07-13T10:13:28.450Z"}`,
			decoded{Type: TypePresenceJoin, AckID: `"1720865608450k3j9x0a2b"`, Room: "myRoom", Data: `{"username":"Bob"}`, Limit: -1},
		},
		{
			`{"type":"ds:client:room:presence:get","body":{"roomId":"myRoom","limit":50},"ackId":"a"}`,
			decoded{Type: TypePresenceGet, AckID: `"a"`, Room: "myRoom", Limit: 50},
		},
		{
			`{"type":"ds:client:room:subscription:bind","body":{"roomId":"r","event":"$:subscribe:all"},"ackId":"a"}`,
			decoded{Type: TypeBind, AckID: `"a"`, Room: "r", Event: EventAll, Limit: -1},
		},
		{
			`{"type":"ds:client:room:subscription:unbind","body":{"roomId":"r"},"ackId":"a"}`,
			decoded{Type: TypeUnbind, AckID: `"a"`, Room: "r", Limit: -1},
		},
		{
			`{"type":"ds:client:publish","body":{"roomId":"r","event":"message","data":[1, 2],"uuid":"u","opts":{"transient":true}},"ackId":"a"}`,
			decoded{Type: TypePublish, AckID: `"a"`, Room: "r", Event: "message", Data: `[1,2]`, Limit: -1},
		},
		{
			`{"type":"ds:client:room:create","body":{"roomId":"r","visibility":"public","password":"x"},"ackId":"a"}`,
			decoded{Type: TypeRoomCreate, AckID: `"a"`, Room: "r", Visibility: "public", Password: true, Limit: -1},
		},
		{
			`{"type":"ds:client:room:metrics:unsubscribe","body":{"roomId":"r","event":"all"},"ackId":"a"}`,
			decoded{Type: TypeMetricsUnsubscribe, AckID: `"a"`, Room: "r", Event: "all", Limit: -1},
		},
	} {
		got, err := decode(t, test.msg)
		if err != nil {
			t.Errorf("Decode(%s): %v", test.msg, err)
		}
		if got != test.want {
			t.Errorf("Decode(%s)\n got %+v\nwant %+v", test.msg, got, test.want)
		}
	}
}

// body wraps a request's body in an envelope with ackId "a".
func body(name, body string) string {
	return `{"type":"ds:client:` + name + `","body":` + body + `,"ackId":"a"}`
}

func TestEveryFieldIsCheckedAndNamed(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, test := range []struct {
		msg     string
		code    presence.Code
		field   string
		limit   int64
		message string // a part of it
	}{
		{body("room:join", `{}`), presence.CodeInvalid, "roomId", 0, "roomId is missing"},
		{body("room:join", `{"roomId":null}`), presence.CodeInvalid, "roomId", 0, "roomId is missing"},
		{body("room:join", `{"roomId":5}`), presence.CodeInvalid, "roomId", 0, "roomId is not a string"},
		{body("room:join", `{"roomId":["r"]}`), presence.CodeInvalid, "roomId", 0, "roomId is not a string"},
		{body("room:join", `{"roomId":""}`), presence.CodeInvalid, "roomId", 0, "roomId is empty"},
		{body("room:join", `{"roomId":"my room"}`), presence.CodeInvalid, "roomId", 0, "roomId holds ' '"},
		{body("room:join", `{"roomId":"caf\u00e9"}`), presence.CodeInvalid, "roomId", 0, "roomId holds 'é'"},
		{body("room:join", `{"roomId":"a/b"}`), presence.CodeInvalid, "roomId", 0, "roomId holds '/'"},
		{body("room:join", `{"roomId":"a{b}"}`), presence.CodeInvalid, "roomId", 0, "roomId holds '{'"},
		{body("room:join", `{"roomId":"a\u0000"}`), presence.CodeInvalid, "roomId", 0, `roomId holds '\x00'`},
		{body("room:join", `{"roomId":"`+long+`"}`), presence.CodeInvalid, "roomId", 255, "roomId is 256 bytes; the limit is 255"},
		{body("room:leave", `null`), presence.CodeInvalid, "roomId", 0, "roomId is missing"},
		{`{"type":"ds:client:room:leave","ackId":"a"}`, presence.CodeInvalid, "roomId", 0, "roomId is missing"},
		{body("room:leave", `[]`), presence.CodeInvalid, "body", 0, "body is not an object"},
		{body("room:leave", `"r"`), presence.CodeInvalid, "body", 0, "body is not an object"},
		{body("room:create", `{"roomId":"r","visibility":1}`), presence.CodeInvalid, "visibility", 0, "visibility is not a string"},
		{body("room:subscription:bind", `{"roomId":"r"}`), presence.CodeInvalid, "event", 0, "event is missing"},
		{body("room:subscription:bind", `{"roomId":"r","event":7}`), presence.CodeInvalid, "event", 0, "event is not a string"},
		{body("room:subscription:bind", `{"roomId":"r","event":""}`), presence.CodeInvalid, "event", 0, "event is empty"},
		{body("room:subscription:bind", `{"roomId":"r","event":"`+long+`"}`), presence.CodeInvalid, "event", 255, "event is 256 bytes; the limit is 255"},
		{body("room:subscription:bind", `{"roomId":"r","event":"$x"}`), presence.CodeInvalid, "event", 0, "reserved"},
		{body("room:subscription:bind", `{"roomId":"r","event":"\u0024x"}`), presence.CodeInvalid, "event", 0, "reserved"},
		{body("room:subscription:unbind", `{"roomId":"r","event":"$:presence:join"}`), presence.CodeInvalid, "event", 0, "reserved"},
		{body("publish", `{"roomId":"r","event":"$:subscribe:all","data":1}`), presence.CodeInvalid, "event", 0, "reserved"},
		{body("publish", `{"roomId":"r","data":1}`), presence.CodeInvalid, "event", 0, "event is missing"},
		{body("publish", `{"roomId":"r","event":"e"}`), presence.CodeInvalid, "data", 0, "data is missing"},
		{body("room:presence:subscribe", `{"roomId":"r"}`), presence.CodeInvalid, "event", 0, "event is missing"},
		{body("room:presence:subscribe", `{"roomId":"r","event":"joined"}`), presence.CodeInvalid, "event", 0, "none of join, update, leave"},
		{body("room:presence:unsubscribe", `{"roomId":"r","event":"all"}`), presence.CodeInvalid, "event", 0, "none of join, update, leave"},
		{body("room:metrics:unsubscribe", `{"roomId":"r"}`), presence.CodeInvalid, "event", 0, "event is missing"},
		{body("room:presence:get", `{"roomId":"r","limit":0}`), presence.CodeInvalid, "limit", 0, "positive integer"},
		{body("room:presence:get", `{"roomId":"r","limit":-1}`), presence.CodeInvalid, "limit", 0, "positive integer"},
		{body("room:presence:get", `{"roomId":"r","limit":1.5}`), presence.CodeInvalid, "limit", 0, "positive integer"},
		{body("room:presence:get", `{"roomId":"r","limit":"5"}`), presence.CodeInvalid, "limit", 0, "positive integer"},
		{body("room:presence:get", `{"roomId":"r","limit":true}`), presence.CodeInvalid, "limit", 0, "positive integer"},
		{
			body("room:presence:join", `{"roomId":"r","userData":"`+strings.Repeat("x", 16383)+`"}`),
			presence.CodeTooLarge, "userData", 16384, "userData is 16,385 bytes; the limit is 16,384",
		},
		{
			body("room:presence:leave", `{"roomId":"r","userData":"`+strings.Repeat("x", 17000)+`"}`),
			presence.CodeTooLarge, "userData", 16384, "userData is 17,002 bytes",
		},
		{
			body("publish", `{"roomId":"r","event":"e","data":"`+strings.Repeat("x", 65536)+`"}`),
			presence.CodeTooLarge, "", 65536, "the message is 65,620 bytes; the limit is 65,536",
		},
	} {
		got, err := decode(t, test.msg)
		if err == nil {
			t.Errorf("Decode(%.200s): no error; want one about %q", test.msg, test.field)
			continue
		}
		if err.Code != test.code || err.Field != test.field || err.Limit != test.limit || !strings.Contains(err.Message, test.message) {
			t.Errorf("Decode(%.200s): code %s, field %q, limit %d, message %q;\nwant %s, %q, %d, %q",
				test.msg, err.Code, err.Field, err.Limit, err.Message, test.code, test.field, test.limit, test.message)
		}
		if got.AckID != `"a"` || got.Malformed {
			t.Errorf("Decode(%.200s): ackId %s, malformed %t; want \"a\", false", test.msg, got.AckID, got.Malformed)
		}
	}
}

func TestWhatIsNotStrictJSONIsRefusedAndStillAnswered(t *testing.T) {
	for _, test := range []struct {
		what, msg, ackID, field, message string
	}{
		{"nothing", "", "", "", "the message is empty"},
		{"white space", " \n", "", "", "the message is empty"},
		{"no JSON", "hello", "", "", "not valid JSON"},
		{"no object", `["ds:client:publish"]`, "", "", "not a JSON object"},
		{"a string", `"ackId"`, "", "", "not a JSON object"},
		{"cut off", `{"ackId":"a","type":"ds:client:publish","body":{"roomId":"r`, `"a"`, "roomId", "unexpected EOF"},
		{"no type", `{"ackId":"a","body":{}}`, `"a"`, "type", "type is missing"},
		{"type null", `{"ackId":"a","type":null}`, `"a"`, "type", "type is not a string"},
		{"type a number", `{"ackId":"a","type":7}`, `"a"`, "type", "type is not a string"},
		{"trailing", body("room:leave", `{"roomId":"r"}`) + ` x`, `"a"`, "", "behind"},
		{"two messages", body("room:leave", `{"roomId":"r"}`) + body("room:leave", `{"roomId":"r"}`), `"a"`, "", "behind"},
		{"a brace too many", body("room:leave", `{"roomId":"r"}`) + `}`, `"a"`, "", "behind"},
		{"type twice", `{"type":"ds:client:publish","type":"ds:client:publish","ackId":"a"}`, `"a"`, "type", "duplicate"},
		{"roomId twice", body("room:leave", `{"roomId":"r","roomId":"s"}`), `"a"`, "roomId", "duplicate"},
		{"roomId twice, once escaped", body("room:leave", `{"roomId":"r","room\u0049d":"s"}`), `"a"`, "roomId", "duplicate"},
		{"a name twice in the data", body("room:presence:join", `{"roomId":"r","userData":{"x":{"a":1,"a":2}}}`), `"a"`, "userData", "duplicate"},
		{"an unknown name twice", `{"type":"t","zz":1,"zz":2,"ackId":"a"}`, `"a"`, "", "duplicate"},
		{"bad UTF-8 in the data", body("room:presence:join", "{\"roomId\":\"r\",\"userData\":\"\xff\"}"), `"a"`, "userData", "UTF-8"},
		{"overlong UTF-8", body("room:presence:join", "{\"roomId\":\"r\",\"userData\":\"\xc0\xaf\"}"), `"a"`, "userData", "UTF-8"},
		{"a surrogate in UTF-8", body("room:presence:join", "{\"roomId\":\"r\",\"userData\":\"\xed\xa0\x80\"}"), `"a"`, "userData", "UTF-8"},
		{"bad UTF-8 in the ackId", "{\"type\":\"t\",\"ackId\":\"\xff\"}", "", "ackId", "UTF-8"},
		{"bad UTF-8 in a name", "{\"\xff\":1,\"type\":\"t\",\"ackId\":\"a\"}", `"a"`, "", "UTF-8"},
		{"lone high surrogate", body("room:presence:join", `{"roomId":"r","userData":"\ud83d"}`), `"a"`, "userData", "surrogate"},
		{"lone low surrogate", body("room:presence:join", `{"roomId":"r","userData":"\ude00"}`), `"a"`, "userData", "surrogate"},
		{"surrogates the wrong way round", body("publish", `{"roomId":"r","event":"e","data":["\ude00\ud83d"]}`), `"a"`, "data", "surrogate"},
		{"lone surrogate in a name", body("room:presence:join", `{"roomId":"r","userData":{"\ud83d":1}}`), `"a"`, "userData", "surrogate"},
		{"unknown escape", body("room:presence:join", `{"roomId":"r","userData":"\x41"}`), `"a"`, "userData", "escape"},
		{"raw line break in a string", body("room:presence:join", "{\"roomId\":\"r\",\"userData\":\"a\nb\"}"), `"a"`, "userData", "character"},
		{"raw NUL", body("room:presence:join", "{\"roomId\":\"r\",\"userData\":\"\x00\"}"), `"a"`, "userData", "character"},
		{"leading zero", body("room:presence:join", `{"roomId":"r","userData":01}`), `"a"`, "", "not valid JSON"},
		{"plus sign", body("room:presence:join", `{"roomId":"r","userData":+1}`), `"a"`, "userData", "not valid JSON"},
		{"bare dot", body("room:presence:join", `{"roomId":"r","userData":1.}`), `"a"`, "userData", "not valid JSON"},
		{"NaN", body("room:presence:join", `{"roomId":"r","userData":NaN}`), `"a"`, "userData", "not valid JSON"},
		{"undefined", body("room:presence:join", `{"roomId":"r","userData":undefined}`), `"a"`, "userData", "not valid JSON"},
		{"capital literal", body("room:presence:join", `{"roomId":"r","userData":True}`), `"a"`, "userData", "not valid JSON"},
		{"trailing comma", body("room:presence:join", `{"roomId":"r","userData":[1,],"x":1}`), `"a"`, "", "not valid JSON"},
		{"single quotes", `{'type':'t',"ackId":"a"}`, `"a"`, "", "not valid JSON"},
		{"a comment", `{"type":"t", /* x */ "ackId":"a"}`, `"a"`, "", "not valid JSON"},
		{"a byte order mark", "\ufeff" + body("room:leave", `{"roomId":"r"}`), `"a"`, "", "not valid JSON"},
		{"form feed as white space", "{\f\"type\":\"t\",\"ackId\":\"a\"}", `"a"`, "", "not valid JSON"},
	} {
		got, err := decode(t, test.msg)
		if err == nil {
			t.Errorf("%s: Decode(%q) found no error", test.what, test.msg)
			continue
		}
		if err.Code != presence.CodeInvalid || !strings.Contains(err.Message, test.message) {
			t.Errorf("%s: Decode(%q): %v; want a ValidationError with %q", test.what, test.msg, err, test.message)
		}
		if test.field != "" && err.Field != test.field {
			t.Errorf("%s: Decode(%q): field %q, want %q", test.what, test.msg, err.Field, test.field)
		}
		if got.AckID != test.ackID || !got.Malformed {
			t.Errorf("%s: Decode(%q): ackId %s, malformed %t; want %s, true", test.what, test.msg, got.AckID, got.Malformed, test.ackID)
		}
		if got.Room+got.Event+got.Data != "" {
			t.Errorf("%s: Decode(%q) set fields of a message that is no JSON: %+v", test.what, test.msg, got)
		}
	}
}

func TestNestingIsBounded(t *testing.T) {
	nested := func(levels int) string { return strings.Repeat("[", levels) + strings.Repeat("]", levels) }
	// The message's object and its body are two of the 32 levels.
	if _, err := decode(t, body("room:presence:join", `{"roomId":"r","userData":`+nested(30)+`}`)); err != nil {
		t.Errorf("32 levels are refused: %v", err)
	}
	for _, test := range []struct{ msg, field string }{
		{body("room:presence:join", `{"roomId":"r","userData":`+nested(31)+`}`), "userData"},
		{body("room:presence:join", `{"roomId":"r","userData":`+nested(20000)+`}`), "userData"},
		{body("publish", `{"roomId":"r","event":"e","data":`+strings.Repeat(`{"a":`, 40)+"1"+strings.Repeat("}", 40)+`}`), "data"},
		{body("room:leave", `{"roomId":"r","opts":`+nested(40)+`}`), "body"},
		{`{"ackId":"a","type":"t","x":` + nested(40) + `}`, ""},
		{`{"ackId":"a","type":"t","x":` + strings.Repeat("[", 40), ""},
	} {
		got, err := decode(t, test.msg)
		if err == nil || err.Code != presence.CodeInvalid || err.Field != test.field || err.Limit != 32 {
			t.Errorf("Decode(%.100s…): %+v; want a ValidationError, field %q, limit 32", test.msg, err, test.field)
		}
		if got.AckID != `"a"` {
			t.Errorf("Decode(%.100s…): ackId %s, want \"a\"", test.msg, got.AckID)
		}
	}
	// Brackets in strings are no levels.
	if _, err := decode(t, body("room:presence:join", `{"roomId":"r","userData":"`+strings.Repeat(`[{\"`, 100)+`"}`)); err != nil {
		t.Errorf("brackets in a string are counted: %v", err)
	}
	// Nor are many objects beside each other.
	if _, err := decode(t, body("room:presence:join", `{"roomId":"r","userData":[`+strings.Repeat(`{},`, 100)+`{}]}`)); err != nil {
		t.Errorf("brackets beside each other are counted as levels: %v", err)
	}
}

func TestFieldsMayComeInAnyOrderAndUnknownOnesAreIgnored(t *testing.T) {
	want := decoded{Type: TypePresenceUpdate, AckID: `"a"`, Room: "r", Data: `{"x":1}`, Limit: -1}
	for _, msg := range []string{
		`{"ackId":"a","body":{"userData":{"x":1},"roomId":"r"},"type":"ds:client:room:presence:update"}`,
		`{"body":{"zz":[{"roomId":"no","userData":2}],"roomId":"r","data":3,"userData":{"x":1},"event":5,"limit":"x"},"zz":{"type":"no","ackId":"no"},"type":"ds:client:room:presence:update","ackId":"a"}`,
		" {\n\t\"ackId\" : \"a\" ,\r\n \"body\" : { \"userData\" : { \"x\" : 1 } , \"roomId\" : \"r\" } , \"type\" : \"ds:client:room:presence:update\" } \n",
		`{"\u0061ckId":"a","b\u006fdy":{"user\u0044ata":{"x":1},"roomI\u0064":"\u0072"},"t\u0079pe":"ds:client:room:presence:updat\u0065"}`,
	} {
		if got, err := decode(t, msg); err != nil || got != want {
			t.Errorf("Decode(%s)\n got %+v, %v\nwant %+v", msg, got, err, want)
		}
	}
	// A name in another case is another name.
	if _, err := decode(t, body("room:leave", `{"roomid":"r"}`)); err == nil || err.Field != "roomId" {
		t.Errorf("roomid was taken for roomId: %v", err)
	}
}

func TestNullIsAbsentButForData(t *testing.T) {
	for _, test := range []struct {
		msg  string
		want decoded
	}{
		{
			body("room:presence:join", `{"roomId":"r","userData":null}`),
			decoded{Type: TypePresenceJoin, AckID: `"a"`, Room: "r", Data: "null", Limit: -1},
		},
		{
			body("publish", `{"roomId":"r","event":"e","data":null}`),
			decoded{Type: TypePublish, AckID: `"a"`, Room: "r", Event: "e", Data: "null", Limit: -1},
		},
		{
			body("room:presence:get", `{"roomId":"r","limit":null}`),
			decoded{Type: TypePresenceGet, AckID: `"a"`, Room: "r", Limit: -1},
		},
		{
			body("room:subscription:unbind", `{"roomId":"r","event":null}`),
			decoded{Type: TypeUnbind, AckID: `"a"`, Room: "r", Limit: -1},
		},
		{
			body("room:create", `{"roomId":"r","visibility":null,"password":null,"accessToken":null}`),
			decoded{Type: TypeRoomCreate, AckID: `"a"`, Room: "r", Limit: -1},
		},
		{
			body("room:join", `{"roomId":"r","password":null,"accessToken":"x"}`),
			decoded{Type: TypeRoomJoin, AckID: `"a"`, Room: "r", Password: true, Limit: -1},
		},
		{
			`{"type":"ds:client:room:leave","body":{"roomId":"r"},"ackId":null}`,
			decoded{Type: TypeRoomLeave, Room: "r", Limit: -1},
		},
	} {
		if got, err := decode(t, test.msg); err != nil || got != test.want {
			t.Errorf("Decode(%s)\n got %+v, %v\nwant %+v", test.msg, got, err, test.want)
		}
	}
	var r Request
	if err := NewDecoder(testLimits).Decode([]byte(body("room:presence:join", `{"roomId":"r"}`)), &r); err != nil || r.Data != nil {
		t.Errorf("absent userData became %q, %v; want nil", r.Data, err)
	}
}

func TestAnAckIDIsEchoedAsItCame(t *testing.T) {
	for _, test := range []struct{ ackID, want string }{
		{`"1720865608450k3j9x0a2b"`, `"1720865608450k3j9x0a2b"`},
		{`""`, `""`},
		{`"\u0041\/\"\\"`, `"\u0041\/\"\\"`},
		{`"😀"`, `"😀"`},
	} {
		msg := `{"type":"ds:client:room:leave","body":{"roomId":"r"},"ackId":` + test.ackID + `}`
		if got, err := decode(t, msg); err != nil || got.AckID != test.want {
			t.Errorf("Decode(%s): ackId %s, %v; want %s", msg, got.AckID, err, test.want)
		}
	}
	for _, ackID := range []string{`5`, `true`, `{}`, `["a"]`} {
		msg := `{"type":"ds:client:room:leave","body":{"roomId":"r"},"ackId":` + ackID + `}`
		got, err := decode(t, msg)
		if err == nil || err.Field != "ackId" || got.AckID != "" || got.Malformed {
			t.Errorf("Decode(%s): ackId %s, malformed %t, %v; want none, false, and an error about ackId", msg, got.AckID, got.Malformed, err)
		}
	}
}

func TestOutOfScopeRequestsNeedNoField(t *testing.T) {
	for _, test := range []struct {
		name string
		want Type
	}{
		{"room:history:get", TypeNotSupported},
		{"room:intellect:subscribe", TypeNotSupported},
		{"room:intellect:unsubscribe", TypeAcknowledgeOnly},
		{"room:intellect:unsubscribe:all", TypeAcknowledgeOnly},
		{"auth:user:unsubscribe", TypeAcknowledgeOnly},
		{"no:such:thing", TypeUnknown},
	} {
		for _, b := range []string{`{}`, `null`, `5`, `{"roomId":5,"subscriptionId":"x"}`} {
			got, err := decode(t, body(test.name, b))
			if want := (decoded{Type: test.want, AckID: `"a"`, Limit: -1}); err != nil || got != want {
				t.Errorf("Decode of %s with body %s: %+v, %v; want %+v", test.name, b, got, err, want)
			}
		}
	}
}

func TestALimitBeyondEveryIntegerIsNoLimit(t *testing.T) {
	got, err := decode(t, body("room:presence:get", `{"roomId":"r","limit":123456789012345678901234567890}`))
	if err != nil || got.Limit != math.MaxInt {
		t.Errorf("limit %d, %v; want %d", got.Limit, err, math.MaxInt)
	}
}

func TestEachLimitHoldsToTheByte(t *testing.T) {
	for _, msg := range []string{
		body("room:presence:join", `{"roomId":"`+strings.Repeat("r", 255)+`"}`),
		body("room:subscription:bind", `{"roomId":"r","event":"`+strings.Repeat("e", 255)+`"}`),
		body("room:presence:join", `{"roomId":"r","userData":"`+strings.Repeat("x", 16382)+`"}`),
		// White space between tokens does not count.
		body("room:presence:join", `{"roomId":"r","userData":[`+strings.Repeat(" ", 20000)+`1]}`),
		// Escapes count as they are written, in data; in names, what they say.
		body("room:subscription:bind", `{"roomId":"r","event":"`+strings.Repeat(`\u0065`, 255)+`"}`),
	} {
		if _, err := decode(t, msg); err != nil {
			t.Errorf("Decode(%.80s…): %v", msg, err)
		}
	}
	pad := strings.Repeat(" ", 65536-len(update250))
	if _, err := decode(t, update250+pad); err != nil {
		t.Errorf("a message of 65,536 bytes: %v", err)
	}
	if got, err := decode(t, update250+pad+" "); err == nil || err.Code != presence.CodeTooLarge || got.AckID != `"172086560845abc"` || got.Malformed {
		t.Errorf("a message of 65,537 bytes: %+v, %v; want a PayloadTooLargeError with the ackId", got, err)
	}
}

func TestDecodingAllocatesNothing(t *testing.T) {
	manyNames := `{"roomId":"r","userData":{`
	for i := range 60 { // beyond 64 names jsontext keeps a map of them
		manyNames += `"name` + strconv.Itoa(i) + `":` + strconv.Itoa(i) + `,`
	}
	manyNames += `"z":1}}`
	for what, msg := range map[string]string{
		"update":        update250,
		"spaced update": strings.ReplaceAll(update250, ",", " , "),
		"escapes":       body("publish", `{"roomId":"\u0072","event":"caf\u00e9","data":["\u0041"]}`),
		"get":           body("room:presence:get", `{"roomId":"r","limit":50}`),
		"create":        body("room:create", `{"roomId":"r","visibility":"public"}`),
		"unknown":       body("x:y", `{"roomId":"r"}`),
		"many names":    body("room:presence:join", manyNames),
		"deep":          body("room:presence:join", `{"roomId":"r","userData":`+strings.Repeat("[", 30)+strings.Repeat("]", 30)+`}`),
	} {
		d, r, msg := NewDecoder(testLimits), Request{}, []byte(msg)
		if got := testing.AllocsPerRun(100, func() {
			if err := d.Decode(msg, &r); err != nil {
				t.Fatal(err)
			}
		}); got != 0 {
			t.Errorf("%s: %v allocations a message; want 0", what, got)
		}
	}
}

func TestADecoderKeepsNothingOfTheLastMessage(t *testing.T) {
	d, r := NewDecoder(testLimits), Request{}
	if err := d.Decode([]byte(body("publish", `{"roomId":"\u0072oom","event":"\u0065vent","data":[ 1 ]}`)), &r); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode([]byte(`{"type":"ds:client:room:leave","body":{"roomId":"r"}}`), &r); err != nil {
		t.Fatal(err)
	}
	if r.AckID != nil || string(r.Room) != "r" || r.Event != nil || r.Data != nil {
		t.Errorf("left over from the message before: %+v", r)
	}
	if err := d.Decode([]byte(`{"type":`), &r); err == nil || r.Type != TypeUnknown || r.Room != nil {
		t.Errorf("left over after an error: %+v, %v", r, err)
	}
}
