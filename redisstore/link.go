package redisstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// The feed's connection to one master, and what is subscribed on it.
//
// go-redis mends a broken PubSub by itself: it dials again, sends *one*
// SSUBSCRIBE with all channels, and the reader is told nothing, so that the
// events in between are lost without a trace. A link therefore dials once.
// Whatever ends it, an error while reading or writing or our own kill, ends all
// of it; the loop is told, makes a new link, subscribes again in chunks, and
// checks the revision of every hosted room (check.go).
//
//	loop ── commands ──▶ writer ──▶ Redis ──▶ reader ── deliveries ──▶ loop
//
// The writer is there because a write may block, the reader because a read
// does; the loop never does either.

const (
	subscribeChunk = 500 // channels in one command
	reconnectMax   = time.Second
	reconnectMin   = 20 * time.Millisecond
)

var (
	errLinkOver = errors.New("this link dials once")
	errDeaf     = errors.New("what was sent to ourselves did not come back")
)

type verb uint8

const (
	verbSubscribe verb = iota + 1
	verbUnsubscribe
	verbPing
)

type command struct {
	verb  verb
	arg   string
	alone bool // it shares its slot with no other: one command for it
}

// delivery is what a link tells the loop: a message of go-redis, that it is
// up, or (err) that it is over.
type delivery struct {
	link *link
	msg  any
	up   bool
	err  error
}

// link is one connection, used once.
type link struct {
	// set once
	of      *upstream
	opts    *redis.Options
	deliver func(context.Context, delivery)
	kill    context.CancelCauseFunc // ends it; never blocks
	wake    chan struct{}

	// owned by the loop
	up    bool
	since time.Time // when it came up

	// mu protects the following
	mu   sync.Mutex
	out  []command
	conn net.Conn
	over bool // closeConn was called
}

// newLink prepares a link with client's settings; run connects it.
func newLink(client *redis.Client, name string, deliver func(context.Context, delivery)) *link {
	opts := *client.Options()
	dial := opts.Dialer
	l := &link{opts: &opts, deliver: deliver, wake: make(chan struct{}, 1)}
	opts.ClientName = name
	opts.Protocol = 2 // no push messages to look for between two events
	opts.PoolSize, opts.MinIdleConns, opts.MaxRetries = 1, 0, -1
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		l.mu.Lock()
		again := l.conn != nil
		l.mu.Unlock()
		if again || ctx.Err() != nil {
			return nil, errLinkOver
		}
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conn = conn; l.over {
			_ = conn.Close() // ended while it was dialled: a reader of it would wait for ever
			return nil, errLinkOver
		}
		return conn, nil
	}
	return l
}

// run connects, reads and writes until something breaks or ctx ends, and
// delivers the end as its last word.
func (l *link) run(ctx context.Context) {
	client := redis.NewClient(l.opts)
	pubsub := client.SSubscribe(ctx)
	stop := context.AfterFunc(ctx, l.closeConn) // frees a read or write that blocks

	var reader sync.WaitGroup
	err := pubsub.Ping(ctx, pingPayload(0))
	if err == nil {
		l.deliver(ctx, delivery{link: l, up: true})
		reader.Go(func() { l.read(ctx, pubsub) })
		err = l.write(ctx, pubsub)
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause // what ended it, not the write that met the closed connection
	}
	l.kill(err)
	reader.Wait()
	stop()
	l.closeConn()
	_ = pubsub.Close() // the connection is closed already
	_ = client.Close() // so is all that it had
	l.deliver(context.WithoutCancel(ctx), delivery{link: l, err: err})
}

func (l *link) closeConn() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.conn != nil {
		_ = l.conn.Close() // it is given up, whatever it answers
	}
}

func (l *link) read(ctx context.Context, pubsub *redis.PubSub) {
	for {
		msg, err := pubsub.Receive(ctx)
		if err != nil {
			l.kill(err)
			return
		}
		l.deliver(ctx, delivery{link: l, msg: msg})
	}
}

// send queues commands for the writer and never blocks. Calls keep their order.
func (l *link) send(commands ...command) {
	l.mu.Lock()
	l.out = append(l.out, commands...)
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) write(ctx context.Context, pubsub *redis.PubSub) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		}
		l.mu.Lock()
		out := l.out
		l.out = nil
		l.mu.Unlock()
		for len(out) > 0 {
			n := runLength(out)
			if err := writeRun(ctx, pubsub, out[:n]); err != nil {
				return err
			}
			out = out[n:]
		}
	}
}

// runLength is how many commands at the beginning of out are sent as one.
func runLength(out []command) int {
	n := 1
	for n < len(out) && n < subscribeChunk && out[n].verb == out[0].verb && !out[n].alone && !out[0].alone {
		n++
	}
	return n
}

func writeRun(ctx context.Context, pubsub *redis.PubSub, run []command) error {
	if run[0].verb == verbPing { // the last one answers for those before it
		return pubsub.Ping(ctx, run[len(run)-1].arg)
	}
	names := make([]string, len(run))
	for i := range run {
		names[i] = run[i].arg
	}
	if run[0].verb == verbSubscribe {
		return pubsub.SSubscribe(ctx, names...)
	}
	return pubsub.SUnsubscribe(ctx, names...)
}

// An echo is a PING on the link whose payload numbers it.

func pingPayload(n uint64) string { return "echo " + strconv.FormatUint(n, 10) }

func parsePing(payload string) (n uint64, ok bool) {
	const word = "echo "
	if len(payload) < len(word) || payload[:len(word)] != word {
		return 0, false
	}
	n, err := strconv.ParseUint(payload[len(word):], 10, 64)
	return n, err == nil
}

// target is who is behind a channel: a hosted room's events, its messages, or
// the notices to this node. Its methods are called on the loop.
type target interface {
	confirmed(cause string) // what is published from here on arrives
	message(payload string)
}

// subscription is one channel on the current link. Redis answers each command
// once and in order, so what we asked for last is in force when nothing is
// open; a subscribe that overtakes its own unsubscribe waits for both answers.
type subscription struct {
	name   string
	up     *upstream // whose link it is on
	to     target    // nil: not wanted any more
	subs   int       // SSUBSCRIBEs without an answer
	unsubs int       // SUNSUBSCRIBEs without an answer
	on     bool      // confirmed: every message goes to its target
	cause  string    // why it was not, for the one who checks what was missed
}

// subscribe wants the channel name for to, from its confirmation on.
func (f *feed) subscribe(name string, to target) *subscription {
	s := f.subs[name]
	if s == nil {
		s = &subscription{name: name, up: f.ups[0]}
		if u := f.upstreamOf(name); u != nil {
			s.up = u
		}
		f.subs[name] = s
	}
	s.to = to
	s.request(causeStart)
	return s
}

// request sends SSUBSCRIBE, now or when there is a link, to the master that has
// the slot by now. Where that is not known it is tried again soon: to ask another
// one is an error, which ends its link.
func (s *subscription) request(cause string) {
	s.on, s.cause = false, cause
	f := s.up.f
	switch u := f.upstreamOf(s.name); {
	case u == nil:
		f.moved()
		f.after(movedPause, func() {
			if s.to != nil && !s.on && s.subs == 0 {
				s.request(cause)
			}
		})
		return
	case u != s.up:
		if _, own := s.to.(*shardCtl); !own { // those are moved together, see follow
			s.move(u)
			return
		}
	}
	if l := s.up.link; l != nil && l.up {
		s.subs++
		l.send(command{verbSubscribe, s.name, s.up.f.crowded()})
	}
}

// crowded reports whether the channels of a link are in several slots, which
// one command must not name.
func (f *feed) crowded() bool { return f.route != nil }

// move has another master bring the channel.
func (s *subscription) move(to *upstream) {
	if l := s.up.link; l != nil && l.up && s.on { // where the slot has moved Redis has ended it already
		l.send(command{verbUnsubscribe, s.name, true})
	}
	s.up, s.subs, s.unsubs = to, 0, 0
	if r, ok := s.to.(*hosted); ok {
		r.suspect()
		to.suspected = true
	}
	if s.to == nil {
		delete(to.f.subs, s.name)
		return
	}
	s.request(causeMoved)
}

// unsubscribe gives the channel up; nothing of it is passed on from here.
func (f *feed) unsubscribe(s *subscription) {
	s.to, s.on = nil, false
	if l := s.up.link; l != nil && l.up {
		s.unsubs++
		l.send(command{verbUnsubscribe, s.name, f.crowded()})
	}
	f.forget(s)
}

// forget drops the record of a channel when nothing hangs on it any more.
func (f *feed) forget(s *subscription) {
	if s.to == nil && s.subs == 0 && s.unsubs == 0 {
		delete(f.subs, s.name)
	}
}

// answered is told of each answer to SSUBSCRIBE and SUNSUBSCRIBE.
func (u *upstream) answered(msg *redis.Subscription) {
	f, s := u.f, u.f.subs[msg.Channel]
	if s == nil || s.up != u {
		return
	}
	switch {
	case msg.Kind == "ssubscribe":
		s.subs = max(0, s.subs-1)
	case s.unsubs > 0:
		s.unsubs--
	case s.to != nil: // nobody asked: the slot has moved
		if shard, ok := s.to.(*shardCtl); ok {
			shard.ended()
		}
		s.on = false
		f.complainAt(u, "redis ended a subscription, subscribing again", nil)
		f.resubscribe(s, u.link)
		return
	}
	if s.to != nil && !s.on && s.subs == 0 && s.unsubs == 0 {
		s.on = true
		s.to.confirmed(s.cause)
	}
	f.forget(s)
}

// movedPause is how long the masters are looked for when a slot has moved,
// before its channels are asked for again where they were.
const movedPause = 200 * time.Millisecond

// resubscribe asks for a channel that Redis ended: where its slot is by then.
// Where there is no second master it is asked for at once.
func (f *feed) resubscribe(s *subscription, on *link) {
	again := func() {
		if s.to != nil && !s.on && s.subs == 0 && s.up.link == on {
			s.request(causeMoved)
		}
	}
	if !f.crowded() {
		again()
		return
	}
	f.moved()
	f.after(movedPause, again)
}

// connect makes a new link. linkUp and linkOver continue.
func (u *upstream) connect() {
	f := u.f
	if f.closing || u.gone {
		return
	}
	l := newLink(u.client, linkName(u.client), f.deliver)
	ctx, kill := context.WithCancelCause(context.Background())
	l.of, l.kill = u, kill
	u.link = l
	f.spawn(func(stop context.Context) {
		defer context.AfterFunc(stop, func() { kill(context.Cause(stop)) })()
		l.run(ctx)
	})
}

// linkUp subscribes all that is wanted, our own notices first.
func (u *upstream) linkUp() {
	u.link.up, u.link.since = true, time.Now()
	f := u.f
	f.met()
	u.resetEchoes()
	u.deaf()
	for _, s := range u.heard.shards {
		s.sub.request(causeReconnect)
	}
	for _, s := range f.subs {
		if _, own := s.to.(*shardCtl); s.to != nil && !own && s.up == u {
			s.request(causeReconnect)
		}
	}
}

// abandon ends the link now, without waiting for its last word.
func (u *upstream) abandon(err error) {
	u.link.kill(err)
	u.linkOver(err)
}

// linkOver forgets what was in force on the link and tries again: at once
// after a link that had worked for a while, else in doubling steps, with
// jitter so that the nodes do not come at the same moment.
func (u *upstream) linkOver(err error) {
	f := u.f
	switch l := u.link; {
	case u.gone:
	case l.up:
		f.log.Warn("lost the feed from redis, connecting again", "master", u.name, "err", err)
		if time.Since(l.since) > reconnectMax {
			u.attempts = 0
		}
	case u.attempts == 1:
		f.log.Warn("no feed from redis, trying again", "master", u.name, "err", err)
	}
	u.link = nil
	u.resetEchoes()
	u.deaf()
	for _, s := range f.subs {
		if s.up != u {
			continue
		}
		if r, ok := s.to.(*hosted); ok {
			r.suspect()
		}
		s.on, s.subs, s.unsubs = false, 0, 0
		f.forget(s)
	}
	if u.gone {
		return
	}
	u.suspected = true
	f.after(f.doubted, f.release)
	f.moved() // another server may have its place
	var wait time.Duration
	if u.attempts > 0 {
		wait = min(reconnectMax, reconnectMin<<min(u.attempts, 10))
		wait = wait/2 + rand.N(wait/2)
	}
	u.attempts++
	f.after(wait, u.connect)
}
