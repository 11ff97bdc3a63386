package redisstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// The check: did this node miss an event of a room? Asked of every hosted room
// when its subscription is confirmed again, and of all of them now and then
// (the audit), which finds what was changed by hand without an event.
//
//	read `#` of many rooms in one pipeline ─▶ echo through the link ─▶ compare
//
// Events that the reading holds may still be on their way when it is here;
// behind the echo they are not. So a room that differs then did miss something
// and is read; the others, which is nearly all of them, cost one HGET.

const (
	checkChunk = 1000
	checkRetry = 200 * time.Millisecond
	// auditTime is how often all rooms are checked. One HGET is 0.6 µs of
	// Redis: 100,000 rooms are a thousandth of it.
	auditTime = time.Minute
)

// checkQueue holds the rooms that wait for a check.
type checkQueue struct {
	wait   []*sighting
	flying bool
}

// sighting is one room in a check: what we knew before `#` was read, and it.
type sighting struct {
	room      *hosted
	asked     *link // that brought the room's events then
	cause     string
	snapshots int // that the replica was made of
	last      presence.Revision
	shown     presence.Revision // of the highest list that was ahead of last; 0: none
	found     presence.Revision // 0: no room; -1: not a number
}

// check checks r soon.
func (f *feed) check(r *hosted, cause string) {
	f.checks.wait = append(f.checks.wait, &sighting{room: r, cause: cause})
}

// auditAll checks every room.
func (f *feed) auditAll() {
	f.after(f.audit, f.auditAll)
	if len(f.checks.wait) > 0 {
		return
	}
	for _, r := range f.rooms {
		if r.known && !r.reading && r.sub.on {
			f.check(r, causeAudit)
		}
	}
}

// startCheck sends the next chunk, one at a time.
func (f *feed) startCheck() {
	for !f.checks.flying && len(f.checks.wait) > 0 {
		n := min(checkChunk, len(f.checks.wait))
		f.sendCheck(f.checks.wait[:n])
		f.checks.wait = f.checks.wait[n:]
	}
}

func (f *feed) sendCheck(chunk []*sighting) {
	var list []*sighting
	for _, s := range chunk {
		if r := s.room; !r.gone && !r.reading && r.sub.on {
			s.asked, s.snapshots, s.last, s.shown = r.sub.up.link, r.replica.snapshots, r.replica.last, r.replica.ahead()
			list = append(list, s)
		}
	}
	if len(list) == 0 {
		return
	}
	f.checks.flying = true
	f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		err := f.readRevisions(ctx, list)
		return func() { f.checked(list, err) }
	})
}

// readRevisions reads `#` of the rooms.
func (f *feed) readRevisions(ctx context.Context, list []*sighting) error {
	cmds, err := f.client().Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, s := range list {
			p.HGet(ctx, f.keys.members(s.room.id.app, s.room.id.room), fieldRevision)
		}
		return nil
	})
	if len(cmds) != len(list) {
		return err
	}
	for i, s := range list {
		text, err := cmds[i].(*redis.StringCmd).Result()
		var refusal redis.Error // an answer, such as that of a key of another type
		switch {
		case errors.Is(err, redis.Nil):
			s.found = 0
		case errors.As(err, &refusal):
			s.found = -1
		case err != nil:
			return err
		default:
			s.found = parseRevision(text)
		}
	}
	return nil
}

// parseRevision reads the field `#`; -1 when it is no revision.
func parseRevision(text string) presence.Revision {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 || n > maxRevision {
		return -1
	}
	return presence.Revision(n)
}

func (f *feed) checked(list []*sighting, err error) {
	f.checks.flying = false
	if err != nil {
		f.log.Debug("could not check rooms, trying again", "count", len(list), "err", err)
		f.after(checkRetry, func() { f.checks.wait = append(f.checks.wait, list...) })
		return
	}
	for _, u := range f.ups {
		if u.link == nil {
			continue
		}
		// Those of a link that has ended are checked again when they are confirmed.
		own := slices.DeleteFunc(slices.Clone(list), func(s *sighting) bool { return s.asked != u.link })
		if len(own) == 0 {
			continue
		}
		u.barrier(func() {
			for _, s := range own {
				s.room.compare(s)
			}
		})
	}
}

// compare reads the room when an event was missed. Between the reading and now
// every event came that the reading holds, so the revision was reached, or not.
func (r *hosted) compare(s *sighting) {
	if r.gone || r.reading || r.replica.snapshots != s.snapshots {
		return // a snapshot came in between: it has its own barrier
	}
	r.replica.settling, r.replica.void = false, false
	if r.replica.missed(s) {
		r.read(s.cause)
	}
}

// missed compares the replica with a reading of `#` that began when its
// revision was s.last, and behind which nothing is on its way any more.
func (p *replica) missed(s *sighting) bool {
	switch {
	case s.shown > p.last: // a list was ahead, and the events did not catch up
		return true
	case s.found == 0: // empty then; if nothing came since, it is empty for us too
		return s.last == p.last && p.live() > 0
	case s.found < s.last: // went back, or is no number
		return true
	}
	return s.found > p.last
}
