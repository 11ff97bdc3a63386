package protocol

import (
	"testing"
	"time"

	"presencesets"
)

func TestPresenceEvents(t *testing.T) {
	e := presence.Event{
		Kind: presence.KindJoin, Revision: 7, Conn: testConn, Time: 1720865608496, At: 1720865608496,
		Client: []byte(`"123"`), Data: []byte(`{"username":"Bob"}`),
	}
	want(t, "join", AppendEvent(nil, "acme", "myRoom", &e),
		`{"type":"acme:myRoom:$:presence:join","body":{"event":"join","timestamp":"2024-07-13T10:13:28.496Z","id":"acme:0123456789abcdef0123","clientId":"123","connectionId":"acme:0123456789abcdef0123","data":{"username":"Bob"},"revision":7}}`)
	e.Kind, e.Data = presence.KindUpdate, nil
	want(t, "update without data", AppendEvent(nil, "acme", "myRoom", &e),
		`{"type":"acme:myRoom:$:presence:update","body":{"event":"update","timestamp":"2024-07-13T10:13:28.496Z","id":"acme:0123456789abcdef0123","clientId":"123","connectionId":"acme:0123456789abcdef0123","revision":7}}`)
	e.Kind, e.Data, e.Client = presence.KindUpdate, []byte(`null`), nil
	want(t, "data null, client unknown", AppendEvent(nil, "acme", "myRoom", &e),
		`{"type":"acme:myRoom:$:presence:update","body":{"event":"update","timestamp":"2024-07-13T10:13:28.496Z","id":"acme:0123456789abcdef0123","connectionId":"acme:0123456789abcdef0123","data":null,"revision":7}}`)
	e.Kind, e.Data, e.Client = presence.KindLeave, nil, []byte(`"1"`)
	for _, reason := range presence.Reasons() {
		e.Reason = reason
		want(t, "leave", AppendEvent(nil, "acme", "myRoom", &e),
			`{"type":"acme:myRoom:$:presence:leave","body":{"event":"leave","timestamp":"2024-07-13T10:13:28.496Z","id":"acme:0123456789abcdef0123","clientId":"1","connectionId":"acme:0123456789abcdef0123","revision":7,"reason":"`+string(reason)+`"}}`)
	}
}

func TestMembersAreListedInTheOrderGiven(t *testing.T) {
	want(t, "nobody", AppendMembers(nil, "acme", nil), `[]`)
	other, _ := presence.ParseConnID("ffffffffffffffffffff")
	want(t, "two", AppendMembers(nil, "acme", []presence.Member{
		{Conn: testConn, Revision: 9, At: 1720865608496, Client: []byte(`"123"`), Data: []byte(`[0.00]`)},
		{Conn: other, Revision: 7, At: 0, Client: []byte(`"Zoë"`)},
	}), `[{"id":"acme:0123456789abcdef0123","clientId":"123","connectionId":"acme:0123456789abcdef0123","event":"join","timestamp":"2024-07-13T10:13:28.496Z","data":[0.00],"revision":9},`+
		`{"id":"acme:ffffffffffffffffffff","clientId":"Zoë","connectionId":"acme:ffffffffffffffffffff","event":"join","timestamp":"1970-01-01T00:00:00.000Z","revision":7}]`)
}

func TestTimesAreThoseOfTheStandardLibrary(t *testing.T) {
	const day = 24 * 60 * 60 * 1000
	times := []int64{0, 1, 999, 1000, 59_999, 60_000, 3_599_999, 3_600_000, day - 1, -1, -day, 253402300799999, 253402300800000, 1720865608496}
	for ms := int64(0); ms < 253402300800000; ms += 7*day + 86_399_123 { // about every eighth day up to the year 9999
		times = append(times, ms)
	}
	for _, ms := range times {
		got := string(appendTime(nil, ms))
		if want := time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Fatalf("%d ms: %s, want %s", ms, got, want)
		}
	}
}
