package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// bystander is an edge that notes what it is told and answers as it was set up.
type bystander struct {
	noEdge
	taken chan presence.Held

	mu    sync.Mutex
	owed  map[presence.ConnID][][]byte
	asked []presence.ConnID
	held  []presence.Held
	hold  chan struct{} // nil: connections are told at once
}

func newBystander() *bystander {
	return &bystander{taken: make(chan presence.Held, 1<<12), owed: make(map[presence.ConnID][][]byte)}
}

func (b *bystander) Taken(conn presence.ConnID, inc int64) {
	b.taken <- presence.Held{Conn: conn, Inc: inc}
}

func (b *bystander) Late(conn presence.ConnID, answer func([][]byte)) {
	b.mu.Lock()
	payloads := b.owed[conn]
	b.asked = append(b.asked, conn)
	b.mu.Unlock()
	answer(payloads)
}

func (b *bystander) Connections(answer func([]presence.Held)) {
	b.mu.Lock()
	held, hold := slices.Clone(b.held), b.hold
	b.mu.Unlock()
	if hold == nil {
		answer(held)
		return
	}
	go func() { <-hold; answer(held) }()
}

// calls is how often acknowledgements were asked for.
func (b *bystander) calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.asked)
}

// next is the next connection that was taken.
func (b *bystander) next(t testing.TB) presence.Held {
	t.Helper()
	select {
	case h := <-b.taken:
		return h
	case <-time.After(waitFor):
		t.Fatal("no connection was taken")
		panic("unreachable")
	}
}

// newNode is a feed of a node with this stamp, beside others of the same
// prefix.
func newNode(t *testing.T, s *redistest.Server, prefix, stamp string) (*rig, *bystander) {
	t.Helper()
	r, b := newRig(t, s), newBystander()
	r.feed.keys, r.feed.edge = keys{prefix}, b
	r.start()
	r.setStamp(stamp)
	r.until("the notices of "+stamp+" are subscribed", func() bool { return r.ups[0].heard.sure })
	if err := r.redis.HSet(t.Context(), r.feed.keys.registry(), stamp, "{}").Err(); err != nil {
		t.Fatal(err)
	}
	return r, b
}

// tell publishes a notice in conn's shard.
func (r *rig) tell(stamp string, c presence.ConnID, line string) {
	r.t.Helper()
	if err := r.redis.SPublish(r.t.Context(), r.feed.keys.ctl(c.Shard(), stamp), line).Err(); err != nil {
		r.t.Fatal(err)
	}
}

// owed asks for the acknowledgements that are owed to c.
func (r *rig) owed(c presence.ConnID, from string) [][]byte {
	r.t.Helper()
	answer := make(chan [][]byte, 2)
	r.onLoop(func() { r.late(c, from, func(payloads [][]byte) { answer <- payloads }) })
	select {
	case payloads := <-answer:
		return payloads
	case <-time.After(waitFor):
		r.t.Fatal("the question was never answered")
		panic("unreachable")
	}
}

func TestTakenIsHeardInEveryShard(t *testing.T) {
	r, edge := newNode(t, redistest.Shared(t), redistest.Prefix(t), "n1.1")
	count := func(stamp string) (n int64) {
		var names []string
		for i := range shards {
			names = append(names, r.feed.keys.ctl(i, stamp))
		}
		counts, err := r.redis.PubSubShardNumSub(t.Context(), names...).Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range counts {
			n += c
		}
		return n
	}
	if n := count("n1.1"); n != shards {
		t.Errorf("%d subscriptions, want %d", n, shards)
	}
	for _, shard := range []byte{0, 7, 255} {
		c := conn(shard)
		r.tell("n1.1", c, fmt.Sprintf("taken %s %d", c, 1000+int64(shard)))
		if got, want := edge.next(t), (presence.Held{Conn: c, Inc: 1000 + int64(shard)}); got != want {
			t.Errorf("shard %d: taken is %+v, want %+v", shard, got, want)
		}
	}
	r.setStamp("n1.2")
	r.until("the new notices are subscribed", func() bool { return r.ups[0].heard.sure })
	if before, now := count("n1.1"), count("n1.2"); before != 0 || now != shards {
		t.Errorf("subscriptions of the old stamp %d, of the new one %d; want 0 and %d", before, now, shards)
	}
}

func TestNoticesOfAnotherFormAreIgnored(t *testing.T) {
	r, edge := newNode(t, redistest.Shared(t), redistest.Prefix(t), "n1.1")
	c, other := conn(0xab), conn(0xac)
	var old *link
	r.onLoop(func() { old = r.ups[0].link })
	long := strings.Repeat("9", 1000)
	for _, line := range []string{
		"", " ", "probe", "probe x", "probe " + long, "taken", "taken " + c.String(), "taken " + c.String() + " x",
		"taken " + c.String() + " -1", "taken " + c.String() + " " + long, "taken " + c.String() + " 1 2",
		"taken " + strings.ToUpper(c.String()) + " 1", "taken " + other.String() + " 1", // another shard's
		"kick", "kick " + c.String() + " 1", "new words of a newer version",
		"answer", "answer 1", "answer x 0 y", "answer 1 x y", "answer 1 -1 y", "answer " + long + " 0 y",
		"late", "late 1", "late 1 n1.1", "late x n1.1 " + c.String(), "late 1 n1.1 " + c.String() + " more",
		"late 1 n1 " + c.String(), "late 1 {n}.1 " + c.String(), "late 1 .1 " + c.String(), "late 1 n1.1 " + other.String(),
		"late 1 " + long + ".1 " + c.String(), "late -1 n1.1 " + c.String(),
		"replay", "replay 1 n1.1 " + c.String(), "replay 1 n1.1 " + c.String() + " app1:a", "replay 1 n1.1 " + c.String() + " app1:a x",
		"replay 1 n1.1 " + c.String() + " app1:a -1", "replay 1 n1.1 " + c.String() + " a -", "replay 1 n1.1 " + c.String() + " :a -",
		"replay 1 n1.1 " + c.String() + " app1: -", "replay 1 n1.1 " + c.String() + " app1:a " + long,
	} {
		r.tell("n1.1", c, line)
	}
	r.tell("n1.1", c, "taken "+c.String()+" 5")
	if got, want := edge.next(t), (presence.Held{Conn: c, Inc: 5}); got != want {
		t.Errorf("taken is %+v, want %+v", got, want)
	}
	r.onLoop(func() {
		if r.ups[0].link != old || r.ctl.looking > 0 || len(r.ctl.questions) > 0 || len(r.released()) > 0 {
			t.Errorf("after notices of another form: looking for %d askers, %d questions, new link %v", r.ctl.looking, len(r.ctl.questions), r.ups[0].link != old)
		}
	})
	if n := edge.calls(); n > 0 {
		t.Errorf("the edge was asked %d times", n)
	}
}

// released is who waits for an old socket to be let go.
func (r *rig) released() map[presence.ConnID][]*recall { return r.handovers.waiting }

func TestOwedAcknowledgementsComeFromTheOldNode(t *testing.T) {
	server, prefix := redistest.Shared(t), redistest.Prefix(t)
	_, edge := newNode(t, server, prefix, "n1.1")
	r, own := newNode(t, server, prefix, "n2.1")
	c := conn(9)
	want := [][]byte{[]byte(`{"type":"ack","é":1}`), []byte(`{"data":"` + strings.Repeat("x", 3*partBytes) + `"}`), []byte(`{}`)}
	edge.owed[c] = want
	sub := r.redis.SSubscribe(t.Context(), r.feed.keys.ctl(c.Shard(), "n2.1"))
	defer func() { _ = sub.Close() }() // a second close is an error, and harmless
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, r.owed(c, "n1.1")); diff != "" {
		t.Errorf("acknowledgements (-want +got):\n%s", diff)
	}
	for parts, more := 1, true; more; parts++ {
		msg, err := sub.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(msg.Payload) > partBytes {
			t.Errorf("a part has %d bytes, want at most %d", len(msg.Payload), partBytes)
		}
		more = parts < 4
	}
	if got := r.owed(conn(10), "n1.1"); got != nil {
		t.Errorf("a connection to which nothing is owed: %q, want none", got)
	}
	// Those of this process are asked directly, under an earlier stamp, too.
	own.owed[c] = want[:1]
	r.setStamp("n2.2")
	for _, from := range []string{"n2.1", "n2.2"} {
		if diff := cmp.Diff(want[:1], r.owed(c, from)); diff != "" {
			t.Errorf("acknowledgements of %s (-want +got):\n%s", from, diff)
		}
	}
}

func TestQuestionThatNobodyHearsHasNoAnswerAtOnce(t *testing.T) {
	r, _ := newNode(t, redistest.Shared(t), redistest.Prefix(t), "n1.1")
	for _, to := range []string{"n9.1", "", "n9", "{n9}.1"} {
		answered := make(chan bool, 2)
		r.onLoop(func() {
			r.feed.ask(question{word: "late", to: to, conn: conn(1), wait: time.Hour, then: func(_ []byte, ok bool) { answered <- ok }})
		})
		select {
		case ok := <-answered:
			if ok {
				t.Errorf("a question to %q has an answer", to)
			}
		case <-time.After(waitFor):
			t.Errorf("a question to %q waits for its hour to be over", to)
		}
	}
}

func TestQuestionsEndWithTheLinkAndWithTheFeed(t *testing.T) {
	server, prefix := redistest.Start(t), redistest.Prefix(t)
	r, _ := newNode(t, server, prefix, "n1.1")
	sub := r.redis.SSubscribe(t.Context(), r.feed.keys.ctl(1, "n9.1")) // hears and says nothing
	defer func() { _ = sub.Close() }()                                 // a second close is an error, and harmless
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	answered := make(chan bool, 4)
	ask := func() {
		r.feed.ask(question{word: "late", to: "n9.1", conn: conn(1), wait: time.Hour, then: func(_ []byte, ok bool) { answered <- ok }})
	}
	r.onLoop(ask)
	r.until("it is published", func() bool { return !r.ctl.publishing && len(r.ctl.out) == 0 })
	r.onLoop(func() { r.ups[0].link.kill(errDeaf) }) // a part of the answer may be lost
	if <-answered {
		t.Error("it has an answer")
	}
	r.until("the notices are subscribed", func() bool { return r.ups[0].heard.sure })
	r.onLoop(ask)
	r.until("it is published", func() bool { return !r.ctl.publishing && len(r.ctl.out) == 0 })
	r.end()
	if <-answered {
		t.Error("it has an answer")
	}
	s := &Store{feed: r.feed}
	s.Late(conn(1), "n9.1", func([][]byte) { answered <- false })
	<-answered
}

func TestAskerThatIsNotInTheRegistryGetsNothing(t *testing.T) {
	server, prefix := redistest.Shared(t), redistest.Prefix(t)
	r, edge := newNode(t, server, prefix, "n1.1")
	c := conn(9)
	edge.owed[c] = [][]byte{[]byte(`{}`)}
	ask := func(asker string) {
		r.tell("n1.1", c, "late 1 "+asker+" "+c.String())
		r.tell("n1.1", c, "taken "+c.String()+" 1") // comes behind it
		edge.next(t)
		r.until("the registry was looked at", func() bool { return r.ctl.looking == 0 })
	}
	ask("n2.1")
	if n := edge.calls(); n != 0 {
		t.Errorf("the edge was asked %d times for a node that is not registered", n)
	}
	r.redis.HSet(t.Context(), r.feed.keys.registry(), "n2.1", "{}")
	ask("n2.1")
	if n := edge.calls(); n != 1 {
		t.Errorf("the edge was asked %d times for a node that is registered, want once", n)
	}
	r.onLoop(func() {
		r.ctl.looking = askerLooks // as many are looked for
		r.ctl.known("n3.1", func() { t.Error("an asker that nobody looked for is known") })
		if r.ctl.looking != askerLooks {
			t.Errorf("%d askers are looked for, want at most %d", r.ctl.looking, askerLooks)
		}
	})
	r.tell("n1.1", c, "late 1 n2.1 "+c.String()) // is known, and costs no look
	r.tell("n1.1", c, "taken "+c.String()+" 1")
	edge.next(t)
	r.onLoop(func() { r.ctl.looking = 0 })
	if n := edge.calls(); n != 2 {
		t.Errorf("the edge was asked %d times, want twice", n)
	}
}

func TestQuestionsAndAnswersAreBounded(t *testing.T) {
	r, _ := newNode(t, redistest.Shared(t), redistest.Prefix(t), "n1.1")
	r.onLoop(func() {
		c := &r.ctl
		answers, good := 0, 0
		q := question{word: "late", to: "n9.1", conn: conn(1), wait: time.Hour, then: func(_ []byte, ok bool) {
			if answers++; ok {
				good++
			}
		}}
		c.publishing = true // nothing leaves
		for range questionsMost + 10 {
			r.feed.ask(q)
		}
		if len(c.questions) != questionsMost || answers != 10 {
			t.Errorf("%d questions wait and %d were refused, want %d and 10", len(c.questions), answers, questionsMost)
		}
		c.close()
		if len(c.questions) != 0 || answers != questionsMost+10 || good != 0 {
			t.Errorf("%d questions wait and %d have no answer, want all to have none", len(c.questions), answers)
		}
		c.out, c.outBytes = nil, 0

		refused := 0
		note := notice{channel: "x", text: strings.Repeat("x", partBytes), then: func(int64, error) { refused++ }}
		for range publishBytes/partBytes + 5 {
			r.publish(note)
		}
		if len(c.out) != publishBytes/partBytes || refused != 5 {
			t.Errorf("%d notices wait and %d were refused, want %d and 5", len(c.out), refused, publishBytes/partBytes)
		}
		c.out, c.outBytes, c.publishing = nil, 0, false

		answers, good = 0, 0
		for _, parts := range [][]string{
			{"2 a", "0 b"},        // a part is missing
			{"1 a", "1 a", "0 b"}, // a part came twice
			slices.Repeat([]string{"100 " + strings.Repeat("x", answerBytes)}, 2),
		} {
			c.questions[77] = &question{then: q.then, left: -1, timer: time.AfterFunc(time.Hour, func() {})}
			for _, part := range parts {
				_ = c.haveAnswer("77 " + part) // an error is logged, no more
			}
			if c.questions[77] != nil {
				t.Errorf("a question waits behind the parts %.20q", parts)
			}
		}
		if answers != 3 || good != 0 {
			t.Errorf("%d of %d answers were taken for good", good, answers)
		}
	})
}
