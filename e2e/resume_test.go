package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

// A client whose socket is lost and that comes back in time, to the same node
// or to another: nobody sees that it was away, and it misses nothing.

func TestALostSocketIsResumed(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	for name, to := range map[string]*node{"the same node": p.n1, "another node": p.n2} {
		for how, lose := range map[string]func(*peer){
			"end of stream": (*peer).lose,
			"reset":         (*peer).reset,
			"close 4000":    func(c *peer) { c.closeWith(4000) },
			"close 1006":    func(c *peer) { c.closeWith(ws.StatusInternalServerError) },
		} {
			t.Run(how+", "+name, func(t *testing.T) {
				for _, o := range observers {
					o.t = t
				}
				testResume(t, p, observers, lose, to)
			})
		}
	}
}

func testResume(t *testing.T, p *pair, observers []*audience, lose func(*peer), to *node) {
	bob, other := watching(t, p.n1, "bob", "r"), enter(t, p.n2, "other")
	bob.acked("room:subscription:bind", `"roomId":"r","event":"m"`, `"localapp:r::m"`)
	bob.joins("second", `"s"`)
	bob.enterRoom("third") // no member there
	bob.acked("room:presence:join", `"roomId":"r","userData":{"seat":1}`, `"localapp:r:$:presence:join"`)
	other.joins("r", "0")
	want := p.listed(t, "r")
	bob.sees(want)
	for _, o := range observers {
		o.sees(want)
		o.silent()
	}
	bob.silent()

	lose(bob.peer)
	p.waits(bob.peer)
	if got := p.listed(t, "r"); !maps.Equal(got, want) {
		t.Errorf("while bob is away Redis lists %v, want %v", got, want)
	}
	// What happens meanwhile.
	const many = 30
	for i := range many {
		other.updates("r", fmt.Sprint(i))
	}
	passing := enter(t, to, "passing")
	passing.joins("r", `"p"`)
	passing.bye()
	other.acked("room:presence:leave", `"roomId":"r"`, `"localapp:r:$:presence:leave"`)
	other.joins("r", `"again"`)
	mark := p.listed(t, "r")

	bob.peer = bob.back(to)
	bob.takeUntil("the last event of the outage", func() bool {
		return maps.Equal(bob.known, mark) && bob.left[passing.id] == 1 && bob.left[other.id] == 1
	})
	if bob.joined[passing.id] != 1 || bob.joined[other.id] != 2 {
		t.Errorf("bob was told of joins %v", bob.joined)
	}
	bob.silent()
	// Live again, as a member, in every room.
	bob.updates("second", `"t"`)
	bob.acked("room:presence:join", `"roomId":"third"`, `"localapp:third:$:presence:join"`)
	bob.updates("r", `{"seat":2}`)
	other.updates("r", `"live"`)
	mark = p.listed(t, "r")
	bob.sees(mark)
	ack, ackID := other.ask("publish", `"roomId":"r","event":"m","data":1`)
	if !strings.Contains(ack, ackID) {
		t.Errorf("publish: %s", ack)
	}
	if got := bob.read(); !strings.HasPrefix(got, `{"type":"localapp:r::m",`) {
		t.Errorf("bob got %s, want the message", got)
	}
	for _, o := range observers {
		o.sees(mark)
	}
	toldNothing(observers, bob.peer)
	bob.bye()
	other.bye()
	for _, o := range observers {
		o.sees(map[string]string{})
		if o.left[bob.id] != 1 || o.reasons[bob.id] != "closed" {
			t.Errorf("%s: bob left %d times (%s)", o.name, o.left[bob.id], o.reasons[bob.id])
		}
	}
	for _, room := range []string{"second", "third"} {
		eventually(t, room+" is empty", func() bool { return len(p.members(t, room)) == 0 })
	}
}

// After the grace: one leave. Within the retention: rooms and subscriptions,
// no membership.
func TestAfterTheGraceThereIsOneLeave(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	var lost []*audience
	for i, n := range []*node{p.n1, p.n2} {
		lost = append(lost, watching(t, n, fmt.Sprintf("c%d", i), "r"))
	}
	all := slices.Concat(observers, lost)
	for _, c := range lost {
		got, id := c.ask("room:presence:join", `"roomId":"r","userData":1`)
		for got != ack(id, `"localapp:r:$:presence:join"`) {
			c.take(got)
			got = c.read()
		}
	}
	for _, o := range all {
		o.sees(p.listed(t, "r"))
	}
	for i, c := range lost {
		c.silent()
		if i == 0 {
			c.lose()
		} else {
			c.closeWith(4000)
		}
	}
	for _, c := range lost {
		leftAmong(observers, c.peer, "timeout")
	}
	eventually(t, "both are away", func() bool { return p.state(lost[0].peer) == "away" && p.state(lost[1].peer) == "away" })
	last := enter(t, p.n1, "last")
	for i, c := range lost {
		c.peer = c.back([]*node{p.n2, p.n1}[i])
		// What it missed, if anything is told of it, may come first: then it is no member.
		c.takeWhat(t)
		c.refused("room:presence:update", `"roomId":"r","userData":2`, "NotMemberError", 409, "not_member")
	}
	last.joins("r", `"l"`)
	for _, c := range lost {
		c.takeUntil("a join after it came back", func() bool { return c.joined[last.id] == 1 })
	}
	lost[0].acked("room:presence:leave", `"roomId":"r"`, `"localapp:r:$:presence:leave"`)
	want := p.listed(t, "r")
	if len(want) != 1 {
		t.Errorf("Redis lists %v, want one", want)
	}
	for _, o := range observers {
		o.sees(want)
		o.silent()
	}
	for _, c := range lost { // as new, without joining the room again
		got, id := c.ask("room:presence:join", `"roomId":"r","userData":3`)
		for got != ack(id, `"localapp:r:$:presence:join"`) {
			c.take(got)
			got = c.read()
		}
	}
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
	}
}

// takeWhat takes events until the answer to a question in the room, which
// comes behind what was missed there.
func (a *audience) takeWhat(t *testing.T) {
	t.Helper()
	got, id := a.ask("room:presence:count", `"roomId":"`+a.room+`"`)
	for !strings.Contains(got, `"ackId":"`+id+`"`) {
		a.take(got)
		got = a.read()
	}
}

func TestACleanCloseLeavesAtOnceAndAnythingElseWaits(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	for _, code := range []ws.StatusCode{ws.StatusNormalClosure, ws.StatusGoingAway, 0} {
		c := enter(t, p.n1, fmt.Sprintf("c%d", code))
		c.joins("r", "1")
		for _, o := range observers {
			o.takeUntil("it has joined", func() bool { return o.joined[c.id] == 1 })
		}
		c.closeWith(code)
		leftOnce(observers, c, "closed")
		eventually(t, "its session is gone", func() bool { return p.state(c) == "" })
		// It comes back as nobody.
		c = c.back(p.n2)
		c.refused("room:presence:join", `"roomId":"r"`, "NotInRoomError", 409, "not_in_room")
		c.bye()
	}
	var waiting []*peer
	for _, code := range []ws.StatusCode{4000, 4999, ws.StatusInternalServerError, 1012} {
		c := enter(t, p.n2, fmt.Sprintf("w%d", code))
		c.joins("r", "1")
		for _, o := range observers {
			o.takeUntil("it has joined", func() bool { return o.joined[c.id] == 1 })
		}
		c.closeWith(code)
		p.waits(c)
		toldNothing(observers, c)
		waiting = append(waiting, c)
	}
	for _, c := range waiting {
		leftAmong(observers, c, "timeout")
	}
}

// A connection id is public. It is handed over to its own client alone, and
// with a secret only to who shows it.
func TestAConnectionIsNotHandedToSomebodyElse(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	bob := enter(t, p.n1, "bob")
	bob.joins("r", "1")
	guarded := enterWith(t, p.n1, "guarded", upgradeRequest(credentials("guarded")+"&features=resume"))
	var first struct {
		Body struct {
			ResumeSecret string
			Features     []string
		}
	}
	if err := json.Unmarshal([]byte(guarded.first), &first); err != nil || first.Body.ResumeSecret == "" || len(first.Body.Features) != 1 {
		t.Fatalf("the first frame is %s (%v), want a secret", guarded.first, err)
	}
	guarded.joins("r", "2")
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
	}
	thief, nameless := &peer{name: "thief", id: bob.id}, &peer{id: bob.id}
	secret := "&resumeSecret=" + first.Body.ResumeSecret
	refuse := func() {
		t.Helper()
		for _, n := range []*node{p.n1, p.n2} {
			turnedAway(t, n, thief.returning(""), 403)
			turnedAway(t, n, nameless.returning(""), 403)
			turnedAway(t, n, strings.Replace(bob.returning(""), "connectionId=localapp", "connectionId=otherapp", 1), 403)
			turnedAway(t, n, guarded.returning(""), 403)
			turnedAway(t, n, guarded.returning("&resumeSecret=wrong"), 403)
			turnedAway(t, n, guarded.returning(secret+"x"), 403)
			turnedAway(t, n, strings.Replace(bob.returning(""), bob.key(), "XYZ", 1), 400)
		}
	}
	refuse() // live
	bob.silent()
	guarded.silent()
	bob.lose()
	guarded.lose()
	p.waits(bob)
	p.waits(guarded)
	refuse() // lost
	back := []*peer{bob.back(p.n2), guarded.backWith(p.n2, secret)}
	for _, c := range back {
		c.updates("r", `"mine"`)
	}
	for _, o := range observers {
		o.sees(p.listed(t, "r"))
		o.silent()
		if len(o.left) != 0 {
			t.Errorf("%s was told of leaves %v", o.name, o.reasons)
		}
	}
}

// A request that was sent before the drop resolves on the new socket.
func TestAnAcknowledgementIsOwedToTheNewSocket(t *testing.T) {
	p := startPair(t, unlimited...)
	observers := p.onBoth(t, "r")
	for name, to := range map[string]*node{"the same node": p.n1, "another node": p.n2} {
		t.Run(name, func(t *testing.T) {
			bob := enter(t, p.n1, "bob")
			bob.joins("r", "1")
			for _, o := range observers {
				o.t = t
				o.sees(p.listed(t, "r"))
			}
			texts, ids := make([]string, 3), make([]string, 3)
			for i := range texts {
				texts[i], ids[i] = bob.request("room:presence:update", fmt.Sprintf(`"roomId":"r","userData":"late %d"`, i))
			}
			p.redis.Pause(t)
			for _, text := range texts {
				bob.send(text)
			}
			bob.silent() // the node has read them
			bob.lose()
			p.redis.Resume(t)
			p.waits(bob)
			bob = bob.back(to)
			done, want := map[string]bool{}, "1" // what was sent to Redis in time is stored, the rest refused
			for range ids {
				got := bob.read()
				for i, id := range ids {
					switch {
					case got == ack(id, `"localapp:r:$:presence:update"`):
						done[id], want = true, fmt.Sprintf(`"late %d"`, i)
					case strings.Contains(got, `"ackId":"`+id+`"`):
						bob.isRefusal(got, id, "UnavailableError", 503, "unavailable")
						done[id] = true
					}
				}
			}
			if len(done) != 3 {
				t.Errorf("acknowledged: %v, want %v", done, ids)
			}
			bob.silent()
			for _, o := range observers {
				o.sees(p.listed(t, "r"))
				if o.joined[bob.id] != 1 || o.left[bob.id] != 0 {
					t.Errorf("%s: bob joined %d and left %d times", o.name, o.joined[bob.id], o.left[bob.id])
				}
			}
			if got := p.listed(t, "r")[bob.id]; got != want {
				t.Errorf("Redis lists %s, want %s, as was acknowledged", got, want)
			}
			bob.bye()
			for _, o := range observers {
				o.sees(map[string]string{})
			}
		})
	}
}
