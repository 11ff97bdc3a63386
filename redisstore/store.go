package redisstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	presence "presencesets"
	"presencesets/metrics"
)

// Options says which Redis, and who we are in it. Zero means the default that
// stands behind a field; URL and NodeID have none.
type Options struct {
	URL    string // redis://, rediss:// or unix://, in go-redis's form
	Mode   string // single, sentinel or cluster; auto: by the URL and by what the server says it is. "auto"
	Prefix string // begins every key; no brace, no space. "presence"

	NodeID  string // this node, unique among those that run
	Version string // of the program, for the registry
	Addr    string // where this node is reached, for the registry

	LeaseTTL  time.Duration // how long a node may write after its last beat. 6 s
	LeaseBeat time.Duration // how often the lease is renewed. 2 s
	ClockSkew time.Duration // how far the clocks of several masters may differ; with one it counts as 0. 500 ms
	Retention time.Duration // for how long the rooms of a lost connection can be resumed after its memberships ended

	Grace        time.Duration // the longest grace of a lost socket: for so long missed events are kept. 10 s
	ReplayEvents int           // missed events that a room keeps at most. 1000
	ReplayBytes  int           // bytes that they may have. 256 KiB

	DrainGrace time.Duration // grace of what is still connected when the node retires. 20 s
	DrainTime  time.Duration // how long a drain takes at most: delay + window + 10 s. 45 s

	ManageNotifications bool // add Ex to notify-keyspace-events where it is missing

	Log     *slog.Logger     // nil: none
	Metrics *metrics.Metrics // nil: nobody looks
}

// Store is the state of all rooms and connections, in Redis. Its methods may
// be called from any goroutine and, but for Open and Close, never block.
type Store struct {
	// set once
	opts    Options
	keys    keys
	log     *slog.Logger
	metrics *metrics.Metrics
	meters  *meters
	start   time.Time
	masters *masters
	scripts struct {
		open, resume, adopted, track, untrack, close, detach, claim, finish script
		join, update, leave, adopt, assert, mark                            script
	}

	edge presence.Edge // whose connections these are, see Attach

	feed       *feed
	lease      *lease
	settler    *settler
	departures *departures
	turns      *turns
	fences     *fences
	doubts     *doubts
	reclaims   *reclaims
	graces     *graces
	claimer    *claimer
	reaper     *reaper

	stop     context.CancelFunc // ends the goroutines behind the lanes
	stopFeed context.CancelFunc
	running  sync.WaitGroup
	feeding  sync.WaitGroup

	// atomic
	closing  atomic.Bool
	draining atomic.Bool
	lineup   atomic.Pointer[lineup] // nil before the first look
	sessions atomic.Int64           // opened and not departed
	highest  atomic.Int64           // highest validUntil that was sent, Redis ms

	departed departedSet
}

// Open connects to Redis, checks that it can serve, makes it know our
// scripts, takes a stamp and its first lease, and starts the goroutines that
// Close ends. It blocks until operations can be submitted, at most 5 s.
//
// Its errors say what to change: a wrong URL, a version below 7.0, another kind
// of Redis than the settings say, a replica, keys of a newer program.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	quiet()
	s := &Store{
		opts: o, keys: keys{prefix: o.Prefix}, log: o.Log, metrics: o.Metrics, meters: newMeters(o.Metrics),
		start: time.Now(), edge: new(edge),
	}
	s.masters = newMasters(s)
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(err, s.closeClients())
	}
	s.run()
	if err := s.awaitProbe(ctx); err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), opLife)
		defer cancel()
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// fill sets defaults and says what cannot be.
func (o *Options) fill() error {
	if o.NodeID == "" {
		return errors.New("node.id is empty")
	}
	if strings.ContainsAny(o.Prefix, "{} ") {
		return fmt.Errorf("redis.prefix is %q; want no brace and no space", o.Prefix)
	}
	if o.ClockSkew == 0 {
		o.ClockSkew = 500 * time.Millisecond
	}
	if o.Prefix == "" {
		o.Prefix = "presence"
	}
	if o.LeaseTTL == 0 {
		o.LeaseTTL = 6 * time.Second
	}
	if o.LeaseBeat == 0 {
		o.LeaseBeat = 2 * time.Second
	}
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	if o.ReplayEvents == 0 {
		o.ReplayEvents = 1000
	}
	if o.ReplayBytes == 0 {
		o.ReplayBytes = 256 << 10
	}
	if o.DrainGrace == 0 {
		o.DrainGrace = 20 * time.Second
	}
	if o.DrainTime == 0 {
		o.DrainTime = 45 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.New(metrics.BuildInfo{})
	}
	return nil
}

// assemble makes the parts; nothing runs yet.
func (s *Store) assemble() {
	all := &s.scripts
	all.open, all.resume, all.adopted = newScript("open"), newScript("resume"), newScript("adopted")
	all.track, all.untrack = newScript("track"), newScript("untrack")
	all.close, all.detach, all.claim, all.finish = newScript("close"), newScript("detach"), newScript("claim"), newScript("finish")
	all.join, all.update, all.leave = newScript("join"), newScript("update"), newScript("leave")
	all.adopt, all.assert, all.mark = newScript("adopt"), newScript("assert"), newScript("mark")
	t := s.masters.now.Load()
	s.feed = newFeed(s.control, source{t.all[0].name, t.all[0].forFeed}, s.keys, s.log, s.metrics, s)
	s.feed.edge, s.feed.moved = s.edge, s.masters.hurry
	s.feed.mended = s.mended
	s.feed.met, s.feed.doubted = func() { s.lease.hurry() }, s.opts.LeaseTTL
	s.feed.retain(max(s.opts.Grace, s.opts.DrainGrace), s.opts.ReplayEvents, s.opts.ReplayBytes)
	s.settler = newSettler(s)
	s.departures, s.graces = newDepartures(s), newGraces()
	s.turns, s.fences, s.doubts, s.reclaims = newTurns(), newFences(s), newDoubts(s), newReclaims(s)
	s.lease = newLease(s)
	s.claimer, s.reaper = newClaimer(s), newReaper(s)
	s.masters.follow(t)
}

// connect does what must work before anything runs.
func (s *Store) connect(ctx context.Context) error {
	if err := s.dial(ctx); err != nil {
		return err
	}
	if _, err := s.masters.read(ctx); err != nil {
		return err
	}
	s.assemble()
	if err := s.inspect(ctx); err != nil {
		return err
	}
	if err := s.lease.register(ctx); err != nil {
		return err
	}
	for _, m := range s.masters.now.Load().all {
		s.lease.observe(m, nil)
	}
	return nil
}

// run starts the goroutines.
func (s *Store) run() {
	ctx, stop := context.WithCancel(context.Background())
	feedCtx, stopFeed := context.WithCancel(context.Background())
	s.stop, s.stopFeed = stop, stopFeed
	s.feeding.Go(func() { s.feed.run(feedCtx) })
	for _, m := range s.masters.now.Load().all {
		m.start()
	}
	s.running.Go(func() { s.masters.run(ctx) })
	s.running.Go(func() { s.lease.run(ctx) })
	s.running.Go(func() { s.settler.run(ctx) })
	s.running.Go(func() { s.fences.run(ctx) })
	s.running.Go(func() { s.departures.run(ctx) })
	s.running.Go(func() { s.claimer.run(ctx) })
	s.running.Go(func() { s.reaper.run(ctx) })
}

// awaitProbe waits for the first proof that the feed hears: nothing may be
// written before it.
func (s *Store) awaitProbe(ctx context.Context) error {
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, probePause) {
		s.feed.probe(s.lease.probes.Add(1)) // no sooner than it is subscribed does one go out
		if _, _, ok := s.lease.window(); ok && s.feed.probeAge() < startTime {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a probe to come back through Redis's pub/sub: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// clock is the store's own clock: nanoseconds since it was opened.
func (s *Store) clock() int64 { return int64(time.Since(s.start)) }

// lane is the one that op takes: that of the master which has the slot of its
// room or, for a session's operation, of its connection's shard.
func (s *Store) lane(op *presence.Op) *lane { return s.masters.of(op).lane }

// Submit hands over an operation. It never blocks. Done is called when the
// outcome is known, within 2 s, and for an outcome that is not known a second
// time, when it is: see [presence.Completion]. An error means that nothing
// was sent and that Done is not called: the lane is full, this node's lease
// has lapsed, the node is shutting down.
//
// What Done finds in Err, beside `unavailable` and `fenced`: CodeLimit of a
// full room (OpJoin) or of a connection in too many rooms (OpTrack),
// CodeNotMember (OpUpdate), CodeInternal for a key that somebody overwrote.
// A message (OpPublish) whose answer was lost is an error without Unknown: it
// may have been sent, and is not sent again.
func (s *Store) Submit(op *presence.Op) *presence.Error {
	if s.closing.Load() {
		return errShutdown()
	}
	switch op.Kind {
	case presence.OpResume:
		return s.resume(op)
	case presence.OpReclaim:
		return s.reclaims.submit(op)
	case presence.OpWatch:
		return s.feed.watch(op)
	case presence.OpWatchMessages:
		return s.feed.watchMessages(op)
	case presence.OpMembers:
		return s.feed.members(op, s.lane(op).submit)
	}
	if op.Kind == presence.OpOpen && (s.settler.has(op.Conn) || s.departures.departing(op.Conn)) {
		// Its last session is still being ended: one that is opened now could be
		// taken for it.
		return errEnding()
	}
	if writes(op.Kind) && !s.lease.windowOf(op.Conn.Shard()) {
		return errLapsed()
	}
	return s.lane(op).submit(op)
}

// Depart ends a connection: every membership of it is left once, then its
// session goes. It never blocks and cannot fail: while Redis is away the
// departure is owed, and it is made when Redis is back, by this node or, when
// this one dies, from the due list by another. A second one for the same
// connection does nothing.
func (s *Store) Depart(d presence.Departure) {
	if s.reclaims.hold(d.Conn, func(inc int64) { d.Inc = max(d.Inc, inc); s.Depart(d) }) {
		return
	}
	s.fences.drop(d.Conn, d.Inc)
	s.doubts.ended(d.Conn, lastEnd{app: d.App, inc: d.Inc, reason: d.Reason})
	if s.departures.begin(&departure{
		conn: d.Conn, inc: d.Inc, reason: d.Reason, stage: stageClose, known: roomNames(d.App, d.Rooms),
		fence: s.silence(d.Conn, d.Inc, d.Unanswered),
	}) {
		s.sessions.Add(-1)
	}
}

// Unwatch says that a room has no subscriber here any more. The feed keeps it
// for 5 s, in which a new watch costs nothing.
func (s *Store) Unwatch(app, room string) { s.feed.unwatch(app, room) }

// UnwatchMessages is Unwatch for the room's messages.
func (s *Store) UnwatchMessages(app, room string) { s.feed.unwatchMessages(app, room) }

// Stamp returns this node's stamp, `<node id>.<epoch>`. It changes when the
// node lost its lease for good: the edge is then told to reclaim its
// connections.
func (s *Store) Stamp() string { return s.lease.grant.Load().stamp }

// Ready returns what the node's readiness depends on here: whether Redis
// answers, the lease is held, and the feed hears.
func (s *Store) Ready() []presence.Check {
	redis, hold, hear := s.lease.look(time.Now())
	return []presence.Check{
		{Name: "redis", OK: redis.ok, Since: redis.since, Text: redis.text},
		{Name: "lease", OK: hold.ok, Since: hold.since, Text: hold.text},
		{Name: "feed", OK: hear.ok, Since: hear.since, Text: hear.text},
	}
}

// Close refuses new operations, waits until the departures are made, gives up
// the lease and ends every goroutine. When ctx ends first, what is left of the
// departures is in the due list or, where Redis does not answer, for those who
// find this node dead; Close then says so.
func (s *Store) Close(ctx context.Context) error {
	if s.closing.Swap(true) {
		return nil
	}
	s.claimer.halted.Store(true) // the others do it
	s.reaper.halted.Store(true)
	var errs []error
	if n := s.departures.flush(ctx); n > 0 {
		errs = append(errs, fmt.Errorf("%d departures are not made", n))
	}
	s.stop()
	s.running.Wait()
	for _, m := range s.masters.now.Load().all {
		m.halt()
	}
	s.masters.end()
	s.settler.end()
	if err := s.lease.retireWithin(ctx); err != nil {
		errs = append(errs, err)
	}
	s.stopFeed()
	s.feeding.Wait()
	errs = append(errs, s.closeClients())
	return errors.Join(errs...)
}

func (s *Store) closeClients() error {
	var errs []error
	if t := s.masters.now.Load(); t != nil {
		for _, m := range t.all {
			errs = append(errs, m.close())
		}
	}
	if s.masters.cluster != nil {
		errs = append(errs, s.masters.cluster.Close())
	}
	if s.masters.sentinels != nil {
		errs = append(errs, s.masters.sentinels.close())
	}
	return errors.Join(errs...)
}

// readRoom reads a room as a whole; it blocks for a round trip, or until ctx
// ends. It shares reads with the callers of OpMembers.
func (s *Store) readRoom(ctx context.Context, app, room string) (presence.Snapshot, error) {
	op := &presence.Op{Kind: presence.OpMembers, App: app, Room: room}
	wait := make(answered, 1)
	op.Done = wait
	if err := s.lane(op).submit(op); err != nil {
		return presence.Snapshot{}, err
	}
	select {
	case <-wait:
	case <-ctx.Done():
		return presence.Snapshot{}, ctx.Err()
	}
	if op.Err != nil {
		return presence.Snapshot{}, op.Err
	}
	return op.Snapshot, nil
}

// mark moves a room's revision up to floor when it is below it, and returns
// the revision after it; 0 when there is no room. It blocks as readRoom does.
func (s *Store) mark(ctx context.Context, app, room string, floor presence.Revision) (presence.Revision, error) {
	wait := make(answered, 1)
	m := &step{
		Op:   presence.Op{Kind: opMark, App: app, Room: room, Revision: floor},
		then: func(st *step) { wait.OpDone(&st.Op) },
	}
	if !s.lane(&m.Op).push(task{op: &m.Op, step: m, at: s.clock()}) {
		return 0, presence.Errorf(presence.CodeUnavailable, "the node is shutting down")
	}
	select {
	case <-wait:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if m.Op.Err != nil {
		return 0, m.Op.Err
	}
	return m.Op.Revision, nil
}

// answered is a completion that one goroutine waits for.
type answered chan struct{}

// OpDone implements presence.Completion.
func (a answered) OpDone(*presence.Op) { a <- struct{}{} }
