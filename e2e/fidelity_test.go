package e2e

import (
	"strings"
	"testing"
)

// What a client sends is what everyone gets, on either node and in Redis: the
// same bytes, white space between tokens aside.

// asSent is data that arrives as it is written here.
var asSent = []string{
	`null`, `true`, `false`, `0`, `-0`, `0.00`, `1e400`, `-1E-400`, `1.0`, `100`, `1e2`, `123456789012345678901234567890.12345678901234567890`,
	`9007199254740993`, `""`, `" "`, `{}`, `[]`, `[[]]`, `[{}]`, `{"":""}`, `{"a":{"b":{"c":[1,[2,[3,{"d":null}]]]}}}`,
	`{"z":1,"a":2,"m":3,"10":4,"9":5}`, `{"A":1,"a":2}`,
	`"\u0041"`, `"\/"`, `"/"`, `"\u002f"`, `"\b\f\n\r\t\"\\"`, `"\u0000"`, `"a\u0000b"`, `"\u001F"`, `"\u001f"`, `"\u00e9"`, `"é"`, `"e` + "\u0301" + `"`,
	`"\ud83d\ude00"`, `"\uD83D\uDE00"`, `"😀"`, `"👩‍👩‍👧‍👦🏳️‍🌈"`, `"` + "\u2028\u2029" + `"`, `"\u2028"`, `"` + "\u202e\u05e9\u05dc\u05d5\u05dd\u202c" + `"`, `"مرحبا"`,
	`"<script>&amp;</script>"`, `"` + "\x7f\u0080\ufeff\ufffd\U0010ffff" + `"`, `{"😀":1,"\ud83d\ude01":2,"\u0000":3}`,
	`"} {\"rev\":1"`, `"\",\"client\":\"x\""`, `{"rev":1,"inc":2,"node":"n9.9","at":3,"client":"x","data":4}`, `"%s %n $1 \\0 %%"`, `"]}}"`,
	strings.Repeat("[", 28) + strings.Repeat("]", 28),
	`"` + strings.Repeat("x", 16<<10-2) + `"`,
	`"` + strings.Repeat(`\u0041`, (16<<10-2)/6) + `"`,
	`[` + strings.Repeat(`0.0,`, 4<<10-2) + `0.0]`,
}

// spaced is data with white space between its tokens, and what is left of it.
var spaced = [][2]string{
	{" { \"a\" : [ 1 ,\n2 ,\t{ } , [ ] ] ,\r\n\"b c\" : \" d  e \" } ", `{"a":[1,2,{},[]],"b c":" d  e "}`},
	{"\t\"\\u0020 x\"\n", `"\u0020 x"`},
	{" -0.0e+0 ", `-0.0e+0`},
}

func TestDataIsTheSameOnEveryPath(t *testing.T) {
	p := startPair(t, unlimited...)
	bob, eve := enter(t, p.n1, "bob"), enter(t, p.n2, "eve")
	const room, nsp = `"roomId":"r"`, "localapp:r"
	bob.enterRoom("r")
	eve.watch("r")
	eve.acked("room:subscription:bind", room+`,"event":"m"`, `"`+nsp+`::m"`)

	cases := spaced
	for _, d := range asSent {
		cases = append(cases, [2]string{d, d})
	}
	// Every value is once a join's, once an update's, once a leave's data.
	for _, c := range cases {
		sent, want := c[0], c[1]
		data := room + `,"userData":` + sent
		inRedis := func() {
			t.Helper()
			if got := p.members(t, "r")[bob.key()]; !strings.HasSuffix(got, `,"client":"bob","data":`+want+`}`) {
				t.Errorf("in Redis: %s\nwant data %s", got, want)
			}
		}
		listed := func() {
			t.Helper()
			if got, _ := eve.ask("room:presence:get", room); !strings.Contains(got, `Z","data":`+want+`,"revision":`) {
				t.Errorf("listed: %s\nwant data %s", got, want)
			}
		}
		bob.acked("room:presence:join", data, `"`+nsp+`:$:presence:join"`)
		eve.isEvent(eve.read(), "r", "join", bob, want, "")
		inRedis()
		listed()
		bob.acked("room:presence:update", room+`,"userData":"other"`, `"`+nsp+`:$:presence:update"`)
		eve.isEvent(eve.read(), "r", "update", bob, `"other"`, "")
		bob.acked("room:presence:leave", data, `"`+nsp+`:$:presence:leave"`)
		eve.isEvent(eve.read(), "r", "leave", bob, want, "left")

		bob.acked("room:presence:join", room, `"`+nsp+`:$:presence:join"`)
		eve.isEvent(eve.read(), "r", "join", bob, "", "")
		bob.acked("room:presence:update", data, `"`+nsp+`:$:presence:update"`)
		eve.isEvent(eve.read(), "r", "update", bob, want, "")
		inRedis()
		listed()
		bob.acked("room:presence:leave", room, `"`+nsp+`:$:presence:leave"`) // the member's last
		eve.isEvent(eve.read(), "r", "leave", bob, want, "left")

		got, ackID := bob.ask("publish", room+`,"event":"m","data":`+sent)
		for who, text := range map[string]string{"acknowledged": got, "received": eve.read()} {
			if !strings.Contains(text, `","event":"m","body":`+want+`,"sender":{"clientId":"bob",`) {
				t.Errorf("%s: %s\nwant %s", who, text, want)
			}
		}
		if !strings.Contains(got, `"ackId":"`+ackID+`"`) {
			t.Errorf("got %s, want the acknowledgement of %s", got, ackID)
		}
	}
}

// A client's id is text of its own choosing and comes back as that text.
func TestClientIDsAreTheSameTextEverywhere(t *testing.T) {
	p := startPair(t, unlimited...)
	eve := enter(t, p.n2, "eve")
	eve.watch("r")
	for id, want := range map[string]string{
		`a"b\c`:                  `"a\"b\\c"`,
		`😀 и שלום`:               `"😀 и שלום"`,
		`#`:                      `"#"`,
		`","data":"x`:            `"\",\"data\":\"x"`,
		`a+b&c=d%41;e?f#g`:       `"a+b&c=d%41;e?f#g"`,
		strings.Repeat("x", 128): `"` + strings.Repeat("x", 128) + `"`,
		"tab\tnul\x00":           `"tab\tnul\u0000"`,
	} {
		c := enter(t, p.n1, id)
		if !strings.Contains(c.first, `{"uid":`+want+`,"clientId":`+want+`,"connectionId":`) {
			t.Errorf("the first frame is %s, want the client %s", c.first, want)
		}
		c.enterRoom("r")
		c.acked("room:presence:join", `"roomId":"r","userData":1`, `"localapp:r:$:presence:join"`)
		who := `"id":"` + c.id + `","clientId":` + want + `,"connectionId":"` + c.id + `"`
		if got := eve.read(); !strings.Contains(got, who+`,"data":1,`) {
			t.Errorf("got %s, want %s", got, who)
		}
		if got, _ := eve.ask("room:presence:get", `"roomId":"r"`); !strings.Contains(got, who) {
			t.Errorf("got %s, want %s", got, who)
		}
		if got := p.members(t, "r")[c.key()]; !strings.HasSuffix(got, `,"client":`+want+`,"data":1}`) {
			t.Errorf("in Redis: %s, want client %s", got, want)
		}
		c.bye()
		if got := eve.read(); !strings.Contains(got, who+`,"data":1,`) || !strings.Contains(got, `"reason":"closed"`) {
			t.Errorf("got %s, want the leave of %s", got, who)
		}
	}
}
