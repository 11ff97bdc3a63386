package e2e

import (
	"strings"
	"testing"
)

// A Redis that reads its data in answers, but cannot serve: that is nothing
// that a client has done wrong, and nothing that it cannot try again.
func TestWhileRedisLoadsItsDataItIsUnavailable(t *testing.T) {
	p := startPairOn(t, []string{
		"--appendonly", "yes", "--aof-use-rdb-preamble", "yes",
		// So slow, and so attentive meanwhile, are real data sets.
		"--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024",
	}, unlimited...)
	c := enter(t, p.n1, "bob")
	c.enterRoom("r")
	c.acked("room:presence:join", `"roomId":"r","userData":1`, `"localapp:r:$:presence:join"`)
	for _, args := range [][]any{{"debug", "populate", 1500, "filler", 100}, {"bgrewriteaof"}} {
		if err := p.keys.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the data is in the file", func() bool {
		info := p.keys.Info(t.Context(), "persistence").Val()
		return strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0")
	})
	restarted := make(chan struct{})
	go func() {
		defer close(restarted)
		p.redis.Restart(t) // returns when it is loaded
	}()
	asked := []struct{ kind, fields string }{
		{"room:presence:count", `"roomId":"r"`},
		{"room:presence:get", `"roomId":"r"`},
		{"publish", `"roomId":"q","event":"m","data":1`},
		{"room:presence:join", `"roomId":"r","userData":2`},
		{"room:join", `"roomId":"s"`},
	}
	words := map[string]int{}
	for running, i := true, 0; running; i++ {
		select {
		case <-restarted:
			running = false
		default:
		}
		q := asked[i%len(asked)]
		got, ackID := c.ask(q.kind, q.fields)
		if strings.Contains(got, `"err"`) {
			words[c.isRefusal(got, ackID, "UnavailableError", 503, "unavailable").Message]++
		}
		if t.Failed() {
			<-restarted
			return
		}
	}
	t.Log(words)
	eventually(t, "a count is answered", func() bool {
		got, _ := c.ask("room:presence:count", `"roomId":"r"`)
		return strings.Contains(got, `"data":1,`)
	})
}
