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
	verb verb
	arg  string
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
	for n < len(out) && n < subscribeChunk && out[n].verb == out[0].verb {
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
	to     target // nil: not wanted any more
	subs   int    // SSUBSCRIBEs without an answer
	unsubs int    // SUNSUBSCRIBEs without an answer
	on     bool   // confirmed: every message goes to its target
	cause  string // why it was not, for the one who checks what was missed
}

// subscribe wants the channel name for to, from its confirmation on.
func (f *feed) subscribe(name string, to target) *subscription {
	s := f.subs[name]
	if s == nil {
		s = &subscription{name: name}
		f.subs[name] = s
	}
	s.to = to
	f.request(s, causeStart)
	return s
}

// request sends SSUBSCRIBE, now or when there is a link.
func (f *feed) request(s *subscription, cause string) {
	s.on, s.cause = false, cause
	if f.link != nil && f.link.up {
		s.subs++
		f.link.send(command{verbSubscribe, s.name})
	}
}

// unsubscribe gives the channel up; nothing of it is passed on from here.
func (f *feed) unsubscribe(s *subscription) {
	s.to, s.on = nil, false
	if f.link != nil && f.link.up {
		s.unsubs++
		f.link.send(command{verbUnsubscribe, s.name})
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
func (f *feed) answered(msg *redis.Subscription) {
	s := f.subs[msg.Channel]
	if s == nil {
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
		f.log.Warn("redis ended a subscription, subscribing again", "master", f.master, "channel", s.name)
		f.request(s, causeMoved)
		return
	}
	if s.to != nil && !s.on && s.subs == 0 && s.unsubs == 0 {
		s.on = true
		s.to.confirmed(s.cause)
	}
	f.forget(s)
}

// connect makes a new link. linkUp and linkOver continue.
func (f *feed) connect() {
	if f.closing {
		return
	}
	l := newLink(f.client, f.linkName(), f.deliver)
	ctx, kill := context.WithCancelCause(context.Background())
	l.kill = kill
	f.link = l
	f.spawn(func(stop context.Context) {
		defer context.AfterFunc(stop, func() { kill(context.Cause(stop)) })()
		l.run(ctx)
	})
}

// linkUp subscribes all that is wanted, our own notices first.
func (f *feed) linkUp(l *link) {
	l.up, l.since = true, time.Now()
	f.resetEchoes()
	f.ctl.request()
	for _, s := range f.subs {
		if _, own := s.to.(*shardCtl); s.to != nil && !own {
			f.request(s, causeReconnect)
		}
	}
}

// abandon ends the link now, without waiting for its last word.
func (f *feed) abandon(err error) {
	f.link.kill(err)
	f.linkOver(err)
}

// linkOver forgets what was in force on the link and tries again: at once
// after a link that had worked for a while, else in doubling steps, with
// jitter so that the nodes do not come at the same moment.
func (f *feed) linkOver(err error) {
	switch l := f.link; {
	case l.up:
		f.log.Warn("lost the feed from redis, connecting again", "master", f.master, "err", err)
		if time.Since(l.since) > reconnectMax {
			f.attempts = 0
		}
	case f.attempts == 1:
		f.log.Warn("no feed from redis, trying again", "master", f.master, "err", err)
	}
	f.link = nil
	f.resetEchoes()
	f.ctl.deaf()
	for _, s := range f.subs {
		s.on, s.subs, s.unsubs = false, 0, 0
		f.forget(s)
	}
	var wait time.Duration
	if f.attempts > 0 {
		wait = min(reconnectMax, reconnectMin<<min(f.attempts, 10))
		wait = wait/2 + rand.N(wait/2)
	}
	f.attempts++
	f.after(wait, f.connect)
}
