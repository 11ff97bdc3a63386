package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// request is one call of a script, of several that travel together.
type request struct {
	keys []string
	args []any
}

// callAll runs one script once for each request, in one pipeline a master, for
// those that do not go through a lane. It blocks for a round trip, some more
// when a master has forgotten the script. Each result has its own reply or
// error; the requests that Redis did not know the script of are sent again, the
// others are not.
func (s *Store) callAll(ctx context.Context, sc script, list []request) []*redis.Cmd {
	return callAll(ctx, s.control(), s.masters.load, sc, list)
}

// callAll is [Store.callAll] with a client; load makes Redis know the scripts.
func callAll(ctx context.Context, client redis.UniversalClient, load func(context.Context) error, sc script, list []request) []*redis.Cmd {
	results := make([]*redis.Cmd, len(list))
	again := make([]int, len(list))
	for i := range list {
		again[i] = i
	}
	for range 2 {
		pipe := client.Pipeline()
		for _, i := range again {
			results[i] = pipe.EvalSha(ctx, sc.sha, list[i].keys, list[i].args...)
		}
		_, _ = pipe.Exec(ctx) // how each went is in it
		again = again[:0]
		for i, r := range results {
			if fateOf(r.Err()) == fateNoScript {
				again = append(again, i)
			}
		}
		if len(again) == 0 || load(ctx) != nil {
			break
		}
	}
	return results
}
