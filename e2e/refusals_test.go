package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Bad input: each with its clear error, and a neighbour that notices nothing.

func TestBadRequestsAreRefusedAndBreakNothing(t *testing.T) {
	p := startPair(t, append(unlimited, "PRESENCE_LIMITS_ROOMS=3", "PRESENCE_LIMITS_MEMBERS=2", "PRESENCE_LIMITS_SUBSCRIPTIONS=2")...)
	c, neighbour, anon := enter(t, p.n1, "bob"), enter(t, p.n2, "eve"), enter(t, p.n1, "")
	neighbour.watch("r")
	check := func(got refusal, field string, limit int64, words string) {
		t.Helper()
		if got.Field != field || got.Limit != limit || !strings.Contains(got.Message, words) {
			t.Errorf("got %+v, want field %q, limit %d and %q in the message", got, field, limit, words)
		}
	}
	invalid := func(kind, fields, field string, limit int64, words string) {
		t.Helper()
		check(c.refused(kind, fields, "ValidationError", 400, "invalid"), field, limit, words)
	}
	// Order of things.
	check(c.refused("room:presence:join", `"roomId":"r"`, "NotInRoomError", 409, "not_in_room"), "roomId", 0, `"r"`)
	check(c.refused("room:presence:update", `"roomId":"r"`, "NotInRoomError", 409, "not_in_room"), "roomId", 0, `"r"`)
	check(c.refused("room:presence:subscribe", `"roomId":"r","event":"join"`, "NotInRoomError", 409, "not_in_room"), "roomId", 0, `"r"`)
	check(c.refused("room:subscription:bind", `"roomId":"r","event":"x"`, "NotInRoomError", 409, "not_in_room"), "roomId", 0, `"r"`)
	c.enterRoom("r")
	c.refused("room:presence:update", `"roomId":"r","userData":1`, "NotMemberError", 409, "not_member")
	anon.enterRoom("r")
	check(anon.refused("room:presence:join", `"roomId":"r"`, "NoClientIdError", 400, "no_client_id"), "clientId", 0, "clientId")
	check(anon.refused("room:presence:update", `"roomId":"r"`, "NoClientIdError", 400, "no_client_id"), "clientId", 0, "clientId")

	// Rooms.
	for _, room := range []string{"a/b", "a b", "ä", "a{b}", "a*", "#", "a\\u0000", "a\\n"} {
		invalid("room:join", `"roomId":"`+room+`"`, "roomId", 0, "roomId")
	}
	for _, fields := range []string{``, `"roomId":null`, `"roomId":""`, `"roomId":7`, `"roomId":["r"]`} {
		invalid("room:join", fields, "roomId", 0, "roomId")
	}
	invalid("room:join", `"roomId":"`+strings.Repeat("r", 256)+`"`, "roomId", 255, "256")
	c.enterRoom(strings.Repeat("r", 255))
	c.enterRoom(":.-_")
	check(c.refused("room:join", `"roomId":"fourth"`, "LimitError", 409, "limit"), "roomId", 3, "3")
	c.acked("room:leave", `"roomId":":.-_"`, `"localapp::.-_"`)
	c.enterRoom("fourth") // there is room again

	// Fields.
	invalid("room:presence:subscribe", `"roomId":"r","event":"enter"`, "event", 0, "join, update, leave")
	invalid("room:presence:subscribe", `"roomId":"r"`, "event", 0, "missing")
	invalid("room:subscription:bind", `"roomId":"r","event":"$mine"`, "event", 0, "reserved")
	invalid("room:subscription:bind", `"roomId":"r","event":"`+strings.Repeat("e", 256)+`"`, "event", 255, "256")
	invalid("publish", `"roomId":"r","event":"$:subscribe:all","data":1`, "event", 0, "reserved")
	invalid("publish", `"roomId":"r","event":"e"`, "data", 0, "missing")
	invalid("room:presence:get", `"roomId":"r","limit":0`, "limit", 0, "0")
	invalid("room:presence:get", `"roomId":"r","limit":-1`, "limit", 0, "positive")
	invalid("room:presence:get", `"roomId":"r","limit":"5"`, "limit", 0, "positive")
	check(c.refused("room:create", `"roomId":"r","visibility":"private"`, "NotSupportedError", 501, "not_supported"), "visibility", 0, "public")
	check(c.refused("room:create", `"roomId":"r","password":"x"`, "NotSupportedError", 501, "not_supported"), "visibility", 0, "password")

	// Sizes.
	big := strings.Repeat("x", 16<<10-1)
	for _, kind := range []string{"join", "update", "leave"} {
		check(c.refused("room:presence:"+kind, `"roomId":"r","userData":"`+big+`"`, "PayloadTooLargeError", 413, "too_large"), "userData", 16<<10, "16,385")
	}
	check(c.refused("publish", `"roomId":"r","event":"e","data":"`+strings.Repeat("x", 64<<10)+`"`, "PayloadTooLargeError", 413, "too_large"), "", 64<<10, "65,536")
	invalid("room:presence:join", `"roomId":"r","userData":`+strings.Repeat("[", 31)+strings.Repeat("]", 31), "userData", 32, "32")
	c.acked("room:subscription:bind", `"roomId":"r","event":"a"`, `"localapp:r::a"`)
	c.acked("room:subscription:bind", `"roomId":"r","event":"b"`, `"localapp:r::b"`)
	check(c.refused("room:subscription:bind", `"roomId":"r","event":"c"`, "LimitError", 409, "limit"), "event", 2, "2")
	// A full room, asked for on either node.
	c.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)
	second, third := enter(t, p.n2, "second"), enter(t, p.n1, "third")
	second.enterRoom("r")
	third.enterRoom("r")
	second.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)
	check(third.refused("room:presence:join", `"roomId":"r"`, "LimitError", 409, "limit"), "roomId", 2, "2")
	second.acked("room:presence:leave", `"roomId":"r"`, `"localapp:r:$:presence:leave"`)
	third.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)

	// JSON that is none, with an ackId that can be read and without.
	for text, field := range map[string]string{
		`{"ackId":"x","type":"ds:client:room:join","body":{"roomId":"r",}}`:             "body",
		`{"ackId":"x","type":"ds:client:room:join","body":{"roomId":"r"}}}`:             "",
		`{"ackId":"x","type":"ds:client:room:join","body":{"roomId":"r","roomId":"s"}}`: "roomId",
		`{"ackId":"x","type":"ds:client:publish","body":{"roomId":"\ud800"}}`:           "roomId",
		`{"ackId":"x","type":"ds:client:room:join","body":[]}`:                          "body",
		`{"ackId":"x","type":7}`: "type",
		`{"ackId":"x"}`:          "type",
		`{"ackId":"x","type":"ds:client:room:presence:join","body":{"userData":NaN}}`:               "userData",
		`{"ackId":"x","type":"ds:client:room:presence:join","body":{"userData":01}}`:                "body",
		`{"ackId":"x","type":"ds:client:room:presence:join","body":{"userData":'x'}}`:               "userData",
		`{"ackId":"x","type":"ds:client:room:presence:join","body":{"userData":"a` + "\x01" + `"}}`: "userData",
	} {
		c.send(text)
		if r := c.isRefusal(c.read(), "x", "ValidationError", 400, "invalid"); r.Field != field {
			t.Errorf("%s: field %q, want %q: %s", text, r.Field, field, r.Message)
		}
	}
	// Two that nobody can be told of are let pass; the third ends the socket.
	c.send("nonsense")
	c.send("[]")
	c.silent()
	c.send(`{"type":`)
	if code := c.ended(); code != ws.StatusPolicyViolation {
		t.Errorf("closed with %d, want 1008", code)
	}

	// The neighbour saw what happened in between, and nothing else.
	neighbour.isEvent(neighbour.read(), "r", "join", c, "", "")
	neighbour.isEvent(neighbour.read(), "r", "join", second, "", "")
	neighbour.isEvent(neighbour.read(), "r", "leave", second, "", "left")
	neighbour.isEvent(neighbour.read(), "r", "join", third, "", "")
	neighbour.isEvent(neighbour.read(), "r", "leave", c, "", "timeout")
	neighbour.silent()
}

func TestBrokenFramesEndTheirSocketAndItsMembershipOnly(t *testing.T) {
	p := startPair(t, unlimited...)
	neighbour := enter(t, p.n2, "eve")
	neighbour.watch("r")
	unmasked := append([]byte{0x81, 2}, "{}"...)
	for name, tt := range map[string]struct {
		send []byte
		code ws.StatusCode
	}{
		"unmasked":         {unmasked, 1002},
		"bad UTF-8":        {masked(ws.OpText, `{"type":"ds:client:publish","x":"`+"\xff"+`"}`), 1007},
		"binary":           {masked(ws.OpBinary, "{}"), 1003},
		"over the limit":   {append([]byte{0x81, 0xff, 0, 0, 0, 0, 0, 4, 0, 1}, 1, 2, 3, 4), 1009}, // 256 KiB + 1, declared
		"3 MB":             {masked(ws.OpText, strings.Repeat("x", 3<<20)), 1009},
		"compressed":       {[]byte{0xc1, 0x80, 1, 2, 3, 4}, 1002},
		"close code 1006":  {masked(ws.OpClose, "\x03\xee"), 1002},
		"not ours to send": {masked(7, ""), 1002},
	} {
		t.Run(name, func(t *testing.T) {
			c := enter(t, p.n1, "bob")
			c.enterRoom("r")
			c.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)
			neighbour.isEvent(neighbour.read(), "r", "join", c, "", "")
			if _, err := c.conn.Write(tt.send); err != nil && name != "3 MB" { // the node may be gone before it is all sent
				t.Fatal(err)
			}
			if code := c.ended(); code != tt.code && name != "3 MB" { // its reset may overtake the close frame
				t.Errorf("closed with %d, want %d", code, tt.code)
			}
			neighbour.isEvent(neighbour.read(), "r", "leave", c, "", "timeout")
		})
	}
	// Just under the hard limit it is refused and stays open.
	c := enter(t, p.n1, "bob")
	r := c.refused("publish", `"roomId":"r","event":"e","data":"`+strings.Repeat("x", 255<<10)+`"`, "PayloadTooLargeError", 413, "too_large")
	if r.Limit != 64<<10 {
		t.Errorf("limit %d", r.Limit)
	}
	c.silent()
}

func TestRefusedConnectionsGetAStatusAndALineOfJSON(t *testing.T) {
	p := startPair(t)
	live := enter(t, p.n1, "owner")
	live.watch("r")
	key := credentials("")
	for name, tt := range map[string]struct {
		query  string
		status int
		want   string
	}{
		"no key":                     {"clientId=1", 401, "UnauthorizedError"},
		"wrong secret":               {"apiKey=localapp.localkey:localonlysecret000000001", 401, "UnauthorizedError"},
		"unknown key":                {"apiKey=localapp.otherkey:localonlysecret000000000", 401, "UnauthorizedError"},
		"unknown app":                {"apiKey=otherapp.localkey:localonlysecret000000000", 401, "UnauthorizedError"},
		"half a key":                 {"apiKey=localapp.localkey", 401, "UnauthorizedError"},
		"connection id of no form":   {key + "&connectionId=localapp:xyz", 400, "ValidationError"},
		"connection id of other app": {key + "&connectionId=other:0123456789abcdef0123", 403, "ForbiddenError"},
		"client id of 129 bytes":     {key + "&clientId=" + strings.Repeat("x", 129), 400, "ValidationError"},
		"client id of no UTF-8":      {key + "&clientId=%ff", 400, "ValidationError"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, n := range []*node{p.n1, p.n2} {
				c := dial(t, n)
				if _, err := io.WriteString(c, upgradeRequest(tt.query)); err != nil {
					t.Fatal(err)
				}
				status, e, res := answer(t, c)
				if status != tt.status || e.Name != tt.want || e.StatusCode != tt.status || e.Message == "" ||
					res.Header.Get("Content-Type") != "application/json" || !res.Close {
					t.Errorf("got %d %+v %v, want %d %s", status, e, res.Header, tt.status, tt.want)
				}
				if strings.Contains(e.Message, "localonlysecret") {
					t.Errorf("the answer holds the secret: %s", e.Message)
				}
			}
		})
	}
	live.silent()
}

func TestAConnectionIDOfSomeoneElseGivesNothingAway(t *testing.T) {
	p := startPair(t)
	owner, other := enter(t, p.n1, "owner"), enter(t, p.n2, "other")
	owner.watch("r")
	other.enterRoom("r")
	owner.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)
	owner.isEvent(owner.read(), "r", "join", owner, "", "")
	for _, n := range []*node{p.n1, p.n2} {
		for _, who := range []string{"other", ""} {
			c := dial(t, n)
			if _, err := io.WriteString(c, upgradeRequest(credentials(who)+"&connectionId="+owner.id)); err != nil {
				t.Fatal(err)
			}
			if status, e, _ := answer(t, c); status != http.StatusForbidden || e.Name != "ForbiddenError" || e.Message == "" {
				t.Errorf("%q is let in with the owner's connection id: %d %+v", who, status, e)
			}
		}
	}
	if m := p.members(t, "r"); len(m) != 1 {
		t.Errorf("members: %v, want the owner", m)
	}
	other.acked("room:presence:join", `"roomId":"r"`, `"localapp:r:$:presence:join"`)
	owner.isEvent(owner.read(), "r", "join", other, "", "")
	owner.silent()
}

type httpError struct {
	Name, Message string
	StatusCode    int
}

// answer reads an HTTP answer to its end, which the node must make.
func answer(t testing.TB, c io.Reader) (int, httpError, *http.Response) {
	t.Helper()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var e httpError
	if err := json.Unmarshal(body, &e); err != nil {
		t.Errorf("body %q: %v", body, err)
	}
	return res.StatusCode, e, res
}

func TestTheRateLimitSaysWhenToComeBackAndLetsLeavesThrough(t *testing.T) {
	p := startPair(t, "PRESENCE_LIMITS_REQUESTS=3/1h", "PRESENCE_LIMITS_OTHER_REQUESTS=4/1h")
	c := enter(t, p.n1, "bob")
	for i := range 3 {
		c.enterRoom("r" + strconv.Itoa(i))
	}
	for _, kind := range []string{"room:create", "room:join", "publish", "room:presence:update"} {
		r := c.refused(kind, `"roomId":"r0","event":"e","data":1`, "RateLimitError", 429, "rate_limited")
		if r.Limit != 3 || r.RetryAfterMs <= 0 || r.RetryAfterMs > 3600_000 {
			t.Errorf("%s: %+v, want the limit 3 and a time within the hour", kind, r)
		}
	}
	c.acked("room:presence:join", `"roomId":"r0"`, `"localapp:r0:$:presence:join"`)
	for range 3 {
		if got, _ := c.ask("room:presence:count", `"roomId":"r0"`); !strings.Contains(got, `"data":1`) {
			t.Errorf("got %s", got)
		}
	}
	c.refused("room:presence:get", `"roomId":"r0"`, "RateLimitError", 429, "rate_limited")
	for range 20 {
		c.acked("room:presence:leave", `"roomId":"r0"`, `"localapp:r0:$:presence:leave"`)
		c.acked("room:presence:unsubscribe:all", `"roomId":"r0"`, "true")
		c.acked("room:subscription:unbind", `"roomId":"r0"`, `"localapp:r0"`)
		c.acked("room:leave", `"roomId":"r0"`, `"localapp:r0"`)
	}
}
