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
func (u *upstream) lookBack() {
	h := &u.heard
	h.round++
	h.moved = 0
	round := h.round
	u.f.edge.Connections(func(held []presence.Held) {
		u.f.post(func() { u.lookAt(round, u.ofShards(held)) })
	})
}

// ofShards returns those of the connections whose shards are on this master.
func (u *upstream) ofShards(held []presence.Held) []presence.Held {
	if len(u.heard.shards) == shards {
		return held
	}
	var here [shards]bool
	for _, s := range u.heard.shards {
		here[s.shard] = true
	}
	var own []presence.Held
	for _, h := range held {
		if here[h.Conn.Shard()] {
			own = append(own, h)
		}
	}
	return own
}

// lookAt looks at the next connections; behind the last, probes are sent again.
func (u *upstream) lookAt(round int, held []presence.Held) {
	if round != u.heard.round {
		return
	}
	if len(held) == 0 {
		u.looked(round)
		return
	}
	chunk := held[:min(len(held), lookBackChunk)]
	f := u.f
	f.beside(func(ctx context.Context) func() {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		sessions := make([]*redis.SliceCmd, len(chunk))
		pipe := f.client().Pipeline()
		for i, h := range chunk {
			sessions[i] = pipe.HMGet(ctx, f.keys.session(h.Conn), "inc", "node")
		}
		_, err := pipe.Exec(ctx)
		var refusal redis.Error // an answer, such as that of a key of another type
		if errors.As(err, &refusal) {
			err = nil
		}
		return func() { u.haveLooked(round, held, sessions, err) }
	})
}

func (u *upstream) haveLooked(round int, held []presence.Held, sessions []*redis.SliceCmd, err error) {
	if round != u.heard.round {
		return
	}
	for i, s := range sessions {
		if err == nil && s.Err() == nil {
			u.compare(held[i], s.Val())
		} else if err == nil && u.f.refusedAll(s.Err()) {
			err = s.Err()
		}
	}
	if err != nil {
		u.f.complainAt(u, "could not look for connections that were taken, trying again", err)
		u.f.after(checkRetry, func() { u.lookAt(round, held) })
		return
	}
	u.lookAt(round, held[len(sessions):])
}

// looked ends the look back. The edge answers behind what it was told, so that
// nothing of a connection that moved is on its way to Redis when a probe counts.
func (u *upstream) looked(round int) {
	h := &u.heard
	if h.moved == 0 {
		h.sure = true
		return
	}
	h.moved = 0
	u.f.edge.Connections(func([]presence.Held) {
		u.f.post(func() { h.sure = h.sure || round == h.round })
	})
}

// refusedAll reports whether an answer is not of one key but of a server that
// answers nothing just now: loading its data, say.
func (f *feed) refusedAll(err error) bool {
	how := fateOf(err)
	return how == fateAway || how == fateMoved
}

// compare tells the edge when a session is another node's now.
func (u *upstream) compare(h presence.Held, session []any) {
	text, _ := session[0].(string)
	node, there := session[1].(string)
	inc, ok := parseDecimal([]byte(text))
	if !there || !ok || u.f.ctl.own(node) || inc < h.Inc {
		return
	}
	u.f.log.Info("a connection was taken over while this node could not be told", "conn", h.Conn.String())
	u.heard.moved++
	u.f.taken(h.Conn, max(inc, h.Inc+1))
}

// complainAt logs what comes in crowds and is of one master: one line a second.
func (f *feed) complainAt(u *upstream, what string, err error) {
	if now := time.Now(); now.Sub(f.complained) > time.Second {
		f.complained = now
		f.log.Warn(what, "master", u.name, "err", err)
	}
}
