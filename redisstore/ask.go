package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// Questions between nodes. Whoever resumes a connection asks the node that had
// it for what its socket is owed. Question and answer travel over ctl, in the
// connection's shard:
//
//	late   <q> <asker> <conn>                       acknowledgements
//	replay <q> <asker> <conn> <app>:<room> <rev|->  events (replay.go)
//	answer <q> <parts that follow> <part of text>  to the asker, in order
//
// The text of an answer has a line for each payload. Its parts are at most
// 64 KiB, and may be cut anywhere; one that is missing spoils the answer. Nothing
// depends on an answer: whoever gets none in time goes on without.
//
// A question that nobody hears is known to be: Redis says how many received it.
// One of an asker that is not in the registry is not answered; an
// acknowledgement that was given away cannot be given twice.

const (
	partBytes     = 64 << 10 // of a message, at most
	answerBytes   = 4 << 20  // of an answer, at most
	questionsMost = 1 << 14  // that wait for an answer
	publishMost   = 1 << 14  // that wait to be published
	publishBytes  = 32 << 20 //
	publishChunk  = 256      // in one pipeline
	// lateTime is how long acknowledgements are waited for: requests that are
	// under way are answered within 2 s.
	lateTime = 2500 * time.Millisecond
	// askerTime is for how long it is known that an asker is in the registry,
	// askersMost how many of them, and askerLooks how many are looked for at
	// the same time.
	askerTime  = 10 * time.Second
	askersMost = 4096
	askerLooks = 16
)

var errMalformed = errors.New("its form is not known")

// question is asked of another node.
type question struct {
	word string
	to   string // stamp
	conn presence.ConnID
	rest string        // behind the connection
	wait time.Duration // for the whole answer
	then func(text []byte, ok bool)

	text  []byte
	left  int64 // parts that follow; -1: none has come
	timer *time.Timer
}

// asked is another node's question.
type asked struct {
	n     uint64
	asker string
	conn  presence.ConnID
}

// notice is to be published. then may be nil.
type notice struct {
	channel, text string
	then          func(received int64, err error)
}

// Late asks the node with stamp from for the acknowledgements that it owes to
// conn. answer is called once, on any goroutine: with nil where there are none,
// or nobody answers.
func (s *Store) Late(conn presence.ConnID, from string, answer func(payloads [][]byte)) {
	if !s.feed.post(func() { s.feed.late(conn, from, answer) }) {
		answer(nil)
	}
}

func (f *feed) late(conn presence.ConnID, from string, answer func([][]byte)) {
	if f.ctl.own(from) {
		f.edge.Late(conn, answer)
		return
	}
	f.ask(question{word: "late", to: from, conn: conn, wait: lateTime, then: func(text []byte, _ bool) {
		answer(splitLines(text))
	}})
}

// splitLines returns the lines of text; none when it is empty.
func splitLines(text []byte) [][]byte {
	if len(text) == 0 {
		return nil
	}
	var list [][]byte
	for line := range strings.SplitSeq(string(text), "\n") {
		list = append(list, []byte(line))
	}
	return list
}

// ask sends q. q.then is called once, on the loop, perhaps at once.
func (f *feed) ask(q question) {
	c := &f.ctl
	if f.closing || len(c.shards) == 0 || !c.shards[q.conn.Shard()].sub.up.hears() || !stampForm(q.to) || len(c.questions) >= questionsMost {
		q.then(nil, false)
		return
	}
	c.lastQuestion++
	n := c.lastQuestion
	c.questions[n], q.left = &q, -1
	q.timer = f.after(q.wait, func() { c.over(n, nil, false) })
	f.publish(notice{
		channel: f.keys.ctl(q.conn.Shard(), q.to),
		text:    fmt.Sprintf("%s %d %s %s%s", q.word, n, c.stamp, q.conn, q.rest),
		then: func(received int64, err error) {
			if err != nil || received == 0 {
				c.over(n, nil, false)
			}
		},
	})
}

// over ends a question.
func (c *ctl) over(n uint64, text []byte, ok bool) {
	if q := c.questions[n]; q != nil {
		delete(c.questions, n)
		q.timer.Stop()
		q.then(text, ok)
	}
}

// haveAnswer takes a part of an answer, `<q> <more> <text>`.
func (c *ctl) haveAnswer(rest string) error {
	number, rest, _ := strings.Cut(rest, " ")
	more, text, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	left, ok := parseDecimal([]byte(more))
	if err != nil || !ok {
		return errMalformed
	}
	q := c.questions[n]
	if q == nil {
		return nil // too late
	}
	if len(q.text)+len(text) > answerBytes || q.left >= 0 && left != q.left-1 {
		c.over(n, nil, false)
		return errors.New("it is too long, or a part of it is missing")
	}
	q.text, q.left = append(q.text, text...), left
	if left == 0 {
		c.over(n, q.text, true)
	}
	return nil
}

// answer sends the text of an answer.
func (f *feed) answer(q asked, text []byte) {
	if len(text) > answerBytes {
		return // the asker would not take it
	}
	channel := f.keys.ctl(q.conn.Shard(), q.asker)
	const most = partBytes - len("answer 18446744073709551615 999 ")
	for more := true; more; {
		part := text[:min(len(text), most)]
		text = text[len(part):]
		more = len(text) > 0
		f.publish(notice{channel: channel, text: fmt.Sprintf("answer %d %d %s", q.n, (len(text)+most-1)/most, part)})
	}
}

// haveQuestion answers another node, `<q> <asker> <conn> …`.
func (c *ctl) haveQuestion(shard int, word, rest string) error {
	number, rest, _ := strings.Cut(rest, " ")
	asker, rest, _ := strings.Cut(rest, " ")
	name, rest, _ := strings.Cut(rest, " ")
	n, err := strconv.ParseUint(number, 10, 64)
	conn, ok := presence.ParseConnID(name)
	if err != nil || !ok || conn.Shard() != shard || !stampForm(asker) {
		return errMalformed
	}
	q := asked{n: n, asker: asker, conn: conn}
	if word == "late" {
		if rest != "" {
			return errMalformed
		}
		c.known(q.asker, func() { c.f.answerLate(q) })
		return nil
	}
	at := strings.LastIndexByte(rest, ' ')
	if at < 0 {
		return errMalformed
	}
	app, room, ok := strings.Cut(rest[:at], ":")
	rev := presence.Revision(0)
	if text := rest[at+1:]; text != "-" {
		rev = parseRevision(text)
	}
	if !ok || app == "" || room == "" || rev < 0 {
		return errMalformed
	}
	c.known(q.asker, func() { c.f.answerReplay(q, roomID{app, room}, rev) })
	return nil
}

// answerLate asks the edge for what it owes. A line break cannot be in it: it
// is JSON without white space.
func (f *feed) answerLate(q asked) {
	f.edge.Late(q.conn, func(payloads [][]byte) {
		var text []byte
		for i, p := range payloads {
			if i > 0 {
				text = append(text, '\n')
			}
			text = append(text, p...)
		}
		f.post(func() { f.answer(q, text) })
	})
}

// known does do when the registry has the asker. It costs a look at Redis every
// askerTime.
func (c *ctl) known(asker string, do func()) {
	now := time.Now()
	if now.Before(c.askers[asker]) {
		do()
		return
	}
	if c.looking >= askerLooks {
		return // it will be asked for again
	}
	c.looking++
	c.f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		there, err := c.f.client().HExists(ctx, c.f.keys.registry(), asker).Result()
		return func() {
			c.looking--
			if err != nil || !there {
				c.f.complainAt(c.f.ups[0], "a node that is not in the registry asks", err)
				return
			}
			if len(c.askers) >= askersMost {
				clear(c.askers)
			}
			c.askers[asker] = now.Add(askerTime)
			do()
		}
	})
}

// stampForm reports whether s can be a stamp, `<node id>.<epoch>`.
func stampForm(s string) bool {
	at := strings.LastIndexByte(s, '.')
	if at <= 0 || len(s) > 256 || strings.ContainsAny(s, "{} \n") {
		return false
	}
	_, ok := parseDecimal([]byte(s[at+1:]))
	return ok
}

// publish sends n soon, in the order of the calls. Where too much waits it is
// not sent.
func (f *feed) publish(n notice) {
	c := &f.ctl
	if len(c.out) >= publishMost || c.outBytes+len(n.text) > publishBytes {
		if n.then != nil {
			n.then(0, errors.New("too much waits to be published"))
		}
		return
	}
	c.out = append(c.out, n)
	c.outBytes += len(n.text)
}

// startPublishing sends what waits, a pipeline at a time.
func (f *feed) startPublishing() {
	c := &f.ctl
	if c.publishing || len(c.out) == 0 {
		return
	}
	chunk := c.out[:min(len(c.out), publishChunk)]
	if c.out = c.out[len(chunk):]; len(c.out) == 0 {
		c.out = nil
	}
	for _, n := range chunk {
		c.outBytes -= len(n.text)
	}
	c.publishing = true
	f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		cmds := make([]*redis.IntCmd, len(chunk))
		pipe := f.client().Pipeline()
		for i, n := range chunk {
			cmds[i] = pipe.SPublish(ctx, n.channel, n.text)
		}
		_, _ = pipe.Exec(ctx) // each command has its error
		return func() {
			c.publishing = false
			for i, n := range chunk {
				if n.then != nil {
					n.then(cmds[i].Val(), cmds[i].Err())
				}
			}
		}
	})
}

// close ends what waits for an answer: it is not to come.
func (c *ctl) close() {
	for n := range c.questions {
		c.over(n, nil, false)
	}
}
