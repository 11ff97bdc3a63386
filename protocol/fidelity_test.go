package protocol

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"presencesets"
)

// fidelityData is data of every kind and with everything that a parser in
// between likes to mend. Each is compact already: it must arrive as it is.
var fidelityData = []string{
	`null`, `true`, `false`, `""`, `{}`, `[]`, `[[]]`, `[{}]`, `{"":{}}`, `[null]`,
	// Numbers keep their spelling.
	`0`, `-0`, `0.0`, `0.00`, `-0.00`, `1e0`, `1E+0`, `1e400`, `-1E-400`, `1.0`, `10.50`,
	`0.1234567890123456789`, `12345678901234567890`, `9007199254740993`, `123456789012345678901234567890.000000000000000000001`,
	`[1.10,1.1,1.100]`, `100000000000000000000000`, `1e-7`,
	// Strings keep their escapes, and what is not escaped stays so.
	`"\u0041"`, `"\/"`, `"/"`, `"\u002F"`, `"\u00e9"`, `"é"`, `"\u00E9"`, `"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"😀"`,
	`"\b\f\n\r\t\"\\"`, `"\u0008"`, `"\u0000"`, `"\u001f"`, `"\u007f"`, "\"\x7f\"", `"<script>&'"`, `"\u003cscript\u003e"`,
	"\"\u2028\u2029\"", `"\u2028"`, "\"\u202eright to left\u202c\"", `"مرحبا"`, `"שלום"`, `"日本語"`, "\"e\u0301\"", "\"\u00e9\"",
	"\"\ufeff\"", "\"\uffff\"", "\"\U0010ffff\"", `"\udbff\udfff"`, "\"\u00a0 \u3000\"", `"👩‍👩‍👧‍👦"`, `"\ufffd"`, "\"\ufffd\"",
	`"a b  c"`, `" "`, `"{ \"a\" : 1 }"`, `"\\"`, `"\\\\\""`, `"\\u0041"`, `"a\\"`,
	// Names, too, and their order.
	`{"b":1,"a":2,"10":3,"9":4}`, `{"\u0061":1,"b":2}`, `{"a b":" c d "}`, `{"":1," ":2}`, `{"__proto__":{"x":1},"constructor":1}`,
	`{"z":{"y":{"x":[1,[2,[3,[]]]]}}}`, `{"a":"","b":[],"c":{},"d":null,"e":false,"f":0}`,
	`[1,"2",3.00,true,null,{"four":[5]}]`,
	`{"roomId":"no","userData":"no","ackId":"no","type":"no"}`,
}

// decodeData sends data through a presence join and a publish.
func decodeData(t *testing.T, data string) (userData, published []byte) {
	t.Helper()
	var r Request
	d := NewDecoder(testLimits)
	if err := d.Decode([]byte(body("room:presence:join", `{"roomId":"r","userData":`+data+`}`)), &r); err != nil {
		t.Fatalf("presence join with data %s: %v", data, err)
	}
	userData = bytes.Clone(r.Data)
	if err := d.Decode([]byte(body("publish", `{"data":`+data+`,"roomId":"r","event":"e"}`)), &r); err != nil {
		t.Fatalf("publish with data %s: %v", data, err)
	}
	return userData, bytes.Clone(r.Data)
}

func TestDataArrivesByteForByte(t *testing.T) {
	for _, data := range fidelityData {
		userData, published := decodeData(t, data)
		if string(userData) != data || string(published) != data {
			t.Errorf("data %s came in as %s and %s", data, userData, published)
		}

		event := AppendEvent(nil, "acme", "r", &presence.Event{Kind: presence.KindJoin, Client: []byte(`"1"`), Data: userData})
		members := AppendMembers(nil, "acme", []presence.Member{{Client: []byte(`"1"`), Data: userData}})
		message := AppendMessage(nil, &Message{ID: MessageID([16]byte{}), Event: []byte("e"), Data: published, App: "acme"})
		_, name, _ := SplitMessage(message)
		frame := AppendMessageEvent(nil, "acme", "r", name, false, message)
		ack := AppendAckRevision(nil, []byte(`"a"`), members, 7)
		for what, out := range map[string][]byte{"event": event, "members": members, "message": message, "message event": frame, "acknowledgement": ack} {
			if !json.Valid(out) {
				t.Errorf("data %s: the %s is no JSON: %s", data, what, out)
			}
			field := `"data":` + data + `,`
			if strings.HasPrefix(what, "message") {
				field = `"body":` + data + `,`
			}
			if !bytes.Contains(out, []byte(field)) {
				t.Errorf("data %s is not in the %s as it is: %s", data, what, out)
			}
		}
	}
}

func TestOnlyWhiteSpaceBetweenTokensGoes(t *testing.T) {
	for _, test := range []struct{ sent, want string }{
		{"{ }", "{}"},
		{"[ ]", "[]"},
		{"[\t\r\n 1 ,\n2\t]", "[1,2]"},
		{`{ "a b" : " c " , "d" : [ 0.00 , "\u0041 \" x" ] }`, `{"a b":" c ","d":[0.00,"\u0041 \" x"]}`},
		{`[ "\\" , "\\\"" , " " ]`, `["\\","\\\""," "]`},
		{"{\"a\":1 \r\n}", `{"a":1}`},
		{"[ \"\u00a0\u2003\" ]", "[\"\u00a0\u2003\"]"}, // white space to people, not to JSON
	} {
		for _, sent := range []string{test.sent, " " + test.sent + "\n", test.sent + "\t"} {
			userData, published := decodeData(t, sent)
			if string(userData) != test.want || string(published) != test.want {
				t.Errorf("data %q came in as %s and %s; want %s", sent, userData, published, test.want)
			}
		}
	}
	// What was compact survives being indented and compacted.
	for _, data := range fidelityData {
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(data), "", "\t"); err != nil {
			t.Fatal(err)
		}
		if userData, _ := decodeData(t, indented.String()); string(userData) != data {
			t.Errorf("data %s, indented, came in as %s", data, userData)
		}
	}
}
