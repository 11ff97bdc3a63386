package node

import (
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	presence "presencesets"
)

func TestRequestsThatCannotBeServedSayWhy(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.Limits.Members = 1
	opts.Limits.Subscriptions = 2
	n := startNode(t, opts)
	anon, bob := connect(t, n, ""), connect(t, n, "bob")
	anon.fails("room:presence:join", `"roomId":"r"`, "NoClientIdError")
	anon.fails("room:presence:subscribe", `"roomId":"r","event":"join"`, "NotInRoomError")
	bob.fails("room:presence:join", `"roomId":"r"`, "NotInRoomError")
	bob.fails("room:subscription:bind", `"roomId":"r","event":"x"`, "NotInRoomError")
	bob.fails("room:join", `"roomId":"a/b"`, "ValidationError")
	bob.fails("room:join", `"roomId":"`+strings.Repeat("r", 256)+`"`, "ValidationError")
	bob.fails("room:join", ``, "ValidationError")
	bob.ok("room:join", `"roomId":"r"`)
	bob.fails("room:presence:update", `"roomId":"r","userData":1`, "NotMemberError")
	bob.fails("room:presence:subscribe", `"roomId":"r","event":"enter"`, "ValidationError")
	bob.fails("room:history:get", `"nspRoomId":"r"`, "NotSupportedError")
	bob.fails("no:such:thing", ``, "NotSupportedError")
	bob.fails("room:create", `"roomId":"r","visibility":"private"`, "NotSupportedError")
	bob.ok("room:create", `"roomId":"r"`)
	bob.ok("room:presence:leave", `"roomId":"r"`)
	bob.ok("room:presence:unsubscribe:all", `"roomId":"elsewhere"`)
	bob.ok("room:metrics:unsubscribe", `"roomId":"elsewhere","event":"all"`)
	bob.ok("room:leave", `"roomId":"elsewhere"`)
	bob.ok("room:presence:join", `"roomId":"r"`)
	eve := connect(t, n, "eve")
	eve.ok("room:join", `"roomId":"r"`)
	if got := eve.fails("room:presence:join", `"roomId":"r"`, "LimitError"); !strings.Contains(got, `"limit":1`) {
		t.Errorf("got %s, want the limit in it", got)
	}
	eve.ok("room:subscription:bind", `"roomId":"r","event":"a"`)
	eve.ok("room:subscription:bind", `"roomId":"r","event":"b"`)
	eve.fails("room:subscription:bind", `"roomId":"r","event":"c"`, "LimitError")
	bob.send(`{"type":"ds:client:room:join","body":{"roomId":7},"ackId":"bad"}`)
	if got := bob.read(); !strings.Contains(got, "ValidationError") || !strings.Contains(got, `"field":"roomId"`) {
		t.Errorf("got %s, want the field", got)
	}
	bob.send(`{"type":"ds:client:room:join","ackId":"bad",`)
	if got := bob.read(); !strings.Contains(got, "ValidationError") {
		t.Errorf("got %s, want a ValidationError for invalid JSON with a readable ackId", got)
	}
}

func TestRateLimitRefusesAndClosesNothing(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.Limits.Requests = Rate{3, time.Hour}
	n := startNode(t, opts)
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	p.ok("publish", `"roomId":"r","event":"e","data":1`)
	p.ok("publish", `"roomId":"r","event":"e","data":1`)
	if got := p.fails("publish", `"roomId":"r","event":"e","data":1`, "RateLimitError"); !strings.Contains(got, "retryAfterMs") {
		t.Errorf("got %s, want retryAfterMs", got)
	}
	for range 20 {
		p.ok("room:presence:unsubscribe:all", `"roomId":"r"`) // never limited
	}
	p.ok("room:leave", `"roomId":"r"`)
}

func TestBucketLetsItsRateThroughOverTime(t *testing.T) {
	r := Rate{30, 5 * time.Second}
	for _, start := range []uint32{0, 1 << 31, ^uint32(0) - 1000} { // and over the wrap of its clock
		var b bucket
		now, passed := start, 0
		for range 100 * 8 * 1000 / 100 { // 100 s in steps of 100/8 ms
			now += 100
			if ok, _ := b.take(r, now); ok {
				passed++
			}
		}
		if want := 30 + 100/5*30; passed < want-31 || passed > want+1 {
			t.Errorf("from %d: %d passed in 100 s, want about %d", start, passed, want)
		}
	}
}

func TestJoinBehindARefusedRoomJoinIsRefusedToo(t *testing.T) {
	store := newMemStore()
	store.refuse = func(op *presence.Op) *presence.Error {
		if op.Kind == presence.OpTrack {
			return presence.Errorf(presence.CodeLimit, "too many rooms").WithLimit(100)
		}
		return nil
	}
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "1")
	p.write(append(masked(ws.OpText, p.request("room:join", `"roomId":"r"`)), masked(ws.OpText, p.request("room:presence:join", `"roomId":"r"`))...))
	if got := p.read(); !strings.Contains(got, "LimitError") {
		t.Errorf("room join: got %s", got)
	}
	if got := p.read(); !strings.Contains(got, "NotInRoomError") {
		t.Errorf("presence join behind it: got %s", got)
	}
}

func TestRequestsOfARoomKeepTheirOrderWhileOneIsUnderWay(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "1")
	store.mu.Lock()
	store.hold = func(op *presence.Op) bool { return op.Kind == presence.OpTrack }
	store.mu.Unlock()
	var all []byte
	for _, r := range []string{"room:join", "room:presence:join", "room:presence:update", "room:presence:leave", "room:presence:count", "room:leave"} {
		all = append(all, masked(ws.OpText, p.request(r, `"roomId":"r"`))...)
	}
	p.write(all)
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	p.ok("room:create", `"roomId":"x"`) // what needs no store is not held up
	store.release()
	for i := 1; i <= 6; i++ {
		if got := p.read(); !strings.Contains(got, `"ackId":"a`+string(rune('0'+i))+`"`) || strings.Contains(got, `"err"`) {
			t.Errorf("answer %d: got %s", i, got)
		}
	}
}

func TestSubscriptionsThatComeTogetherAreOneChange(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	var all []byte
	for _, e := range []string{"join", "update", "leave"} {
		all = append(all, masked(ws.OpText, p.request("room:presence:subscribe", `"roomId":"r","event":"`+e+`"`))...)
	}
	p.write(append(all, masked(ws.OpText, p.request("room:subscription:bind", `"roomId":"r","event":"mo\"ved"`))...))
	for range 4 {
		p.read()
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	want := []string{`r p 0 {}`, `r p 0 {"presence":["join","update","leave"],"bind":["mo\"ved"]}`}
	if strings.Join(store.tracks, "\n") != strings.Join(want, "\n") {
		t.Errorf("tracked %q, want %q", store.tracks, want)
	}
}

func TestTooManyRequestsInFlightAreNotReadAndNothingIsLost(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	opts.Limits.InFlight = 4
	n := startNode(t, opts)
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	store.mu.Lock()
	store.hold = func(op *presence.Op) bool { return true }
	store.mu.Unlock()
	var all []byte
	for range 20 {
		all = append(all, masked(ws.OpText, p.request("room:presence:count", `"roomId":"r"`))...)
	}
	p.write(all)
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	store.release()
	for i := 2; i <= 21; i++ {
		if got := p.read(); strings.Contains(got, `"err"`) {
			t.Fatalf("answer %d: got %s", i, got)
		}
	}
}

func TestWaitingBehindAStoreThatDoesNotAnswerEndsInUnavailable(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	store.mu.Lock()
	store.hold = func(op *presence.Op) bool { return true }
	store.mu.Unlock()
	p.send(p.request("room:presence:join", `"roomId":"r"`))
	p.fails("room:presence:update", `"roomId":"r"`, "UnavailableError") // the one behind; the first is the store's to end
	store.release()
	if got := p.read(); !strings.Contains(got, `"ackId":"a2"`) {
		t.Errorf("got %s, want the first request's late answer", got)
	}
	p.ok("room:presence:leave", `"roomId":"r"`)
}

func TestTextStyleOfJoinAcknowledgements(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	c := dialRaw(t, n)
	if _, err := c.Write([]byte(strings.Replace(upgradeRequest("apiKey="+testKey), "/core?", "/core/v1?", 1))); err != nil {
		t.Fatal(err)
	}
	p := accepted(t, c)
	if got, want := p.ok("room:join", `"roomId":"r"`), `"data":"acme:r"`; !strings.Contains(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAppsDoNotSeeEachOther(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	a := connect(t, n, "same")
	c := dialRaw(t, n)
	if _, err := c.Write([]byte(upgradeRequest("apiKey=other.web1:secretsecretsecretsecret1&clientId=same"))); err != nil {
		t.Fatal(err)
	}
	b := accepted(t, c)
	for _, p := range []*peer{a, b} {
		p.ok("room:join", `"roomId":"r"`)
		p.ok("room:presence:subscribe", `"roomId":"r","event":"join"`)
	}
	a.ok("room:presence:join", `"roomId":"r"`)
	if got := b.ok("room:presence:count", `"roomId":"r"`); !strings.Contains(got, `"data":0`) {
		t.Errorf("the other app counts %s", got)
	}
}

func TestRoomLeaveThatFailedIsWholeWhenTriedAgain(t *testing.T) {
	store := newMemStore()
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	p.ok("room:presence:join", `"roomId":"r"`)
	fail := true
	store.mu.Lock()
	store.refuse = func(op *presence.Op) *presence.Error {
		if op.Kind == presence.OpLeave && fail {
			fail = false
			return presence.Errorf(presence.CodeUnavailable, "away")
		}
		return nil
	}
	store.mu.Unlock()
	p.fails("room:leave", `"roomId":"r"`, "UnavailableError")
	p.ok("room:leave", `"roomId":"r"`)
	if got := p.ok("room:presence:count", `"roomId":"r"`); !strings.Contains(got, `"data":0`) {
		t.Errorf("after the second room leave: %s, want an empty set", got)
	}
}

func TestRefusedRequestsForARoomThatNobodyIsInForgetItOnce(t *testing.T) {
	store := newMemStore()
	store.refuse = func(op *presence.Op) *presence.Error {
		if op.Kind == presence.OpPublish {
			return presence.Errorf(presence.CodeUnavailable, "away")
		}
		return nil
	}
	n := startNode(t, testOptions(t, store))
	p := connect(t, n, "1")
	p.write(append(masked(ws.OpText, p.request("publish", `"roomId":"r","event":"e","data":1`)), masked(ws.OpText, p.request("publish", `"roomId":"r","event":"e","data":1`))...))
	for range 2 {
		if got := p.read(); !strings.Contains(got, "UnavailableError") {
			t.Errorf("got %s", got)
		}
	}
	p.ok("room:create", `"roomId":"x"`)
	if r := roomOf(n, "acme", "r"); r != nil {
		t.Errorf("the room is still there with %d entries", r.refs)
	}
}
