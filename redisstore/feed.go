package redisstore

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/metrics"
)

// The feed brings events from Redis to the rooms that this node hosts.
//
//	watch: subscribe ─▶ confirmed ─▶ snapshot ─▶ answer, buffered events ─▶ live
//	event: link ─▶ judged against the room's last revision (resync.go) ─▶ sink
//	gap:   snapshot ─▶ compare with the replica ─▶ the difference ─▶ sink
//	lost link: new link ─▶ subscribe again ─▶ check every room's revision
//	unwatch: deliver nothing from here ─▶ 5 s ─▶ unsubscribe
//
// One goroutine, the loop, owns all rooms and calls all sinks and all
// completions: that is what puts a watch's answer before every event above the
// answered revision. The loop never waits for Redis: a link has a reader and a
// writer (link.go), reads of rooms run beside it, at most 32 at a time.
// Everybody else posts to the loop.
//
// There is one feed, with a link for each master (upstream.go).
//
// Files: link.go a connection and its channels, hosted.go a room's events,
// resync.go what they mean (pure), check.go whether some were missed,
// listener.go a room's messages, shown.go lists on their way to a reader,
// audience.go who is told, echo.go when all has come, ctl.go notices to this
// node, ask.go what nodes ask each other, recheck.go what
// they missed, ring.go a room's past, replay.go
// subscriptions that are resumed, handover.go where their old sockets were.

// The causes of a resync, as the metric has them.
const (
	causeStart     = "start"     // first snapshot of a room
	causeGap       = "gap"       // an event's predecessor is missing
	causeReconnect = "reconnect" // the link was lost
	causeMoved     = "moved"     // Redis ended the subscription
	causeBack      = "back"      // the room's revisions went back
	causeAudit     = "audit"     // changed without an event, found by the audit
	causeDoubt     = "doubt"     // Redis may have lost what it had told
)

const (
	// watchTimeout is when a watch that could not begin is refused: inside
	// the 2 s within which every operation is answered.
	watchTimeout = 1800 * time.Millisecond
	// lingerTime is how long a room stays subscribed after its last
	// subscriber. More costs events nobody needs, less costs a snapshot for
	// each page that is loaded again.
	lingerTime = 5 * time.Second
	// deliveries is how many messages may wait for the loop before the reader
	// stops reading. Redis then keeps them in its output buffer.
	deliveries = 1024
	// turnMost is how many deliveries the loop takes before it looks at the
	// other things that it has to do.
	turnMost = 256
)

// feedStore is what the feed needs from the store. Both methods block for at
// most the time that ctx has.
type feedStore interface {
	// readRoom returns the room as it is, at one revision.
	readRoom(ctx context.Context, app, room string) (presence.Snapshot, error)
	// mark moves the room's revision up to floor when it is below it, and
	// returns the revision after it; 0 when there is no room.
	mark(ctx context.Context, app, room string, floor presence.Revision) (presence.Revision, error)
}

// roomID names a room among those of all apps.
type roomID struct{ app, room string }

// feed brings what happens in rooms.
type feed struct {
	// set once
	client   func() redis.UniversalClient // of all masters, as they are now
	keys     keys
	log      *slog.Logger
	metrics  *metrics.Metrics
	store    feedStore
	moved    func()        // asks for a look at which masters there are; never blocks
	mended   func() bool   // what Redis may have lost is there again
	met      func()        // asks whether a server is the one that it was: see vouch; never blocks
	doubted  time.Duration // how long members may be missing that Redis lost; 0: it loses none
	linger   time.Duration // lingerTime, shorter in tests
	audit    time.Duration // auditTime, shorter in tests
	edge     presence.Edge // whose connections the notices are about
	retained retained      // what a room keeps of its past
	in       chan delivery
	results  chan func()   // from work beside the loop, done on the loop
	wake     chan struct{} // posted is not empty
	done     chan struct{} // closed when the loop has ended
	started  time.Time

	// atomic
	listening atomic.Pointer[[shards]*upstream] // by shard of connections: whose notices they are

	// mu protects the following
	mu     sync.Mutex
	posted []func()
	closed bool

	// owned by the loop
	spawn      func(func(context.Context)) // begins work beside the loop; stop waits for it
	work       sync.WaitGroup
	closing    bool
	complained time.Time // last line of those that come in crowds
	ups        []*upstream
	route      func(channel string) string // names the master of a channel's slot; nil: there is one master
	subs       map[string]*subscription
	rooms      map[roomID]*hosted
	messages   map[roomID]*listener
	ctl        ctl
	handovers  handovers
	ageing     ageing
	reads      readQueue
	lists      listQueue
	checks     checkQueue
}

// newFeed makes a feed that does nothing before run. It listens to first, until
// it is told otherwise (setMasters).
func newFeed(client func() redis.UniversalClient, first source, k keys, log *slog.Logger, m *metrics.Metrics, store feedStore) *feed {
	f := &feed{
		client: client, keys: k, log: log, metrics: m, store: store,
		moved:   func() {},
		mended:  func() bool { return true },
		met:     func() {},
		linger:  lingerTime,
		audit:   auditTime,
		edge:    new(edge),
		in:      make(chan delivery, deliveries),
		results: make(chan func()),
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		started: time.Now(),

		subs:     make(map[string]*subscription),
		rooms:    make(map[roomID]*hosted),
		messages: make(map[roomID]*listener),
	}
	f.ups = []*upstream{{f: f, source: first}}
	f.retain(10*time.Second, 1000, 256<<10)
	f.ctl.f, f.ageing.f = f, f
	f.ctl.had, f.ctl.askers = make(map[string]bool), make(map[string]time.Time)
	f.ctl.questions = make(map[uint64]*question)
	f.handovers.of, f.handovers.waiting = make(map[presence.ConnID]*handover), make(map[presence.ConnID][]*recall)
	return f
}

// retain says how much of a room's past is kept, for a socket that may come
// back within grace. To be called before run.
func (f *feed) retain(grace time.Duration, events, bytes int) {
	f.retained = retained{events: events, bytes: bytes, age: grace + opLife}
}

// linkName is how CLIENT LIST shows a link with client's settings.
func linkName(client *redis.Client) string {
	name := client.Options().ClientName
	if name == "" {
		name = "presence"
	}
	return name + "-feed"
}

// watch hosts op's room: op.Sink gets its events above the revision that op is
// answered with. It never blocks; an error means that op will not be answered,
// because the feed is closed. A watch of a room that is hosted replaces its
// sink. Where hosting cannot begin in time, op is answered `unavailable`.
func (f *feed) watch(op *presence.Op) *presence.Error { return f.admit(op, f.host) }

// watchMessages passes the room's messages to op.Sink from the answer on.
// Otherwise it is as watch.
func (f *feed) watchMessages(op *presence.Op) *presence.Error { return f.admit(op, f.listen) }

func (f *feed) admit(op *presence.Op, begin func(*presence.Op, time.Time)) *presence.Error {
	now := time.Now()
	if !f.post(func() { begin(op, now) }) {
		return errFeedClosed()
	}
	return nil
}

func errFeedClosed() *presence.Error {
	return presence.Errorf(presence.CodeUnavailable, "the node is shutting down")
}

// unwatch drops the room's sink: the last local subscriber is gone. An event
// that is being told just now may still come. The room stays subscribed for 5 s,
// in which a watch needs no snapshot. It never blocks.
func (f *feed) unwatch(app, room string) {
	f.post(func() {
		if r := f.rooms[roomID{app, room}]; r != nil {
			r.release()
		}
	})
}

// unwatchMessages is unwatch for the room's messages.
func (f *feed) unwatchMessages(app, room string) {
	f.post(func() {
		if l := f.messages[roomID{app, room}]; l != nil {
			l.release()
		}
	})
}

// post has do done on the loop, in the order of the calls. It never blocks and
// returns false when the feed is closed. Callers bound what they post by their
// own operations in flight.
func (f *feed) post(do func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.posted = append(f.posted, do)
	select {
	case f.wake <- struct{}{}:
	default:
	}
	return true
}

// after posts do after d.
func (f *feed) after(d time.Duration, do func()) *time.Timer {
	return time.AfterFunc(d, func() { f.post(do) })
}

// deliver hands what a link brought to the loop. It blocks when the loop is
// behind, until ctx ends or the feed closes.
func (f *feed) deliver(ctx context.Context, d delivery) {
	select {
	case f.in <- d:
	case <-ctx.Done():
	case <-f.done:
	}
}

// beside runs work beside the loop, and then what it returns on the loop.
func (f *feed) beside(work func(context.Context) func()) {
	f.spawn(func(ctx context.Context) {
		do := work(ctx)
		select {
		case f.results <- do:
		case <-f.done:
		}
	})
}

// run is the loop. It returns when ctx ends, after everything that it began has
// ended and every watch that waited has been answered.
func (f *feed) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	f.spawn = func(work func(context.Context)) { f.work.Go(func() { work(ctx) }) }
	for _, u := range f.ups {
		u.connect()
	}
	f.after(f.audit, f.auditAll)
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-f.wake:
			f.doPosted()
		case do := <-f.results:
			do()
		case d := <-f.in:
			f.take(d)
			for i := 0; i < turnMost && len(f.in) > 0; i++ {
				f.take(<-f.in)
			}
		}
		f.endTurn()
	}
	f.stop(cancel)
}

func (f *feed) doPosted() {
	f.mu.Lock()
	posted := f.posted
	f.posted = nil
	f.mu.Unlock()
	for _, do := range posted {
		do()
	}
}

// take acts on what a link brought.
func (f *feed) take(d delivery) {
	u := d.link.of
	if d.link != u.link {
		return // of a link that we gave up
	}
	switch msg := d.msg.(type) {
	case *redis.Message:
		if s := f.subs[msg.Channel]; s != nil && s.on && s.up == u {
			s.to.message(msg.Payload)
		}
	case *redis.Subscription:
		u.answered(msg)
	case *redis.Pong:
		u.echoed(msg.Payload)
	default:
		if d.up {
			u.linkUp()
		} else {
			u.linkOver(d.err)
		}
	}
}

// endTurn begins what this turn of the loop has gathered.
func (f *feed) endTurn() {
	f.startReads()
	f.startLists()
	f.startCheck()
	f.startPublishing()
	for _, u := range f.ups {
		if u.echo.wanted {
			u.sendEcho()
		}
	}
}

// stop ends everything and answers whoever waits.
func (f *feed) stop(cancel context.CancelFunc) {
	f.closing = true
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.doPosted() // watches among them find closing
	for _, r := range f.rooms {
		r.close()
	}
	for _, l := range f.messages {
		l.close()
	}
	f.ctl.close()
	cancel()
	close(f.done)
	f.work.Wait()
}
