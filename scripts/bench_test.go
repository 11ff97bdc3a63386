package scripts

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
)

// The cost of the room scripts in Redis CPU, which is what a Redis core is
// divided by: INFO cpu before and after, by operations. Pipelines of 64 calls;
// rooms of 8 members; nobody listens. The floor is a script with the same keys
// and arguments that does nothing, and one that only runs the commands of a
// join.
//
//	go test -run '^$' -bench . -benchtime 300000x ./scripts
func BenchmarkRedisCPU(b *testing.B) {
	const far = "99999999999999" // validUntil
	room := func(i int) string { return fmt.Sprintf("presence:{app1:room-%d}:", i) }
	conn := func(i int) string { return fmt.Sprintf("%020x", i) }
	tail := `"client":"1234","data":{"username":"Bob","lat":51.5074,"n":1}}`
	fill := func(i int) []any { return []any{room(i/8) + "feed", conn(i), "1795569460002", "0", tail} }

	commands := "#!lua\n" + `redis.call('TIME')
for i = 1, #KEYS do
  local a = 5 * i
  redis.call('HMGET', KEYS[i], '#', ARGV[a + 1])
  redis.call('HLEN', KEYS[i])
  redis.call('HSET', KEYS[i], '#', '1795569466197665', ARGV[a + 1], ARGV[a + 4])
  redis.call('SPUBLISH', ARGV[a], ARGV[a + 4])
end
return {}`
	for _, bench := range []struct {
		name   string
		script string // its name, or its text
		head   []any
		op     func(i int) []any
		filled bool // the members are there before
	}{
		{"floor-nothing", "#!lua\nreturn {}", []any{far, "0", "n1.5", "50000"}, fill, false},
		{"floor-commands", commands, []any{far, "0", "n1.5", "50000"}, fill, false},
		{"join", "join", []any{far, "0", "n1.5", "50000"}, fill, false},
		{"update", "update", []any{far, "0", "n1.5"}, fill, true},
		{
			"leave", "leave",
			[]any{far, "0"},
			func(i int) []any { return []any{room(i/8) + "feed", conn(i), "1795569460002", "left", ""} }, true,
		},
		{
			"leave-of-nobody", "leave",
			[]any{far, "0"},
			func(i int) []any { return []any{room(i/8) + "feed", conn(i), "1795569460002", "left", ""} }, false,
		},
		{
			"adopt", "adopt",
			[]any{far, "n2.1"},
			func(i int) []any { return []any{conn(i), "1795569460003", "1795569460002"} }, true,
		},
		{"assert-of-what-is-there", "assert", []any{far, "0", "n1.5", "0"}, fill, true},
	} {
		for _, perCall := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/ops=%d", bench.name, perCall), func(b *testing.B) {
				s := redistest.Start(b, "--hash-max-listpack-value", "512", "--hash-max-listpack-entries", "128")
				c := s.Client(b)
				load := func(script string) (sha string) {
					if !strings.HasPrefix(script, "#!lua") {
						script = Get(script).Source
					}
					sha, err := c.ScriptLoad(b.Context(), script).Result()
					if err != nil {
						b.Fatal(err)
					}
					return sha
				}
				if bench.filled {
					runPipelines(b, c, load("join"), []any{far, "0", "n1.5", "50000"}, fill, room, 8)
				}
				sha := load(bench.script)
				before := redisCPU(b, c)
				b.ResetTimer()
				runPipelines(b, c, sha, bench.head, bench.op, room, perCall)
				b.StopTimer()
				b.ReportMetric((redisCPU(b, c)-before)*1e6/float64(b.N), "redis-µs/op")
			})
		}
	}
}

// runPipelines runs b.N operations, perCall in a call and 64 calls in flight.
func runPipelines(b *testing.B, c *redis.Client, sha string, head []any, op func(int) []any, room func(int) string, perCall int) {
	b.Helper()
	for i := 0; i < b.N; {
		pipe := c.Pipeline()
		for range 64 {
			keys, args := []string(nil), append([]any(nil), head...)
			for range perCall {
				keys = append(keys, room(i/8)+"members")
				args = append(args, op(i)...)
				if i++; i == b.N {
					break
				}
			}
			pipe.EvalSha(b.Context(), sha, keys, args...)
			if i == b.N {
				break
			}
		}
		cmds, err := pipe.Exec(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range cmds[0].(*redis.Cmd).Val().([]any) {
			if word, is := r.(string); is && word[0] >= 'A' && word[0] <= 'Z' {
				b.Fatalf("a script answered %q", word)
			}
		}
	}
}

// redisCPU returns the seconds of CPU that Redis's main thread has used.
func redisCPU(b *testing.B, c *redis.Client) float64 {
	b.Helper()
	info, err := c.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	var sum float64
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user_main_thread" || name == "used_cpu_sys_main_thread" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += seconds
		}
	}
	return sum
}
