package redisstore

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	presence "presencesets"
)

const (
	lineConn   = "8d01c1b2d3e4f5a6b7c8"
	lineMember = `{"rev":1795569466197666,"inc":1795569460002,"node":"n1.5","at":1795569466197,"client":"123","data":{"username":"Bob"}}`
)

func TestEventLineIsRead(t *testing.T) {
	conn, _ := presence.ParseConnID(lineConn)
	want := presence.Event{
		Kind: presence.KindJoin, Revision: 1795569466197666, Prev: 1795569466197665, Conn: conn,
		Time: 1795569466201, At: 1795569466197, Inc: 1795569460002,
		Client: []byte(`"123"`), Data: []byte(`{"username":"Bob"}`),
	}
	leave := want
	leave.Kind, leave.Revision, leave.Prev, leave.Reason = presence.KindLeave, 1795569466197667, 1795569466197666, presence.ReasonTimeout
	bare := want
	bare.Prev, bare.Data = 0, nil
	for line, want := range map[string]presence.Event{
		"join 1795569466197666 1795569466197665 " + lineConn + " 1795569466201 - " + lineMember:        want,
		"leave 1795569466197667 1795569466197666 " + lineConn + " 1795569466201 timeout " + lineMember: leave,
		"join 1795569466197666 0 " + lineConn + " 1795569466201 - " +
			`{"rev":1795569466197666,"inc":1795569460002,"node":"n1.5","at":1795569466197,"client":"123"}`: bare,
		"mark 1795569466197700 1795569466197666 - 1795569466300 - -": {
			Kind: presence.KindMark, Revision: 1795569466197700, Prev: 1795569466197666, Time: 1795569466300,
		},
	} {
		got, err := parseEvent([]byte(line))
		if err != nil {
			t.Errorf("parseEvent(%s): %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("parseEvent(%s) (-want +got):\n%s", line, diff)
		}
	}
}

func TestEventLineOfAnotherFormIsAnError(t *testing.T) {
	for _, line := range []string{
		"",
		"join",
		"join 5 4 " + lineConn + " 9 -",
		"hello 5 4 " + lineConn + " 9 - {}",
		"join 0 0 " + lineConn + " 9 - {}",
		"join 5 5 " + lineConn + " 9 - {}",
		"join -5 4 " + lineConn + " 9 - {}",
		"join 05 4 " + lineConn + " 9 - {}",
		"join 9007199254740993 4 " + lineConn + " 9 - {}",
		"join 5 4 - 9 - {}",
		"join 5 4 " + strings.ToUpper(lineConn) + " 9 - {}",
		"join 5 4 " + lineConn + " 9 - {}",
		"join 5 4 " + lineConn + " 9 - -",
		"join 5 4 " + lineConn + " now - " + lineMember,
		"join 5 4 " + lineConn + " 9 - " + lineMember,
		"leave 1795569466197667 4 " + lineConn + " 9 - " + lineMember,
		"leave 1795569466197667 4 " + lineConn + " 9 bored " + lineMember,
		"join 1795569466197666 4 " + lineConn + " 9 timeout " + lineMember,
		"mark 5 4 " + lineConn + " 9 - -",
		"mark 5 4 - 9 - {}",
		"mark 5 4 - 9 left -",
	} {
		if e, err := parseEvent([]byte(line)); err == nil {
			t.Errorf("parseEvent(%q) = %+v, want an error", line, e)
		}
	}
}

func TestMemberValueOfAnotherFormIsAnError(t *testing.T) {
	head := `{"rev":7,"inc":5,"node":"n1.5","at":9,"client":`
	for _, ok := range []string{
		head + `"a"}`,
		head + `"a","data":null}`,
		head + `"a\"},{","data":"}\\"}`,
		head + `"","data":[[],{"a":[1,2,{"}":"]"}]}]}`,
		head + `"a","data":-0.1234567890123456789e5}`,
		head + `"a","data":{ "a" : 1 }}`,
	} {
		if _, err := parseMember(presence.ConnID{}, []byte(ok)); err != nil {
			t.Errorf("parseMember(%s): %v", ok, err)
		}
	}
	for _, bad := range []string{
		"", "1", "{}", head, head + `"a"`, head + `"a"}}`, head + `"a"} `, head + `"a" }`,
		head + `a}`, head + `"a}`, head + `"a\"}`, head + "\"a\n\"}", head + "\"\xff\"}",
		head + `"a","data":}`, head + `"a","data":{}`, head + `"a","data":{"b":1}`, head + `"a","data":[}}`,
		head + `"a","data":]}`, head + `"a","data":1,2}`, head + `"a","data":"b""c"}`, head + `"a","data":{}{}}`,
		head + `"a","data":1 2}`, head + `"a","data":{"b` + `}`, head + "\"a\",\"data\":\"\xc3\"}",
		`{"rev":0,"inc":5,"node":"n1.5","at":9,"client":"a"}`,
		`{"rev":-1,"inc":5,"node":"n1.5","at":9,"client":"a"}`,
		`{"rev":1e3,"inc":5,"node":"n1.5","at":9,"client":"a"}`,
		`{"rev":,"inc":5,"node":"n1.5","at":9,"client":"a"}`,
		`{"rev":99999999999999999999,"inc":5,"node":"n1.5","at":9,"client":"a"}`,
		`{"inc":5,"rev":7,"node":"n1.5","at":9,"client":"a"}`,
		`{"rev":7,"inc":5,"node":n1.5,"at":9,"client":"a"}`,
		`{"rev":7,"inc":5,"node":"n1\u002e5","at":9,"client":"a"}`,
	} {
		if m, err := parseMember(presence.ConnID{}, []byte(bad)); err == nil {
			t.Errorf("parseMember(%q) = %+v, want an error", bad, m)
		}
	}
}

// formatMember is the value that scripts build.
func formatMember(m *presence.Member) string {
	s := fmt.Sprintf(`{"rev":%d,"inc":%d,"node":"%s","at":%d,"client":%s`, m.Revision, m.Inc, m.Node, m.At, m.Client)
	if m.Data != nil {
		s += `,"data":` + string(m.Data)
	}
	return s + "}"
}

func FuzzParseMember(f *testing.F) {
	f.Add([]byte(lineMember))
	f.Add([]byte(`{"rev":7,"inc":0,"node":"","at":9,"client":"\\","data":[["}"],{}]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := parseMember(presence.ConnID{}, value)
		if err != nil {
			return
		}
		if got := formatMember(&m); got != string(value) {
			t.Errorf("%q was read as %q", value, got)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte("join 1795569466197666 1795569466197665 " + lineConn + " 1795569466201 - " + lineMember))
	f.Add([]byte("leave 1795569466197667 1795569466197666 " + lineConn + " 1795569466201 node_lost " + lineMember))
	f.Add([]byte("mark 1795569466197700 1795569466197666 - 1795569466300 - -"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := parseEvent(line)
		if err != nil {
			return
		}
		conn, reason := e.Conn.String(), string(e.Reason)
		if e.Kind == presence.KindMark {
			conn = "-"
		}
		if reason == "" {
			reason = "-"
		}
		head := fmt.Sprintf("%s %d %d %s %d %s ", e.Kind, e.Revision, e.Prev, conn, e.Time, reason)
		if !strings.HasPrefix(string(line), head) {
			t.Errorf("%q was read as %q", line, head)
		}
	})
}

func BenchmarkParseEvent(b *testing.B) {
	line := []byte("join 1795569466197666 1795569466197665 " + lineConn + " 1795569466201 - " + lineMember)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseEvent(line); err != nil {
			b.Fatal(err)
		}
	}
}
