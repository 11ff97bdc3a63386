package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/redis/go-redis/v9"
)

// poolSlack is how many links to Redis a node may have opened under load and keep.
const poolSlack = 32

// answerWithin is invariant 6's 2 s, and one for a busy machine.
const answerWithin = 3 * time.Second

// reset begins a cell with counts of its own. On the stage, or before it matters.
func (f *field) reset(r *result) {
	f.cell = r
	f.cuts, f.refusals, f.violations = map[ws.StatusCode]int{}, map[string]int{}, map[string]int{}
	f.resumes, f.late, f.acts, f.slowest, f.answers, f.stalled = 0, 0, 0, 0, 0, 0
	f.hit, f.notes = hit{node: -1}, nil
	f.crashed = make([]bool, 3)
	f.clients = slices.DeleteFunc(f.clients, func(c *client) bool { return c.phase == gone })
	for _, c := range f.clients {
		for _, s := range c.seats {
			*s = seat{room: s.room, inRoom: s.inRoom, member: s.member, data: s.data}
			if s.member {
				s.begun = 1
			}
		}
	}
	for _, o := range f.observers {
		o.begin()
	}
}

// measure runs one cell.
func (f *field) measure(ctx context.Context, c *cell) *result {
	r := &result{redis: f.o.Redis, name: c.name, bound: c.bound}
	began := time.Now()
	if err := f.settleObservers(ctx); err != nil {
		r.fail("before the fault: %v", err)
		return r
	}
	resyncs := f.resyncs()
	f.st.do(func() {
		f.reset(r)
		f.churning = !c.still
	})
	watched, unwatch := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { f.watch(watched) })
	defer watching.Wait()
	defer unwatch()
	warm := time.Second
	if f.o.Long {
		warm = 5 * time.Second
	}
	if c.still {
		warm = 0
	}
	err := f.pass(ctx, warm)
	if err == nil {
		err = c.run(ctx, f)
	}
	if err == nil {
		err = f.pass(ctx, warm)
	}
	if err != nil {
		r.fail("the fault: %v", err)
	}
	f.st.do(func() {
		f.churning = false
		f.note("quiet, please")
	})
	patience := 30*time.Second + f.times.bound(nodeLost)
	err = f.until(ctx, patience, "every request is answered and every client back", f.allSettled)
	if err != nil {
		r.fail("%v", err)
	}
	if err != nil {
		f.noteSessions(ctx)
	}
	f.st.do(func() { f.note("asked for quiet: %v; refused meanwhile: %v", err, f.refusals) })
	if !c.still && err == nil {
		// Whoever is connected can write, and finds out what it has lost.
		f.st.do(func() {
			for _, c := range f.clients {
				for i, s := range c.seats {
					if c.phase == on && !s.member && s.flaps > 0 { // its room may be forgotten, too
						c.todo = append(c.todo, &request{op: opRoom, seat: s})
					}
					if c.phase == on && s.member && (i == f.acts%len(c.seats) || s.flaps > 0) {
						c.todo = append(c.todo, &request{op: opUpdate, seat: s, data: f.datum()})
					}
				}
				c.pump()
			}
		})
		if err := f.until(ctx, patience, "everybody can write", f.allSettled); err != nil {
			r.fail("%v", err)
		}
	}
	if err := f.agree(ctx, f.times.bound(halfOpen)+5*time.Second); err != nil {
		r.fail("%v", err)
	}
	f.st.do(func() { f.note("Redis, clients and observers agree, or never will") })
	if err := f.redis.whole(ctx); err != nil {
		r.fail("Redis does not mend: %v", err)
	}
	after := f.resyncs()
	f.st.do(func() { f.count(r, c, resyncs, after) })
	r.took = time.Since(began)
	f.st.do(func() {
		for _, k := range f.wrecks {
			k.close(byReset)
		}
		f.wrecks = nil
		r.notes = f.notes
	})
	return r
}

// watch measures what is not ours: how long Redis and our own timers take. A
// busy disk under the append-only file or a busy machine is no fault of a node.
func (f *field) watch(ctx context.Context) {
	var clients []*redis.Client
	for _, s := range f.redis.servers {
		c := s.Connect()
		defer c.Close()
		clients = append(clients, c)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		began := time.Now()
		lag := began.Sub(last) - 100*time.Millisecond
		var err error
		for _, c := range clients {
			err = errors.Join(err, c.Ping(ctx).Err())
		}
		last = time.Now()
		d := max(lag, last.Sub(began))
		f.st.post(func() {
			if err == nil && !f.hit.redis {
				f.stalled = max(f.stalled, d)
				if d > 500*time.Millisecond {
					f.note("stood still for %v", d)
				}
			}
		})
	}
}

// noteSessions keeps what Redis knows of clients that hang.
func (f *field) noteSessions(ctx context.Context) {
	var hang []string
	f.st.do(func() {
		for _, c := range f.clients {
			if !c.settled() && c.id != "" && len(hang) < 5 {
				hang = append(hang, c.id[len(app)+1:])
			}
		}
	})
	for _, conn := range hang {
		shard := "presence:{c" + conn[:2] + "}:"
		session := f.redis.keys.HGetAll(ctx, shard+"session:"+conn).Val()
		due := f.redis.keys.ZScore(ctx, shard+"due", conn).Val()
		registry := f.redis.keys.HGetAll(ctx, "presence:{nodes}:registry").Val()
		f.st.do(func() { f.note("hangs: %s, session %v, due %.0f, nodes %v", conn, session, due, registry) })
	}
}

// settleObservers sees to one observer on each node.
func (f *field) settleObservers(ctx context.Context) error {
	f.st.do(func() {
		there := map[int]bool{}
		f.observers = slices.DeleteFunc(f.observers, func(o *observer) bool {
			if o.dead || o.sock == nil || there[o.node] {
				o.leave()
				return true
			}
			there[o.node] = true
			return false
		})
		for i := range f.nodes {
			if !there[i] {
				f.observers = append(f.observers, f.observe(i))
			}
		}
	})
	return f.until(ctx, time.Minute, "an observer on each node", f.observersReady)
}

// agree waits until Redis, the clients and the observers know the same.
func (f *field) agree(ctx context.Context, patience time.Duration) error {
	late := time.Now().Add(patience)
	for {
		held, err := f.held(ctx)
		if err == nil {
			f.st.do(func() { err = f.compare(held) })
			if err == nil {
				return nil
			}
		}
		if time.Now().After(late) || ctx.Err() != nil {
			return fmt.Errorf("no agreement within %v: %w", patience, err)
		}
		if err := f.pass(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// held reads every room from Redis: connection → data.
func (f *field) held(ctx context.Context) ([]map[string]string, error) {
	rooms := make([]map[string]string, f.rooms)
	for from := 0; from < f.rooms; from += 100 {
		p := f.redis.keys.Pipeline()
		var answers []*redis.MapStringStringCmd
		for i := from; i < min(from+100, f.rooms); i++ {
			answers = append(answers, p.HGetAll(ctx, f.roomKey(i)))
		}
		if _, err := p.Exec(ctx); err != nil {
			return nil, err
		}
		for i, a := range answers {
			rooms[from+i] = map[string]string{}
			for conn, value := range a.Val() {
				if conn == "#" {
					continue
				}
				var m listed
				if err := json.Unmarshal([]byte(value), &m); err != nil {
					return nil, fmt.Errorf("%s: %s: %w", f.room(from+i), value, err)
				}
				rooms[from+i][app+":"+conn] = string(m.Data)
			}
		}
	}
	return rooms, nil
}

// compare is nil when clients, Redis and observers agree; the error counts and shows.
func (f *field) compare(held []map[string]string) error {
	believed := make([]map[string]string, f.rooms)
	for i := range believed {
		believed[i] = map[string]string{}
	}
	for _, c := range f.clients {
		for _, s := range c.seats {
			if s.member && c.phase == on {
				believed[s.room][c.id] = s.data
			}
		}
	}
	var faults []string
	for i := range held {
		faults = append(faults, f.differences("Redis", i, held[i], believed[i], "what the clients were acknowledged")...)
		for _, o := range f.observers {
			if !o.dead {
				faults = append(faults, f.differences(o.name+" at n"+strconv.Itoa(o.node+1), i, o.rooms[i].members, held[i], "Redis")...)
			}
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%d differences: %s", len(faults), strings.Join(faults[:min(len(faults), 6)], "; "))
}

func (f *field) differences(who string, room int, got, want map[string]string, whose string) (list []string) {
	if maps.Equal(got, want) {
		return nil
	}
	for id, data := range got {
		if w, ok := want[id]; !ok {
			list = append(list, fmt.Sprintf("%s has %s in %s, %s does not", who, id, f.room(room), whose))
		} else if w != data {
			list = append(list, fmt.Sprintf("%s has %s of %s in %s, %s %s", who, data, id, f.room(room), whose, w))
		}
	}
	for id := range want {
		if _, ok := got[id]; !ok {
			list = append(list, fmt.Sprintf("%s lacks %s in %s, unlike %s", who, id, f.room(room), whose))
		}
	}
	return list
}

// limit is until when the leave of an end must have come, from its cause.
func (f *field) limit(e end) time.Duration {
	usual := f.times.bound(e.kind)
	limit := usual
	h := f.hit
	if h.redis && e.cause.Add(usual).After(h.began) && e.cause.Before(h.repaired.Add(f.times.ttl)) {
		// What is due waits for its return, a grace that could not begin begins
		// then, and reapers and reclaims wait for one lease more.
		limit = max(limit, h.repaired.Add(usual+f.times.ttl).Sub(e.cause))
	}
	if h.lost && e.cause.Before(h.repaired.Add(f.times.ttl)) {
		// Who is missing in an empty Redis is told to have left when every node
		// had a lease's time, from when it knows that server, to write what it has.
		limit = max(limit, h.repaired.Add(usual+3*f.times.ttl).Sub(e.cause))
	}
	if h.lapsed && h.node == e.node && e.kind == closed {
		limit = max(limit, usual+6*time.Second)
	}
	if h.halves > 0 {
		limit = max(limit, usual+h.halves+2*time.Second)
	}
	if h.links && (h.node == e.node || h.node < 0) {
		// What was on the way is repeated when it can no longer arrive.
		limit = max(limit, h.repaired.Add(usual+2*time.Second).Sub(e.cause))
	} else if h.node == e.node && e.cause.Add(usual).After(h.began) && (e.cause.Before(h.repaired) || h.repaired == h.began) {
		limit = max(limit, h.began.Add(f.times.bound(nodeLost)).Sub(e.cause))
	}
	return limit
}

// count compares what clients did with what observers were told.
func (f *field) count(r *result, c *cell, before, after []float64) {
	r.departures = map[kind]*lateness{}
	h := f.hit
	for _, o := range f.observers {
		exact := !o.rebased && !o.dead && !h.lost
		for i := range before {
			if after[i] != before[i] && (i == o.node || o.resumed > 0) {
				exact = false
			}
		}
		if exact {
			r.exact++
		}
		r.observers++
		if o.dead {
			r.fail("%s is dead", o.name)
			continue
		}
		r.events += o.events
		r.twice += o.twice
		if c.still && o.events > 0 {
			r.fail("%s was told %d events, want none", o.name, o.events)
		}
		if c.keeps && o.lost > 0 {
			r.fail("%s had to reconnect %d times", o.name, o.lost)
		}
		for _, cl := range f.clients {
			for _, s := range cl.seats {
				t := o.rooms[s.room].tallies[cl.id]
				if t == nil {
					t = &tally{}
				}
				v := judge(s, t, exact)
				r.flaps += v.flapped
				if v.joins != 0 || v.leaves != 0 {
					r.wrong++
					r.gone += v.gone
					f.violate("joins or leaves are not one a membership", "%s at n%d about %s (%s, phase %d, n%d) in %s: told %d joins, %d leaves %v; begun %d, ended %d %v, flaps %d, unsure %v, member %v",
						o.name, o.node+1, cl.id, cl.name, cl.phase, cl.node+1, f.room(s.room), t.joins, len(t.leaves), t.leaves, s.begun, len(s.ends), s.ends, s.flaps, s.unsure, s.member)
				}
				if h.node == o.node || o.lost > 0 || len(t.leaves) != len(s.ends) {
					continue // late by itself, or not comparable one by one
				}
				for i, e := range s.ends {
					if e.cause.IsZero() || t.leaves[i].at.IsZero() {
						continue
					}
					l := r.departures[e.kind]
					if l == nil {
						l = &lateness{}
						r.departures[e.kind] = l
					}
					took := max(0, t.leaves[i].done.Sub(e.cause))
					r.told = max(r.told, t.leaves[i].at.Sub(t.leaves[i].done))
					l.add(took, f.limit(e), f.times.bound(e.kind))
					if e.kind == timeout && s.flaps == 0 && t.leaves[i].reason != left.String() && h.node != e.node && !h.redis && took < f.times.grace-200*time.Millisecond {
						f.violate("a leave came before the grace was over", "%s at n%d about %s (%s, of n%d) in %s: lost at %s, leave after %v (%s)",
							o.name, o.node+1, cl.id, cl.name, e.node+1, f.room(s.room), e.cause.Format("15:04:05.000"), took.Round(time.Millisecond), t.leaves[i].reason)
					}
					if took > f.limit(e) && f.o.Tell {
						r.overdue++
					} else if took > f.limit(e) {
						f.violate("a leave came late", "%s at n%d about %s (%s, of n%d) in %s: %v at %s, leave after %v (%s), limit %v",
							o.name, o.node+1, cl.id, cl.name, e.node+1, f.room(s.room), e.kind, e.cause.Format("15:04:05.000"), took.Round(time.Millisecond), t.leaves[i].reason, f.limit(e).Round(time.Millisecond))
					}
				}
			}
		}
	}
	for _, cl := range f.clients {
		for _, s := range cl.seats {
			r.begun += s.begun
			r.ended += len(s.ends)
			if s.member {
				r.members++
			}
		}
	}
	if f.stalled > time.Second && len(r.failures)+len(f.violations) > 0 {
		r.fail("nothing here is sure: Redis or the machine stood still for %v, and no fault of this cell asked for it", f.stalled.Round(time.Millisecond))
	}
	r.late = f.late
	r.resumes, r.acts, r.slowest, r.answers = f.resumes, f.acts, f.slowest, f.answers
	for code, n := range f.cuts {
		r.cuts += n
		if c.keeps && code != 1013 {
			r.fail("%d sockets of clients ended (code %d), and none should have", n, code)
		}
	}
	if f.slowest > answerWithin && f.o.Tell {
		r.overdue++
	} else if f.slowest > answerWithin {
		r.fail("the slowest answer took %v", f.slowest.Round(time.Millisecond))
	}
	for _, what := range slices.Sorted(maps.Keys(f.violations)) {
		r.fail("%s: %d times", what, f.violations[what])
	}
}
