package model

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
	"presencesets/scripts"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// machine is what steps are done on: the model, Redis, or both side by side.
type machine interface {
	Do(Op) any
	Advance(ms int64)
	State() *State // to read; of the model, or read out of Redis
}

// pure is the model alone.
type pure struct{ s *State }

func (p pure) Do(o Op) any      { p.s.Now += callUS; return o.Run(p.s) }
func (p pure) Advance(ms int64) { p.s.Advance(ms) }
func (p pure) State() *State    { return p.s }

// failer is *testing.T or *rapid.T.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// begin is where the scripts' clock starts: far ahead, so that nothing that
// they give an end ever ends by the real one.
const begin = int64(4_000_000_000_000_000)

// callUS is how long a call takes: at less than a µs an event, a room that
// empties could not begin anew above its old revisions.
const callUS = 10

// clockKey holds the time that the scripts see, see newReal.
const clockKey = "model:clock"

// real is a Redis that runs the scripts as they are, but for one line: the
// prelude asks a key for the time instead of TIME. So time stands still but
// for Advance, every boundary can be hit to the millisecond, and a failure can
// be repeated.
type real struct {
	t     failer
	ctx   context.Context
	c     *redis.Client
	feed  *redis.PubSub
	p     string
	sha   map[string]string
	now   int64
	lines []string
}

// mutation changes the source of a script.
type mutation struct{ script, old, new string }

func newReal(t *testing.T, mutants ...mutation) *real {
	t.Helper()
	r := &real{t: t, ctx: t.Context(), c: redistest.Shared(t).Client(t), p: redistest.Prefix(t), sha: map[string]string{}}
	for _, s := range scripts.All() {
		source := s.Source
		change := func(old, new string) {
			if strings.Count(source, old) != 1 {
				t.Fatalf("%s.lua has %q %d times, want it once", s.Name, old, strings.Count(source, old))
			}
			source = strings.Replace(source, old, new, 1)
		}
		change(`call('TIME')`, `call('HMGET', '`+clockKey+`', 's', 'us')`)
		for _, m := range mutants {
			if m.script == s.Name {
				change(m.old, m.new)
			}
		}
		sha, err := r.c.ScriptLoad(r.ctx, source).Result()
		if err != nil {
			t.Fatalf("load %s: %v", s.Name, err)
		}
		r.sha[s.Name] = sha
	}
	var channels []string
	for _, room := range rooms {
		channels = append(channels, r.p+":{"+room+"}:feed")
	}
	for id := range nodeIDs {
		for epoch := range 40 {
			channels = append(channels, fmt.Sprintf("%s:{c%s}:ctl:%s.%d", r.p, shard(conns[0]), nodeIDs[id], epoch+1))
		}
	}
	r.feed = r.c.SSubscribe(r.ctx, append(channels, r.p+":end")...)
	t.Cleanup(func() { _ = r.feed.Close() })
	for range len(channels) + 1 {
		if _, err := r.feed.Receive(r.ctx); err != nil {
			t.Fatalf("subscribe: %v", err)
		}
	}
	r.reset(t)
	return r
}

// reset forgets everything, for the next run.
func (r *real) reset(t failer) {
	r.t, r.lines, r.now = t, nil, begin
	if keys := r.keys(); len(keys) > 0 {
		r.must(r.c.Del(r.ctx, keys...).Err())
	}
	r.tick()
}

func (r *real) must(err error) {
	if err != nil {
		r.t.Helper()
		r.t.Fatalf("redis: %v", err)
	}
}

func (r *real) tick() {
	r.must(r.c.HSet(r.ctx, clockKey, "s", r.now/1_000_000, "us", r.now%1_000_000).Err())
}

func (r *real) keys() []string {
	keys, err := r.c.Keys(r.ctx, r.p+":*").Result()
	r.must(err)
	return keys
}

// Advance moves the scripts' clock and removes what has ended by it.
func (r *real) Advance(ms int64) {
	r.now += ms * 1000
	r.tick()
	s := r.State()
	for conn, e := range s.Grace {
		if e.End < s.MS() {
			r.must(r.c.Del(r.ctx, names(r.p).grace(conn)).Err())
		}
	}
	for stamp, e := range s.Leases {
		if e.End < s.MS() {
			r.must(r.c.Del(r.ctx, names(r.p).nodes("lease:"+stamp)).Err())
		}
	}
}

// Do runs the script of an operation.
func (r *real) Do(o Op) any {
	call := o.Call(r.p)
	pipe := r.c.Pipeline()
	r.now += callUS
	pipe.HSet(r.ctx, clockKey, "s", r.now/1_000_000, "us", r.now%1_000_000)
	cmd := pipe.EvalSha(r.ctx, r.sha[call.Script], call.Keys, call.Args...)
	if b, is := o.(Beat); is {
		pipe.Persist(r.ctx, names(r.p).nodes("lease:"+b.Stamp)) // its TTL counts by the real clock
	}
	pipe.SPublish(r.ctx, r.p+":end", "")
	if _, err := pipe.Exec(r.ctx); err != nil && cmd.Err() == nil {
		r.t.Fatalf("%+v: %v", o, err)
	}
	for {
		m, err := r.feed.ReceiveMessage(r.ctx)
		r.must(err)
		if m.Channel == r.p+":end" {
			break
		}
		r.lines = append(r.lines, strings.TrimPrefix(m.Channel, r.p+":")+" "+m.Payload)
	}
	v, err := answer(o, cmd)
	r.must(err)
	return v
}

// answer is what a script answered to an operation, as the model says it.
func answer(o Op, cmd *redis.Cmd) (any, error) {
	v, err := cmd.Result()
	var refused redis.Error
	if errors.As(err, &refused) {
		return Refused(strings.TrimSuffix(refused.Error(), ".")), nil
	}
	list, _ := v.([]any)
	switch o.(type) {
	case Close:
		return fields(list), err
	case Resume:
		if len(list) == 4 {
			list[3] = fields(list[3].([]any))
		}
	case Claim:
		for i := 2; i < len(list); i += 2 {
			if l, is := list[i].([]any); is {
				list[i] = fields(l)
			}
		}
	}
	return v, err
}

func fields(list []any) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(list); i += 2 {
		m[fmt.Sprint(list[i])] = fmt.Sprint(list[i+1])
	}
	return m
}

// State reads the whole key space.
func (r *real) State() *State {
	r.t.Helper()
	s := New(r.now)
	s.Published = r.lines
	keys := r.keys()
	hashes, zsets, strs := map[string]*redis.MapStringStringCmd{}, map[string]*redis.ZSliceCmd{}, map[string][2]redis.Cmder{}
	pipe := r.c.Pipeline()
	for _, key := range keys {
		_, rest, _ := strings.Cut(key, "}:")
		switch kind, _, _ := strings.Cut(rest, ":"); kind {
		case "due":
			zsets[key] = pipe.ZRangeWithScores(r.ctx, key, 0, -1)
		case "grace", "lease":
			strs[key] = [2]redis.Cmder{pipe.Get(r.ctx, key), pipe.PExpireTime(r.ctx, key)}
		default:
			hashes[key] = pipe.HGetAll(r.ctx, key)
		}
	}
	if len(keys) > 0 {
		_, err := pipe.Exec(r.ctx)
		r.must(err)
	}
	for key, cmd := range hashes {
		r.hash(s, strings.TrimPrefix(key, r.p+":"), cmd.Val())
	}
	for key, cmd := range zsets {
		to := s.Due
		if strings.Contains(key, "{nodes}") {
			to = s.NodesDue
		}
		for _, z := range cmd.Val() {
			to[z.Member.(string)] = int64(z.Score)
		}
	}
	for key, cmds := range strs {
		name := key[strings.LastIndexByte(key, ':')+1:]
		e := Expiring{Value: r.number(cmds[0].(*redis.StringCmd).Val())}
		if strings.Contains(key, ":lease:") {
			e.End = e.Value + ttl
			s.Leases[name] = e
		} else {
			e.End = cmds[1].(*redis.DurationCmd).Val().Milliseconds()
			s.Grace[name] = e
		}
	}
	return s
}

func (r *real) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		r.t.Fatalf("a number in Redis: %v", err)
	}
	return n
}

// hash puts one hash where it belongs; what is not to the letter fails.
func (r *real) hash(s *State, key string, h map[string]string) {
	tag, rest, _ := strings.Cut(strings.TrimPrefix(key, "{"), "}:")
	kind, name, _ := strings.Cut(rest, ":")
	switch kind {
	case "members":
		room := &Room{Members: map[string]Member{}}
		for f, v := range h {
			if f == "#" {
				room.Rev = r.number(v)
				continue
			}
			room.Members[f] = r.member(v)
		}
		s.Rooms[tag] = room
	case "session":
		s.Sessions[name] = r.session(h)
	case "node":
		for conn, inc := range h {
			s.index(name, conn, r.number(inc))
		}
	case "epochs":
		for id, v := range h {
			s.Epochs[id] = r.number(v)
		}
	case "registry":
		s.Registry = h
	case "reaping":
		for stamp, v := range h {
			end, at, _ := strings.Cut(v, " ")
			s.Reaping[stamp] = Condemned{r.number(end), r.number(at)}
		}
	default:
		r.t.Fatalf("there is a key %s", key)
	}
}

func (r *real) member(v string) Member {
	var m Member
	rest := v
	next := func(before, after string) string {
		var value string
		var ok bool
		if rest, ok = strings.CutPrefix(rest, before); !ok {
			r.t.Fatalf("member %s: no %s", v, before)
		}
		if value, rest, ok = strings.Cut(rest, after); !ok {
			r.t.Fatalf("member %s: no %s", v, after)
		}
		return value
	}
	m.Rev, m.Inc, m.Node, m.At = r.number(next(`{"rev":`, ",")), r.number(next(`"inc":`, ",")), next(`"node":"`, `",`), r.number(next(`"at":`, ","))
	m.Client, m.Data, _ = strings.Cut(next(`"client":`, "}"), `,"data":`) // the tests send no braces
	if m.String() != v {
		r.t.Fatalf("member %s is not %s", v, m)
	}
	return m
}

func (r *real) session(h map[string]string) *Session {
	optional := func(name string) int64 {
		if h[name] == "" {
			return 0
		}
		return r.number(h[name])
	}
	s := &Session{
		App: h["app"], Key: h["key"], Client: h["client"], Secret: h["secret"], Node: h["node"], State: h["state"], Why: h["why"],
		Inc: r.number(h["inc"]), From: r.number(h["from"]), Grace: r.number(h["grace"]), Due: optional("due"), Fence: optional("fence"),
		Rooms: map[string]Listed{},
	}
	for f, v := range h {
		if room, is := strings.CutPrefix(f, "room:"); is {
			parts := strings.SplitN(v, " ", 3)
			s.Rooms[room] = Listed{parts[0], r.number(parts[1]), parts[2]}
		}
	}
	if d := cmp.Diff(h, s.Fields()); d != "" {
		r.t.Fatalf("session (-redis +read):\n%s", d)
	}
	return s
}

// twin does everything on both and fails when they differ.
type twin struct {
	t failer
	m *State
	r *real
}

func (w *twin) Do(o Op) any {
	w.t.Helper()
	want, got := pure{w.m}.Do(o), w.r.Do(o)
	if d := cmp.Diff(want, got); d != "" {
		w.t.Fatalf("%T%+v answered (-model +redis):\n%s", o, o, d)
	}
	w.same(o)
	return want
}

func (w *twin) Advance(ms int64) { w.m.Advance(ms); w.r.Advance(ms) }
func (w *twin) State() *State    { return w.m }

// same compares everything that there is, and what was published.
func (w *twin) same(o Op) {
	w.t.Helper()
	if d := cmp.Diff(w.m, w.r.State(), cmpopts.EquateEmpty()); d != "" {
		w.t.Fatalf("after %T%+v (-model +redis):\n%s", o, o, d)
	}
}
