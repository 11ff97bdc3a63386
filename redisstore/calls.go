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

// callAll runs one script once for each request, in one pipeline, for those
// that do not go through a lane. It blocks for a round trip, three when Redis
// has forgotten the script. Each result has its own reply or error; the
// requests that Redis did not know the script of are sent again, the others
// are not.
func callAll(ctx context.Context, client *redis.Client, s script, list []request) []*redis.Cmd {
	results := make([]*redis.Cmd, len(list))
	again := make([]int, len(list))
	for i := range list {
		again[i] = i
	}
	for range 2 {
		pipe := client.Pipeline()
		for _, i := range again {
			results[i] = pipe.EvalSha(ctx, s.sha, list[i].keys, list[i].args...)
		}
		_, _ = pipe.Exec(ctx) // how each went is in it
		again = again[:0]
		for i, r := range results {
			if fateOf(r.Err()) == fateNoScript {
				again = append(again, i)
			}
		}
		if len(again) == 0 || loadScripts(ctx, client) != nil {
			break
		}
	}
	return results
}
