package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
)

// The look back. While ctl was not subscribed, nobody could tell this node that
// a connection was taken over. So before a probe counts again, and with it
// before anything is written that the last probe does not allow, the session of
// each connection that is live here is looked at:
//
//	all of ctl confirmed ─▶ edge.Connections ─▶ HMGET inc node ─▶ edge.Taken
//	        ▲                                        │ error          │
//	        └── a new link                           └▶ again         └▶ probes
//
// A session that another node holds was taken, at our incarnation or a higher
// one. One that is missing, or older than what we hold, was lost by Redis: to
// restore it is the reclaim's part (doubt.go). One that this process holds was
// taken by its own edge, which knows.

// lookBackChunk is how many sessions are looked at in one pipeline.
const lookBackChunk = 1000

// lookBack looks for connections that were taken while nobody could tell. What
// it began for an earlier subscription is of no use then.
func (c *ctl) lookBack() {
	c.round++
	c.moved = 0
	round := c.round
	c.f.edge.Connections(func(held []presence.Held) {
		c.f.post(func() { c.lookAt(round, held) })
	})
}

// lookAt looks at the next connections; behind the last, probes are sent again.
func (c *ctl) lookAt(round int, held []presence.Held) {
	if round != c.round {
		return
	}
	if len(held) == 0 {
		c.looked(round)
		return
	}
	chunk := held[:min(len(held), lookBackChunk)]
	f := c.f
	f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		sessions := make([]*redis.SliceCmd, len(chunk))
		pipe := f.client.Pipeline()
		for i, h := range chunk {
			sessions[i] = pipe.HMGet(ctx, f.keys.session(h.Conn), "inc", "node")
		}
		_, err := pipe.Exec(ctx)
		var refusal redis.Error // an answer, such as that of a key of another type
		if errors.As(err, &refusal) {
			err = nil
		}
		return func() { c.haveLooked(round, held, sessions, err) }
	})
}

func (c *ctl) haveLooked(round int, held []presence.Held, sessions []*redis.SliceCmd, err error) {
	if round != c.round {
		return
	}
	for i, s := range sessions {
		if err == nil && s.Err() == nil {
			c.compare(held[i], s.Val())
		} else if err == nil && c.f.refusedAll(s.Err()) {
			err = s.Err()
		}
	}
	if err != nil {
		c.f.complainOf("could not look for connections that were taken, trying again", err)
		c.f.after(checkRetry, func() { c.lookAt(round, held) })
		return
	}
	c.lookAt(round, held[len(sessions):])
}

// looked ends the look back. The edge answers behind what it was told, so that
// nothing of a connection that moved is on its way to Redis when a probe counts.
func (c *ctl) looked(round int) {
	if c.moved == 0 {
		c.sure = true
		return
	}
	c.moved = 0
	c.f.edge.Connections(func([]presence.Held) {
		c.f.post(func() { c.sure = c.sure || round == c.round })
	})
}

// refusedAll reports whether an answer is not of one key but of a server that
// answers nothing just now: loading its data, say.
func (f *feed) refusedAll(err error) bool { return fateOf(err) == fateAway }

// compare tells the edge when a session is another node's now.
func (c *ctl) compare(h presence.Held, session []any) {
	text, _ := session[0].(string)
	node, there := session[1].(string)
	inc, ok := parseDecimal([]byte(text))
	if !there || !ok || c.own(node) || inc < h.Inc {
		return
	}
	c.f.log.Info("a connection was taken over while this node could not be told", "conn", h.Conn.String())
	c.moved++
	c.f.taken(h.Conn, max(inc, h.Inc+1))
}

// complainOf logs what comes in crowds and is not of a room: one line a second.
func (f *feed) complainOf(what string, err error) {
	if now := time.Now(); now.Sub(f.complained) > time.Second {
		f.complained = now
		f.log.Warn(what, "master", f.master, "err", err)
	}
}
