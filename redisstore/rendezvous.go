package redisstore

import (
	"context"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// Who looks after a shard. Every node could do all that is due, but then every
// node would do it at the same moment. So each shard has a first: the node
// with the highest hash of (shard, stamp). When a node comes or goes only its
// own shards change hands. Nobody has to agree: two who believe that a shard is
// theirs do no harm, and one that nobody believes to be his is looked after by
// all the others, a moment later.

// lineup is which nodes there are, as the registry showed it. It is never
// changed.
type lineup struct {
	stamp  string // ours
	own    [shards]bool
	others []peer // those alive, ordered by stamp
}

// peer is another node that holds its lease.
type peer struct {
	stamp string
	registryValue
}

// readLineup reads who is alive. It blocks for a round trip.
func (s *Store) readLineup(ctx context.Context) (*lineup, error) {
	ctx, cancel := context.WithTimeout(ctx, opLife)
	defer cancel()
	grant := s.lease.grant.Load()
	pipe := s.control().Pipeline()
	registry := pipe.HGetAll(ctx, s.keys.registry())
	// The lease's key and this score are set in one step, so that one command
	// tells whose lease is held.
	held := pipe.ZRangeByScore(ctx, s.keys.nodesDue(), &redis.ZRangeBy{
		Min: strconv.FormatInt(grant.upper(s.clock()), 10), Max: "+inf",
	})
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, err
	}
	l := &lineup{stamp: grant.stamp}
	var stamps []string
	for _, stamp := range held.Val() {
		value, ok := registry.Val()[stamp]
		if !ok {
			continue // condemned
		}
		stamps = append(stamps, stamp)
		if stamp == l.stamp {
			continue
		}
		p := peer{stamp: stamp}
		if err := json.Unmarshal([]byte(value), &p.registryValue); err != nil {
			s.log.Warn("the registry holds an unreadable value", "epoch", stamp, "err", err)
			p.ProbeMs = -1
		}
		l.others = append(l.others, p)
	}
	slices.SortFunc(l.others, func(a, b peer) int {
		if a.stamp < b.stamp {
			return -1
		}
		return 1
	})
	l.own = ownShards(l.stamp, stamps)
	return l, nil
}

// ownShards returns the shards of which stamp is the first among stamps; none,
// where it is not one of them.
func ownShards(stamp string, stamps []string) (own [shards]bool) {
	if !slices.Contains(stamps, stamp) {
		return own
	}
	for shard := range own {
		best, top := "", uint64(0)
		for _, s := range stamps {
			if h := weight(shard, s); best == "" || h > top || h == top && s < best {
				best, top = s, h
			}
		}
		own[shard] = best == stamp
	}
	return own
}

// weight is the hash of a shard and a stamp. Nodes of all versions that share a
// Redis should have the same one, so it must not change.
func weight(shard int, stamp string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(stamp)) // never fails
	// FNV's last bytes hardly reach its high bits, so it is mixed once more
	// (the end of splitmix64).
	x := h.Sum64() ^ uint64(shard)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ready reports whether a peer takes connections, as far as can be told from
// here: it hears its own probes and does not drain.
func (p *peer) ready() bool {
	return !p.Draining && p.ProbeMs >= 0 && p.ProbeMs < probeLimit.Milliseconds()
}
