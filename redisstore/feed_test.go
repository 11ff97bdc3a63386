package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
	"presencesets/metrics"
)

// The rooms in these tests are written by three small scripts in the
// documented form, so that the feed is tested against that form and not
// against what the store's scripts happen to do.

const rigPrelude = `
local key, channel = KEYS[1], string.gsub(KEYS[1], ':members$', ':feed')
local conn, tail, quiet = ARGV[1], ARGV[2], ARGV[3] == 'quiet'
local t = redis.call('TIME')
local ms = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local us = string.format('%.0f', t[1] * 1000000 + t[2])
local old = redis.call('HMGET', key, '#', conn)
local prev = old[1] or '0'
local rev = old[1] and string.format('%.0f', old[1] + 1) or us
local function tell(kind, reason, value)
  if not quiet then
    redis.call('SPUBLISH', channel, kind .. ' ' .. rev .. ' ' .. prev .. ' ' .. conn .. ' ' .. ms .. ' ' .. reason .. ' ' .. value)
  end
  return rev
end
`

var (
	rigPut = redis.NewScript(rigPrelude + `
local kind, at = 'join', ms
if old[2] then kind, at = 'update', string.match(old[2], '"at":(%d+)') end
local value = '{"rev":' .. rev .. ',"inc":1,"node":"n1.1","at":' .. at .. ',' .. tail
redis.call('HSET', key, '#', rev, conn, value)
return tell(kind, '-', value)`)
	rigCut = redis.NewScript(rigPrelude + `
if not old[2] then return '0' end
if redis.call('HLEN', key) == 2 then redis.call('DEL', key)
else redis.call('HDEL', key, conn); redis.call('HSET', key, '#', rev) end
return tell('leave', 'left', old[2])`)
	rigMark = redis.NewScript(rigPrelude + `
if not old[1] then return '0' end
if tonumber(old[1]) >= tonumber(tail) then return old[1] end
rev = tail
redis.call('HSET', key, '#', rev)
return tell('mark', '-', '-')`)
)

// rig is a feed on a Redis, and the hands that change rooms.
type rig struct {
	*feed
	t       testing.TB
	redis   *redis.Client
	metrics *metrics.Metrics
	end     func() // ends the feed; may be called twice
}

const rigApp = "app1"

func newRig(t testing.TB, s *redistest.Server) *rig {
	t.Helper()
	r := &rig{t: t, redis: s.Client(t), metrics: metrics.New(metrics.BuildInfo{})}
	opts := *r.redis.Options()
	opts.ClientName = "presence-n1"
	own := redis.NewClient(&opts)
	r.feed = newFeed(func() redis.UniversalClient { return own }, source{own.Options().Addr, own}, keys{redistest.Prefix(t)}, slog.New(slog.NewTextHandler(io.Discard, nil)), r.metrics, r)
	return r
}

// start runs the feed until the test ends.
func (r *rig) start() *rig {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx) })
	r.end = func() { cancel(); running.Wait() }
	r.t.Cleanup(func() {
		r.end()
		_ = r.client().Close()
	})
	return r
}

// readRoom and mark are the store's part.

func (r *rig) readRoom(ctx context.Context, app, room string) (presence.Snapshot, error) {
	fields, err := r.client().HGetAll(ctx, r.feed.keys.members(app, room)).Result()
	if err != nil {
		if strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return presence.Snapshot{}, presence.Errorf(presence.CodeInternal, "the room is no hash")
		}
		return presence.Snapshot{}, err
	}
	var snap presence.Snapshot
	for field, value := range fields {
		if field == fieldRevision {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return presence.Snapshot{}, err
			}
			snap.Revision = presence.Revision(n)
			continue
		}
		id, ok := presence.ParseConnID(field)
		if !ok {
			return presence.Snapshot{}, fmt.Errorf("field %q", field)
		}
		m, err := parseMember(id, []byte(value))
		if err != nil {
			return presence.Snapshot{}, err
		}
		snap.Members = append(snap.Members, m)
	}
	return snap, nil
}

func (r *rig) mark(ctx context.Context, app, room string, floor presence.Revision) (presence.Revision, error) {
	n, err := rigMark.Run(ctx, r.client(), []string{r.feed.keys.members(app, room)}, "-", int64(floor)).Int64()
	return presence.Revision(n), err
}

// put joins or updates, cut leaves; quietly means without an event.

func (r *rig) put(room string, n byte, data string, quiet ...string) presence.Revision {
	r.t.Helper()
	return r.change(rigPut, room, n, fmt.Sprintf(`"client":"c%d","data":%s}`, n, data), quiet)
}

func (r *rig) cut(room string, n byte, quiet ...string) presence.Revision {
	r.t.Helper()
	return r.change(rigCut, room, n, "", quiet)
}

func (r *rig) change(s *redis.Script, room string, n byte, tail string, quiet []string) presence.Revision {
	r.t.Helper()
	rev, err := s.Run(r.t.Context(), r.redis, []string{r.feed.keys.members(rigApp, room)}, conn(n).String(), tail, strings.Join(quiet, "")).Int64()
	if err != nil {
		r.t.Fatalf("change room %s: %v", room, err)
	}
	return presence.Revision(rev)
}

const quietly = "quiet"

// stored is the room as it is in Redis.
func (r *rig) stored(room string) presence.Snapshot {
	r.t.Helper()
	snap, err := r.readRoom(r.t.Context(), rigApp, room)
	if err != nil {
		r.t.Fatalf("read room %s: %v", room, err)
	}
	return snap
}

// onLoop does do on the feed's loop and waits for it.
func (r *rig) onLoop(do func()) {
	r.t.Helper()
	done := make(chan struct{})
	if !r.post(func() { do(); close(done) }) {
		r.t.Fatal("the feed is closed")
	}
	<-done
}

// until waits until ok, which looks at the feed on its loop. Between two looks
// is a round trip to Redis.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for yes := false; !yes; {
		if err := r.t.Context().Err(); err != nil {
			r.t.Fatalf("waiting until %s: %v", what, err)
		}
		_ = r.redis.Ping(r.t.Context()).Err() // only to pass the time
		r.onLoop(func() { yes = ok() })
	}
}

// untilChecked waits until the present link has checked every room.
func (r *rig) untilChecked() {
	r.t.Helper()
	r.until("all rooms are checked", func() bool {
		if r.ups[0].link == nil || !r.ups[0].link.up || r.checks.flying || len(r.checks.wait) > 0 || len(r.ups[0].echo.barriers) > 0 || r.reads.flying > 0 {
			return false
		}
		for _, s := range r.subs {
			if s.to != nil && !s.on {
				return false
			}
		}
		for _, h := range r.rooms {
			if h.reading || h.again != "" {
				return false
			}
		}
		return true
	})
}

// cutLink has Redis close the feed's connection, and waits for the next one.
func (r *rig) cutLink() {
	r.t.Helper()
	var old *link
	r.until("there is a link", func() bool { old = r.ups[0].link; return old != nil && old.up })
	killed, err := r.redis.ClientKillByFilter(r.t.Context(), "TYPE", "pubsub").Result()
	if err != nil {
		r.t.Fatalf("CLIENT KILL TYPE pubsub: %v", err)
	}
	if killed == 0 { // it has no channel just now: a normal connection to Redis
		old.kill(errors.New("cut"))
	}
	r.until("the link is new", func() bool { return r.ups[0].link != nil && r.ups[0].link != old && r.ups[0].link.up })
}

// answer is a Completion to wait for.
type answer chan *presence.Op

func (a answer) OpDone(op *presence.Op) { a <- op }

// begin submits a watch and returns where its answer comes.
func (r *rig) begin(kind presence.OpKind, room string, sink presence.RoomSink) answer {
	r.t.Helper()
	done := make(answer, 1)
	op := &presence.Op{Kind: kind, App: rigApp, Room: room, Sink: sink, Done: done}
	submit := r.watch
	if kind == presence.OpWatchMessages {
		submit = r.watchMessages
	}
	if err := submit(op); err != nil {
		r.t.Fatalf("%s of %s: %v", kind, room, err)
	}
	return done
}

// follow watches room and returns its subscriber.
func (r *rig) follow(room string) *subscriber {
	r.t.Helper()
	s := newSubscriber(r.t)
	op := <-r.begin(presence.OpWatch, room, s)
	if op.Err != nil {
		r.t.Fatalf("watch %s: %v", room, op.Err)
	}
	s.since = op.Revision
	return s
}

// subscriber keeps what it is told. It fails its test when revisions go down.
type subscriber struct {
	t        testing.TB
	since    presence.Revision // of the answer
	mu       sync.Mutex
	events   []*presence.Event
	messages []string
	news     chan struct{} // something came
}

func newSubscriber(t testing.TB) *subscriber {
	return &subscriber{t: t, news: make(chan struct{}, 1)}
}

func (s *subscriber) RoomEvent(e *presence.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.events); n > 0 && e.Revision < s.events[n-1].Revision {
		s.t.Errorf("event %d came after %d", e.Revision, s.events[n-1].Revision)
	}
	s.events = append(s.events, e)
	s.tellNews()
}

func (s *subscriber) RoomMessage(payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, string(payload))
	s.tellNews()
}

func (s *subscriber) tellNews() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// wait waits until enough says so of all events and messages until now.
func (s *subscriber) wait(what string, enough func(events []*presence.Event, messages []string) bool) []*presence.Event {
	s.t.Helper()
	for {
		s.mu.Lock()
		events, messages := slices.Clone(s.events), slices.Clone(s.messages)
		s.mu.Unlock()
		if enough(events, messages) {
			return events
		}
		select {
		case <-s.news:
		case <-s.t.Context().Done():
			s.t.Fatalf("waiting for %s: the test is over; told so far: %s", what, say(events))
		case <-time.After(20 * time.Second): // a hang must say what it waits for
			s.t.Fatalf("waiting for %s: nothing for 20 s; told so far: %s", what, say(events))
		}
	}
}

// waitFor waits until n events came.
func (s *subscriber) waitFor(n int) []*presence.Event {
	s.t.Helper()
	return s.wait(fmt.Sprintf("%d events", n), func(events []*presence.Event, _ []string) bool { return len(events) >= n })
}

// waitConn waits for an event of connection n that is above rev, or at it.
func (s *subscriber) waitConn(n byte, rev presence.Revision) []*presence.Event {
	s.t.Helper()
	return s.wait(fmt.Sprintf("an event of %d from %d on", n, rev), func(events []*presence.Event, _ []string) bool {
		return slices.ContainsFunc(events, func(e *presence.Event) bool { return e.Conn == conn(n) && e.Revision >= rev })
	})
}

// told returns what came until now, as text without times.
func (s *subscriber) told() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, e := range s.events {
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %d %s %s", e.Kind, e.Conn[0], e.Reason, e.Data)))
	}
	return list
}

// fold is what a client makes of a list and of the events that came after it.
func fold(list presence.Snapshot, events []*presence.Event) map[string]string {
	view := map[presence.ConnID]string{}
	for _, m := range list.Members {
		view[m.Conn] = string(m.Data)
	}
	for _, e := range events {
		switch {
		case e.Revision <= list.Revision:
		case e.Kind == presence.KindLeave:
			delete(view, e.Conn)
		default:
			view[e.Conn] = string(e.Data)
		}
	}
	named := map[string]string{}
	for id, data := range view {
		named[id.String()] = data
	}
	return named
}

// expectFold fails the test unless list and what s was told since make the room
// as it is in Redis.
func (r *rig) expectFold(room string, list presence.Snapshot, s *subscriber) {
	r.t.Helper()
	s.mu.Lock()
	events := slices.Clone(s.events)
	s.mu.Unlock()
	if diff := cmp.Diff(fold(r.stored(room), nil), fold(list, events)); diff != "" {
		r.t.Errorf("room %s (-redis +subscriber):\n%s", room, diff)
	}
}

func TestEventsArriveInOrderAndAsTheyWere(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	first := r.put("a:b", 1, `{"n":0.1234567890123456789,"s":"}\" é"}`)
	s := r.follow("a:b")
	if s.since != first {
		t.Errorf("watch was answered with %d, want %d", s.since, first)
	}
	r.put("a:b", 2, `null`)
	r.put("a:b", 1, `[ ]`)
	r.cut("a:b", 2)
	last := r.cut("a:b", 1)
	events := s.waitFor(4)
	if diff := cmp.Diff([]string{"join 2  null", "update 1  [ ]", "leave 2 left null", "leave 1 left [ ]"}, s.told()); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	for i, e := range events {
		if e.Revision != first+presence.Revision(i)+1 || e.Prev != e.Revision-1 || string(e.Client) != fmt.Sprintf(`"c%d"`, e.Conn[0]) {
			t.Errorf("event %d is %+v", i, e)
		}
	}
	again := r.put("a:b", 3, `1`)
	if e := s.waitFor(5)[4]; e.Revision != again || e.Prev != 0 || again <= last {
		t.Errorf("event of the refilled room is %+v, want revision %d after none", e, again)
	}
}

func TestWatchOfAHostedRoomIsAnsweredWithItsRevision(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	r.put("a", 1, `1`)
	s := r.follow("a")
	last := r.put("a", 2, `1`)
	s.waitFor(1)
	if s2 := r.follow("a"); s2.since != last {
		t.Errorf("second watch was answered with %d, want %d", s2.since, last)
	}
	if s3 := r.follow("empty"); s3.since != 0 {
		t.Errorf("watch of an empty room was answered with %d, want 0", s3.since)
	}
}

func TestManyWatchesWaitForOneHosting(t *testing.T) {
	r := newRig(t, redistest.Shared(t))
	rev := r.put("a", 1, `1`)
	s := newSubscriber(t)
	var answers []answer
	for range 100 {
		answers = append(answers, r.begin(presence.OpWatch, "a", s))
	}
	r.start()
	for _, a := range answers {
		if op := <-a; op.Err != nil || op.Revision != rev {
			t.Fatalf("watch was answered with %d, %v, want %d", op.Revision, op.Err, rev)
		}
	}
	r.put("a", 2, `1`)
	s.waitFor(1)
}

// orderedSink is its own completion: it sees answer and events in one order.
type orderedSink struct {
	*subscriber
	answered bool
}

func (s *orderedSink) OpDone(op *presence.Op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered, s.since = true, op.Revision
	s.tellNews()
}

func (s *orderedSink) RoomEvent(e *presence.Event) {
	s.subscriber.RoomEvent(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.answered || e.Revision <= s.since {
		s.t.Errorf("event %d came before the answer, or the answer %d holds it", e.Revision, s.since)
	}
}

func TestNoEventIsLostBetweenSnapshotAndAnswer(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	for i := range 100 {
		room := fmt.Sprint("room", i)
		stop, stopped := make(chan struct{}), make(chan presence.Revision)
		go func() {
			var rev presence.Revision
			for n := 0; ; n++ {
				rev = r.put(room, byte(n%5), strconv.Itoa(n))
				select {
				case <-stop:
					stopped <- rev
					return
				default:
				}
			}
		}()
		s := &orderedSink{subscriber: newSubscriber(t)}
		if err := r.watch(&presence.Op{Kind: presence.OpWatch, App: rigApp, Room: room, Sink: s, Done: s}); err != nil {
			t.Fatal(err)
		}
		s.wait("the answer and an event", func(events []*presence.Event, _ []string) bool { return len(events) > 0 })
		close(stop)
		last := <-stopped
		events := s.wait("the last event", func(events []*presence.Event, _ []string) bool { return events[len(events)-1].Revision == last })
		base := s.since
		if base == 0 { // the room was still empty: its first revision is the clock's
			base = events[0].Revision - 1
		}
		for j, e := range events {
			if want := base + presence.Revision(j) + 1; e.Revision != want {
				t.Fatalf("event %d after the answer %d has revision %d, want %d", j, base, e.Revision, want)
			}
		}
	}
}

func TestMessagesArriveFromTheAnswerOn(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	s := newSubscriber(t)
	if op := <-r.begin(presence.OpWatchMessages, "a", s); op.Err != nil || op.Revision != 0 {
		t.Fatalf("watch of messages was answered with %d, %v", op.Revision, op.Err)
	}
	channel := r.feed.keys.messages(rigApp, "a")
	for i := range 3 {
		if err := r.redis.SPublish(t.Context(), channel, fmt.Sprint("m", i)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	s.wait("3 messages", func(_ []*presence.Event, messages []string) bool {
		return slices.Equal(messages, []string{"m0", "m1", "m2"})
	})
	r.unwatchMessages(rigApp, "a")
	r.onLoop(func() {})
	if err := r.redis.SPublish(t.Context(), channel, "late").Err(); err != nil {
		t.Fatal(err)
	}
	s2 := newSubscriber(t)
	if op := <-r.begin(presence.OpWatchMessages, "a", s2); op.Err != nil {
		t.Fatal(op.Err)
	}
	if err := r.redis.SPublish(t.Context(), channel, "last").Err(); err != nil {
		t.Fatal(err)
	}
	s2.wait("the last message", func(_ []*presence.Event, messages []string) bool { return slices.Contains(messages, "last") })
	if len(s.messages) != 3 {
		t.Errorf("after unwatch the old sink was told %v", s.messages[3:])
	}
}

func TestThousandRoomsOnOneConnection(t *testing.T) {
	server := redistest.Start(t)
	r := newRig(t, server).start()
	const rooms = 1000
	sinks := make([]*subscriber, rooms)
	answers := make([]answer, rooms)
	for i := range rooms {
		r.put(fmt.Sprint("room", i), 1, `1`)
		sinks[i] = newSubscriber(t)
		answers[i] = r.begin(presence.OpWatch, fmt.Sprint("room", i), sinks[i])
	}
	for i, a := range answers {
		if op := <-a; op.Err != nil {
			t.Fatalf("watch of room %d: %v", i, op.Err)
		}
	}
	for i := range rooms {
		r.put(fmt.Sprint("room", i), 2, `1`)
	}
	for _, s := range sinks {
		s.waitFor(1)
	}
	list, err := r.redis.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	var links []string
	for line := range strings.Lines(list) {
		if strings.Contains(line, " name=presence-n1-feed ") && strings.Contains(line, fmt.Sprintf(" ssub=%d ", rooms)) {
			links = append(links, line)
		}
	}
	if len(links) != 1 {
		t.Errorf("want one connection named presence-n1-feed with %d channels in CLIENT LIST:\n%s", rooms, list)
	}

	r.cutLink()
	r.untilChecked()
	for i := range rooms {
		r.cut(fmt.Sprint("room", i), 2)
	}
	for i, s := range sinks {
		s.waitFor(2)
		if diff := cmp.Diff([]string{"join 2  1", "leave 2 left 1"}, s.told()); diff != "" {
			t.Fatalf("room %d was told over a lost link (-want +got):\n%s", i, diff)
		}
	}
}

func TestWatchIsRefusedWhileRedisIsAway(t *testing.T) {
	server := redistest.Start(t)
	r := newRig(t, server).start()
	s := r.follow("a")
	server.Pause(t)
	refused := []answer{
		r.begin(presence.OpWatch, "b", newSubscriber(t)),
		r.begin(presence.OpWatchMessages, "b", newSubscriber(t)),
	}
	for _, a := range refused {
		if op := <-a; op.Err == nil || op.Err.Code != presence.CodeUnavailable {
			t.Errorf("watch was answered %v, want unavailable", op.Err)
		}
	}
	server.Resume(t)
	r.put("a", 1, `1`)
	s.waitFor(1)
	r.follow("b")

	server.Kill(t)
	if op := <-r.begin(presence.OpWatch, "c", newSubscriber(t)); op.Err == nil || op.Err.Code != presence.CodeUnavailable {
		t.Errorf("watch was answered %v, want unavailable", op.Err)
	}
	server.Restart(t)
	s.wait("the leave of a member that an empty Redis does not have", func(events []*presence.Event, _ []string) bool {
		return events[len(events)-1].Kind == presence.KindLeave
	})
	r.put("c", 1, `1`)
	r.follow("c")
}

func TestRoomThatCannotBeReadIsRefusedAtOnce(t *testing.T) {
	r := newRig(t, redistest.Shared(t)).start()
	key := r.feed.keys.members(rigApp, "a")
	if err := r.redis.Set(t.Context(), key, "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if op := <-r.begin(presence.OpWatch, "a", newSubscriber(t)); op.Err == nil || op.Err.Code != presence.CodeInternal {
		t.Errorf("watch of a room of another type was answered %v, want internal", op.Err)
	}
	if err := r.redis.Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
	r.follow("a")
}

func TestClosingAnswersWhoWaits(t *testing.T) {
	server := redistest.Start(t)
	r := newRig(t, server).start()
	r.follow("a")
	server.Pause(t)
	waiting := r.begin(presence.OpWatch, "b", newSubscriber(t))
	r.onLoop(func() {})
	r.end()
	if op := <-waiting; op.Err == nil || op.Err.Code != presence.CodeUnavailable {
		t.Errorf("watch was answered %v, want unavailable", op.Err)
	}
	var refusal error
	if err := r.watch(&presence.Op{Kind: presence.OpWatch, App: rigApp, Room: "c", Sink: newSubscriber(t), Done: make(answer, 1)}); err != nil {
		refusal = err
	}
	var e *presence.Error
	if !errors.As(refusal, &e) || e.Code != presence.CodeUnavailable {
		t.Errorf("watch of a closed feed: %v, want unavailable", refusal)
	}
	server.Resume(t)
}
