package scripts

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
)

// The arguments that most calls share.
const (
	far   = "99999999999999" // a validUntil that is not over
	past  = "1"              // one that is
	stamp = "n1.5"
	bob   = "3f9ac1b2d3e4f5a6b7c8"
	eve   = "3f00000000000000000e"
	tail  = `"client":"123","data":{"username":"Bob"}}`
)

// env is a Redis that knows the scripts, and a key prefix of the test's own.
type env struct {
	t *testing.T
	c *redis.Client
	p string
}

func newEnv(t *testing.T) *env { return newEnvOn(t, redistest.Shared(t)) }

func newEnvOn(t *testing.T, s *redistest.Server) *env {
	t.Helper()
	e := &env{t: t, c: s.Client(t), p: redistest.Prefix(t)}
	for _, s := range All() {
		if err := e.c.ScriptLoad(t.Context(), s.Source).Err(); err != nil {
			t.Fatalf("load %s: %v", s.Name, err)
		}
	}
	return e
}

// Keys and channels of a room of app1, of the shard c3f, and of the nodes.
func (e *env) members(room string) string { return e.p + ":{app1:" + room + "}:members" }
func (e *env) feed(room string) string    { return e.p + ":{app1:" + room + "}:feed" }
func (e *env) shard(rest string) string   { return e.p + ":{c3f}:" + rest }
func (e *env) session(conn string) string { return e.shard("session:" + conn) }
func (e *env) grace(conn string) string   { return e.shard("grace:" + conn) }
func (e *env) index() string              { return e.shard("node:" + stamp) }
func (e *env) nodes(rest string) string   { return e.p + ":{nodes}:" + rest }

// refused is the error that a whole call was answered with.
type refused string

// run calls a script and returns what it answered: an int64, a string, a list
// of these, or refused. It fails when the keys are not all in one slot.
func (e *env) run(name string, keys []string, args ...any) any {
	e.t.Helper()
	tag := regexp.MustCompile(`\{[^{}]+\}`)
	for _, k := range keys {
		if a, b := tag.FindString(keys[0]), tag.FindString(k); a != b || a == "" {
			e.t.Fatalf("%s with keys of two slots: %s, %s", name, keys[0], k)
		}
	}
	reply, err := e.c.EvalSha(e.t.Context(), Get(name).SHA, keys, args...).Result()
	var answer redis.Error
	if errors.As(err, &answer) {
		return refused(strings.TrimSuffix(answer.Error(), "."))
	}
	if err != nil {
		e.t.Fatalf("run %s: %v", name, err)
	}
	return reply
}

// must runs a Redis command that sets a scene.
func (e *env) must(args ...any) any {
	e.t.Helper()
	v, err := e.c.Do(e.t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		e.t.Fatalf("%v: %v", args, err)
	}
	return v
}

// hash returns all fields of a hash; empty when there is no key.
func (e *env) hash(key string) map[string]string {
	e.t.Helper()
	m, err := e.c.HGetAll(e.t.Context(), key).Result()
	if err != nil {
		e.t.Fatalf("HGETALL %s: %v", key, err)
	}
	return m
}

// now returns Redis's clock in ms.
func (e *env) now() int64 {
	e.t.Helper()
	t, err := e.c.Time(e.t.Context()).Result()
	if err != nil {
		e.t.Fatal(err)
	}
	return t.UnixMilli()
}

// score returns the deadline of a member of a zset, 0 when it is not in it.
func (e *env) score(key, member string) int64 {
	e.t.Helper()
	f, err := e.c.ZScore(e.t.Context(), key, member).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		e.t.Fatal(err)
	}
	return int64(f)
}

// want fails when got is not what was wanted.
func (e *env) want(doing string, got, want any) {
	e.t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		e.t.Errorf("%s (-want +got):\n%s", doing, d)
	}
}

// within fails when v is not between two readings of Redis's clock.
func (e *env) within(doing string, v, from, to int64) {
	e.t.Helper()
	if v < from || v > to {
		e.t.Errorf("%s: got %d, want it in [%d, %d]", doing, v, from, to)
	}
}

// listener hears one shard channel.
type listener struct {
	e  *env
	ps *redis.PubSub
	ch string
}

// listen subscribes to a room's feed and waits for the confirmation.
func (e *env) listen(channel string) *listener {
	e.t.Helper()
	ps := e.c.SSubscribe(e.t.Context(), channel)
	e.t.Cleanup(func() { _ = ps.Close() })
	if _, err := ps.Receive(e.t.Context()); err != nil {
		e.t.Fatalf("SSUBSCRIBE %s: %v", channel, err)
	}
	return &listener{e, ps, channel}
}

// lines returns what was published since the last call. It is complete: it
// publishes a last line and reads up to it.
func (l *listener) lines() []string {
	l.e.t.Helper()
	l.e.must("SPUBLISH", l.ch, "end")
	var lines []string
	for {
		m, err := l.ps.ReceiveMessage(l.e.t.Context())
		if err != nil {
			l.e.t.Fatal(err)
		}
		if m.Payload == "end" {
			return lines
		}
		lines = append(lines, m.Payload)
	}
}

// line returns the one line that was published since the last call.
func (l *listener) line() string {
	l.e.t.Helper()
	lines := l.lines()
	if len(lines) != 1 {
		l.e.t.Fatalf("%d events were published, want 1: %q", len(lines), lines)
	}
	return lines[0]
}

// lineAndTime cuts the time out of the one event line, so that the rest can
// be compared to the byte.
func (l *listener) lineAndTime() (line string, ms int64) {
	l.e.t.Helper()
	raw := l.line()
	parts := strings.SplitN(raw, " ", 6)
	if len(parts) != 6 {
		l.e.t.Fatalf("event %q has %d words, want 6 or more", raw, len(parts))
	}
	if _, err := fmt.Sscan(parts[4], &ms); err != nil || fmt.Sprint(ms) != parts[4] {
		l.e.t.Fatalf("event %q: the time is %q", raw, parts[4])
	}
	parts[4] = "MS"
	return strings.Join(parts, " "), ms
}

// list is a reply of several results.
func list(v ...any) any { return append([]any{}, v...) }

// number is v as the number that a test counts on.
func (e *env) number(doing string, v any) int64 {
	e.t.Helper()
	n, ok := v.(int64)
	if !ok {
		e.t.Fatalf("%s answered %#v, want a number", doing, v)
	}
	return n
}

// one is the result of a call of one operation.
func (e *env) one(doing string, reply any) any {
	e.t.Helper()
	l, ok := reply.([]any)
	if !ok || len(l) != 1 {
		e.t.Fatalf("%s answered %#v, want one result", doing, reply)
	}
	return l[0]
}

// join makes conn a member by the script and returns the revision.
func (e *env) join(room, conn, inc, tail string) int64 {
	e.t.Helper()
	rev, _ := e.joined("join", e.one("join", e.run("join", []string{e.members(room)},
		far, 0, stamp, 0, e.feed(room), conn, inc, 0, tail)))
	return rev
}

// joined reads what a join answers.
func (e *env) joined(doing string, v any) (rev, at int64) {
	e.t.Helper()
	text, _ := v.(string)
	if _, err := fmt.Sscanf(text, "%d %d", &rev, &at); err != nil || text != revAt(rev, at) {
		e.t.Fatalf("%s answered %#v, want a revision and a time", doing, v)
	}
	return rev, at
}

// revAt is what a join should answer.
func revAt(rev, at int64) string { return fmt.Sprintf("%d %d", rev, at) }

// member is a member's value as it should be stored.
func member(rev int64, inc string, at int64, tail string) string {
	return fmt.Sprintf(`{"rev":%d,"inc":%s,"node":"%s","at":%d,%s`, rev, inc, stamp, at, tail)
}
