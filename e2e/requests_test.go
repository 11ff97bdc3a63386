package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// Every request of the wire protocol against two nodes: the actor is on n1,
// the subscriber on n2, and every frame is compared to the byte.

const uuid = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`

// matches checks a frame with parts that only the node knows.
func matches(t *testing.T, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile("^" + pattern + "$").MatchString(got) {
		t.Errorf("got %s\nwant %s", got, pattern)
	}
}

func TestTheFirstFrameSaysWhoAndWhere(t *testing.T) {
	p := startPair(t)
	named, unnamed := enter(t, p.n1, "123"), enter(t, p.n2, "")
	const id = `localapp:[0-9a-f]{20}`
	matches(t, named.first, `\{"type":"ds:server:connection:acknowledged","body":\{"uid":"123","clientId":"123","connectionId":"`+id+`","node":"n1","graceMs":5000,"features":\[\]\}\}`)
	matches(t, unnamed.first, `\{"type":"ds:server:connection:acknowledged","body":\{"uid":"`+unnamed.id+`","connectionId":"`+id+`","node":"n2","graceMs":5000,"features":\[\]\}\}`)
	if named.id == unnamed.id {
		t.Error("two connections with one id")
	}
	asked := enterWith(t, p.n1, "7", upgradeRequest(credentials("7")+"&features=resume,dance&unknown=x&token=undefined&connectionId=null"))
	matches(t, asked.first, `.*"clientId":"7".*"features":\["resume"\],"resumeSecret":"[A-Z2-7]{26}"\}\}`)
}

func TestEachRequestIsAnsweredAndToldOnTheOtherNode(t *testing.T) {
	p := startPair(t, unlimited...)
	bob, eve, anon := enter(t, p.n1, "bob"), enter(t, p.n2, "eve"), enter(t, p.n2, "")
	const room = `"roomId":"team:a.b-c_1"`
	const nsp = "localapp:team:a.b-c_1"
	const name = "team:a.b-c_1"

	// Rooms.
	got, ackID := bob.ask("room:create", room)
	matches(t, got, regexp.QuoteMeta(`{"type":"ds:server:message:acknowledged","body":{"ackId":"`+ackID+`","data":{"id":"`+name+`","uuid":"`)+uuid+`","visibility":"public"\}\}\}`)
	again, ackAgain := eve.ask("room:create", room+`,"visibility":"public","roomName":"x"`)
	if strings.ReplaceAll(again, ackAgain, ackID) != got {
		t.Errorf("create on the other node\n got %s\nwant %s", again, got)
	}
	got, ackID = bob.ask("room:join", room)
	matches(t, got, regexp.QuoteMeta(`{"type":"ds:server:message:acknowledged","body":{"ackId":"`+ackID+`","data":{"uuid":"`)+uuid+
		regexp.QuoteMeta(`","nspRoomId":"`+nsp+`","roomName":null,"visibility":"public","memberType":"member"}}}`))
	again, ackAgain = bob.ask("room:join", room+`,"password":null`)
	if strings.ReplaceAll(again, ackAgain, ackID) != got {
		t.Errorf("joining again\n got %s\nwant %s", again, got)
	}
	eve.watch(name)
	anon.watch(name)

	// Presence, with two subscribers on the other node and the actor's own.
	bob.watch(name)
	told := func(kind, data, reason string) (rev int64) {
		t.Helper()
		rev = eve.isEvent(eve.read(), name, kind, bob, data, reason)
		if other := anon.isEvent(anon.read(), name, kind, bob, data, reason); other != rev {
			t.Errorf("%s has revision %d at one subscriber and %d at the other", kind, rev, other)
		}
		return rev
	}
	own := func(kind, data, reason string, rev int64) {
		t.Helper()
		if r := bob.isEvent(bob.read(), name, kind, bob, data, reason); r != rev {
			t.Errorf("own %s has revision %d, elsewhere %d", kind, r, rev)
		}
	}
	// Each acked call finds the acknowledgement first and its own event after it.
	bob.acked("room:presence:join", room+`,"userData":{"username": "Bob"}`, `"`+nsp+`:$:presence:join"`)
	r1 := told("join", `{"username":"Bob"}`, "")
	own("join", `{"username":"Bob"}`, "", r1)
	bob.acked("room:presence:update", room+`,"userData":{"seat": 8}`, `"`+nsp+`:$:presence:update"`)
	r2 := told("update", `{"seat":8}`, "")
	own("update", `{"seat":8}`, "", r2)
	bob.acked("room:presence:join", room+`,"userData":[9]`, `"`+nsp+`:$:presence:join"`) // again: an update
	r3 := told("update", `[9]`, "")
	own("update", `[9]`, "", r3)
	bob.acked("room:presence:update", room+`,"userData":[9]`, `"`+nsp+`:$:presence:update"`) // equal data is told, too
	r4 := told("update", `[9]`, "")
	own("update", `[9]`, "", r4)
	bob.acked("room:presence:update", room, `"`+nsp+`:$:presence:update"`) // no data
	r5 := told("update", "", "")
	own("update", "", "", r5)
	bob.acked("room:presence:update", room+`,"userData":null`, `"`+nsp+`:$:presence:update"`) // null is data
	r6 := told("update", "null", "")
	own("update", "null", "", r6)
	if r2 != r1+1 || r3 != r2+1 || r4 != r3+1 || r5 != r4+1 || r6 != r5+1 {
		t.Errorf("revisions %d %d %d %d %d %d have holes", r1, r2, r3, r4, r5, r6)
	}

	// Lists, on the other node and without being in the room.
	stranger := enter(t, p.n2, "")
	got, ackID = stranger.ask("room:presence:get", room)
	matches(t, got, regexp.QuoteMeta(fmt.Sprintf(`{"type":"ds:server:message:acknowledged","body":{"ackId":"%s","data":[{"id":"%s","clientId":"bob","connectionId":"%s","event":"join","timestamp":"`, ackID, bob.id, bob.id))+
		`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`+regexp.QuoteMeta(fmt.Sprintf(`","data":null,"revision":%d}],"revision":%d}}`, r6, r6)))
	stranger.isAckAt("room:presence:count", room, "1", r6)
	eve.acked("room:presence:join", room, `"`+nsp+`:$:presence:join"`)
	r7 := eve.isEvent(eve.read(), name, "join", eve, "", "")
	anon.isEvent(anon.read(), name, "join", eve, "", "")
	bob.isEvent(bob.read(), name, "join", eve, "", "")
	stranger.isAckAt("room:presence:count", room, "2", r7)
	got, _ = stranger.ask("room:presence:get", room)
	if e, b := strings.Index(got, eve.id), strings.Index(got, bob.id); e < 0 || b < 0 || e > b || !strings.HasSuffix(got, fmt.Sprintf(`],"revision":%d}}`, r7)) {
		t.Errorf("the list is not newest join first at revision %d: %s", r7, got)
	}
	got, _ = stranger.ask("room:presence:get", room+`,"limit":1`)
	if strings.Contains(got, bob.id) || !strings.Contains(got, eve.id) {
		t.Errorf("limit 1: %s", got)
	}
	stranger.isAckAt("room:presence:get", `"roomId":"nobody"`, "[]", 0)
	stranger.isAckAt("room:presence:count", `"roomId":"nobody"`, "0", 0)

	// Leaves: with data, without, by one who is no member, of the room.
	bob.acked("room:presence:leave", room+`,"userData":{"by": "e"}`, `"`+nsp+`:$:presence:leave"`)
	r8 := told("leave", `{"by":"e"}`, "left")
	own("leave", `{"by":"e"}`, "left", r8)
	bob.acked("room:presence:leave", room, `"`+nsp+`:$:presence:leave"`)
	bob.acked("room:presence:join", room+`,"userData":"last"`, `"`+nsp+`:$:presence:join"`)
	own("join", `"last"`, "", told("join", `"last"`, ""))
	bob.acked("room:presence:leave", room, `"`+nsp+`:$:presence:leave"`)
	own("leave", `"last"`, "left", told("leave", `"last"`, "left"))
	bob.acked("room:presence:join", room+`,"userData":1`, `"`+nsp+`:$:presence:join"`)
	own("join", "1", "", told("join", "1", ""))
	bob.acked("room:leave", room, `"`+nsp+`"`)
	told("leave", "1", "room_left")
	// What the public client sends behind it succeeds.
	bob.acked("room:presence:unsubscribe:all", room, "true")
	bob.acked("room:metrics:unsubscribe", room+`,"event":"all"`, `"`+nsp+`:$:metrics:all"`)
	bob.acked("room:leave", room, `"`+nsp+`"`)
	bob.refused("room:presence:join", room, "NotInRoomError", 409, "not_in_room")

	// A closed socket and a lost one.
	for reason, end := range map[string]func(*peer){
		"closed":  func(p *peer) { p.bye() },
		"timeout": func(p *peer) { p.conn.Close() },
	} {
		gone := enter(t, p.n1, "gone")
		gone.enterRoom(name)
		gone.acked("room:presence:join", room+`,"userData":{}`, `"`+nsp+`:$:presence:join"`)
		eve.isEvent(eve.read(), name, "join", gone, "{}", "")
		anon.isEvent(anon.read(), name, "join", gone, "{}", "")
		end(gone)
		eve.isEvent(eve.read(), name, "leave", gone, "{}", reason)
		anon.isEvent(anon.read(), name, "leave", gone, "{}", reason)
	}

	// Unsubscribed is unsubscribed, each by itself.
	eve.acked("room:presence:unsubscribe", room+`,"event":"update"`, `"`+nsp+`:$:presence:update"`)
	anon.acked("room:presence:unsubscribe:all", room, "true")
	eve.acked("room:presence:update", room+`,"userData":2`, `"`+nsp+`:$:presence:update"`)
	eve.acked("room:presence:leave", room, `"`+nsp+`:$:presence:leave"`)
	eve.isEvent(eve.read(), name, "leave", eve, "2", "left")
	anon.acked("room:presence:unsubscribe", room+`,"event":"join"`, `"`+nsp+`:$:presence:join"`)
	if m := p.members(t, name); len(m) != 0 {
		t.Errorf("Redis still lists %v", m)
	}
}

// isAckAt checks an acknowledgement that carries the revision at which it is true.
func (p *peer) isAckAt(kind, fields, data string, rev int64) {
	p.t.Helper()
	got, ackID := p.ask(kind, fields)
	if want := fmt.Sprintf(`{"type":"ds:server:message:acknowledged","body":{"ackId":"%s","data":%s,"revision":%d}}`, ackID, data, rev); got != want {
		p.t.Errorf("%s: %s\n got %s\nwant %s", p.name, kind, got, want)
	}
}

func TestMessagesReachWhoIsBoundOnBothNodes(t *testing.T) {
	p := startPair(t, unlimited...)
	bob, eve, all, anon := enter(t, p.n1, "bob"), enter(t, p.n2, "eve"), enter(t, p.n2, "all"), enter(t, p.n1, "")
	const room, nsp = `"roomId":"talk"`, "localapp:talk"
	for _, c := range []*peer{bob, eve, all} {
		c.enterRoom("talk")
	}
	bob.acked("room:subscription:bind", room+`,"event":"say \"hi\""`, `"`+nsp+`::say \"hi\""`)
	eve.acked("room:subscription:bind", room+`,"event":"say \"hi\""`, `"`+nsp+`::say \"hi\""`)
	all.acked("room:subscription:bind", room+`,"event":"$:subscribe:all"`, `"`+nsp+`::$:subscribe:all"`)

	message := func(c *peer, got, head string) string {
		t.Helper()
		body, ok := strings.CutPrefix(got, head)
		if !ok {
			t.Fatalf("%s: got %s\nwant %s…", c.name, got, head)
		}
		return body
	}
	got, ackID := bob.ask("publish", room+`,"event":"say \"hi\"","data":{"hello": "universe"},"uuid":"x","opts":{"transient":true}`)
	said := message(bob, got, `{"type":"ds:server:message:acknowledged","body":{"ackId":"`+ackID+`","data":`)
	matches(t, said, `\{"id":"`+uuid+regexp.QuoteMeta(`","event":"say \"hi\"","body":{"hello":"universe"},"sender":{"clientId":"bob","connectionId":"`+bob.id+`"},"timestamp":`)+`\d{13}\}\}\}`)
	for _, c := range []*peer{bob, eve} {
		if got := message(c, c.read(), `{"type":"`+nsp+`::say \"hi\"","body":`); got+"}" != said {
			t.Errorf("%s: got %s\nwant %s", c.name, got, said)
		}
	}
	if got := message(all, all.read(), `{"type":"`+nsp+`::$:subscribe:all","body":`); got+"}" != said {
		t.Errorf("all: got %s\nwant %s", got, said)
	}

	// One who is not in the room and has no id may publish.
	got, ackID = anon.ask("publish", room+`,"event":"other","data":0`)
	said = message(anon, got, `{"type":"ds:server:message:acknowledged","body":{"ackId":"`+ackID+`","data":`)
	matches(t, said, `.*"event":"other","body":0,"sender":\{"clientId":null,"connectionId":"`+anon.id+`"\},.*`)
	if got := message(all, all.read(), `{"type":"`+nsp+`::$:subscribe:all","body":`); got+"}" != said {
		t.Errorf("all: got %s\nwant %s", got, said)
	}
	// Both names at one connection: once under each.
	all.acked("room:subscription:bind", room+`,"event":"both"`, `"`+nsp+`::both"`)
	all.acked("room:subscription:bind", room+`,"event":"both"`, `"`+nsp+`::both"`)
	bob.ask("publish", room+`,"event":"both","data":null`)
	names := []string{all.read(), all.read()}
	for _, want := range []string{`{"type":"` + nsp + `::both","body":`, `{"type":"` + nsp + `::$:subscribe:all","body":`} {
		if !strings.HasPrefix(names[0], want) && !strings.HasPrefix(names[1], want) {
			t.Errorf("got %q, want one under %s", names, want)
		}
	}
	// Presence is not a message: it does not come under the all name.
	bob.acked("room:presence:join", room, `"`+nsp+`:$:presence:join"`)
	all.acked("room:subscription:unbind", room+`,"event":"both"`, `"`+nsp+`::both"`)
	all.acked("room:subscription:unbind", room, `"`+nsp+`"`)
	eve.acked("room:subscription:unbind", room+`,"event":"never bound"`, `"`+nsp+`::never bound"`)
	bob.ask("publish", room+`,"event":"say \"hi\"","data":"end"`)
	bob.read()
	if got := eve.read(); !strings.Contains(got, `"body":"end"`) {
		t.Errorf("eve: got %s", got)
	}
	all.silent()
}

func TestOutOfScopeIsAnsweredAsTheTableSays(t *testing.T) {
	p := startPair(t, unlimited...)
	c := enter(t, p.n1, "bob")
	for _, kind := range []string{
		"room:metrics:subscribe", "room:history:get", "room:password:update", "room:member:add",
		"room:member:remove", "room:member:type", "room:intellect:subscribe", "auth:user:subscribe", "auth:user:status:update", "no:such", "",
	} {
		c.refused(kind, `"roomId":"r","event":"all"`, "NotSupportedError", 501, "not_supported")
	}
	for _, kind := range []string{"room:intellect:unsubscribe", "room:intellect:unsubscribe:all", "auth:user:unsubscribe", "auth:user:unsubscribe:all"} {
		c.acked(kind, `"subscriptionId":"x"`, "true")
	}
	c.send(`{"type":"pgr:join","ackId":"x"}`)
	c.isRefusal(c.read(), "x", "NotSupportedError", 501, "not_supported")
}

func TestRequestsWithoutAnAckIDAreDoneAndNotAnswered(t *testing.T) {
	p := startPair(t, unlimited...)
	bob, eve := enter(t, p.n1, "bob"), enter(t, p.n2, "eve")
	eve.watch("r")
	for _, text := range []string{
		`{"type":"ds:client:room:join","body":{"roomId":"r"}}`,
		`{"type":"ds:client:room:presence:join","body":{"roomId":"r","userData":1,"intiatedAt":"x"},"createdAt":"x","more":[{}]}`,
		`{"type":"ds:client:room:presence:update","body":{"roomId":"r"}}`,
		`{"type":"ds:client:room:leave","body":{"roomId":"r"},"ackId":null}`,
	} {
		bob.send(text)
	}
	eve.isEvent(eve.read(), "r", "join", bob, "1", "")
	eve.isEvent(eve.read(), "r", "update", bob, "", "")
	eve.isEvent(eve.read(), "r", "leave", bob, "", "room_left")
	bob.silent()
}

func TestTheTextStyleOfARoomJoin(t *testing.T) {
	p := startPair(t)
	c := enterWith(t, p.n1, "old", strings.Replace(upgradeRequest(credentials("old")), "/core?", "/core/v1?", 1))
	c.acked("room:join", `"roomId":"r"`, `"localapp:r"`)
}

// The public client sends the first id for ever, also when its session is gone.
func TestAClientThatComesBackKeepsItsConnectionID(t *testing.T) {
	p := startPair(t)
	eve := enter(t, p.n2, "eve")
	eve.watch("r")
	var last int64
	id := ""
	for i, n := range []*node{p.n1, p.n2, p.n1} {
		query := credentials("bob")
		if id != "" {
			query += "&connectionId=" + id
		}
		c := enterWith(t, n, "bob", upgradeRequest(query))
		if id != "" && c.id != id {
			t.Errorf("came back as %s, was %s", c.id, id)
		}
		id = c.id
		c.refused("room:presence:join", `"roomId":"r"`, "NotInRoomError", 409, "not_in_room") // nothing is restored
		c.enterRoom("r")
		c.acked("room:presence:join", `"roomId":"r","userData":`+strconv.Itoa(i), `"localapp:r:$:presence:join"`)
		rev := eve.isEvent(eve.read(), "r", "join", c, strconv.Itoa(i), "")
		c.bye()
		if rev <= last {
			t.Errorf("revision %d came after %d", rev, last)
		}
		last = eve.isEvent(eve.read(), "r", "leave", c, strconv.Itoa(i), "closed")
		eventually(t, "the session is gone", func() bool {
			return p.keys.Exists(t.Context(), "presence:{c"+c.key()[:2]+"}:session:"+c.key()).Val() == 0
		})
	}
}

// An un-awaited flow: everything in one TCP write behind the handshake, and
// answered in order.
func TestRequestsBehindTheHandshakeAreAnsweredInOrder(t *testing.T) {
	p := startPair(t, unlimited...)
	for name, cut := range map[string]int{"one segment": 1 << 20, "byte by byte": 1} {
		t.Run(name, func(t *testing.T) {
			eve := enter(t, p.n2, "eve")
			eve.watch("r")
			kinds := []struct{ kind, fields string }{
				{"room:join", `"roomId":"r"`},
				{"room:presence:subscribe", `"roomId":"r","event":"join"`},
				{"room:presence:join", `"roomId":"r","userData":{"a":1}`},
				{"room:presence:update", `"roomId":"r","userData":{"a":2}`},
				{"room:presence:count", `"roomId":"r"`},
				{"room:presence:leave", `"roomId":"r"`},
				{"room:leave", `"roomId":"r"`},
			}
			c := &peer{t: t, name: "bob", conn: dial(t, p.n1), frames: make(chan string, 100)}
			all := []byte(upgradeRequest(credentials("bob")))
			var ids []string
			for _, k := range kinds {
				text, id := c.request(k.kind, k.fields)
				all = append(all, masked(ws.OpText, text)...)
				ids = append(ids, id)
			}
			for len(all) > 0 {
				n := min(cut, len(all))
				c.write(all[:n])
				all = all[n:]
			}
			c.begin()
			for i, id := range ids {
				got := c.read()
				if strings.Contains(got, `"type":"localapp:r:$:presence:join"`) {
					if i < 3 {
						t.Errorf("the own join came before acknowledgement %d", i)
					}
					got = c.read()
				}
				var f frame
				if err := json.Unmarshal([]byte(got), &f); err != nil || f.Body.AckID != id || f.Body.Err != nil {
					t.Fatalf("got %s, want the acknowledgement of %s", got, id)
				}
			}
			eve.isEvent(eve.read(), "r", "join", c, `{"a":1}`, "")
			eve.isEvent(eve.read(), "r", "update", c, `{"a":2}`, "")
			eve.isEvent(eve.read(), "r", "leave", c, `{"a":2}`, "left")
			eve.silent()
		})
	}
}
