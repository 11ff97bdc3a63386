package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/scripts"
)

// operations measures what a join, an update and a leave cost the node and
// Redis, beside the bare scripts sent in pipelines of 64: the difference in
// Redis is what our way of asking costs. Rooms of ten, nobody observes.
func (h *harness) operations() error {
	n, err := h.node()
	if err != nil {
		return err
	}
	defer n.Stop(patience)
	f, err := h.connect(n, h.pair)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.each(h.pair, func(i int) []byte { return request("room:join", room(i)) }); err != nil {
		return fmt.Errorf("room join: %w", err)
	}
	bare, err := newBare(h.ctx, h.redis.client, h.pair)
	if err != nil {
		return err
	}
	stop := h.profile(n, "operations")
	steps := []struct {
		name  string
		build func(i int) []byte
	}{
		{"join", join},
		{"update", func(i int) []byte { return request("room:presence:update", room(i)+`,"userData":`+position) }},
		{"leave", func(i int) []byte { return request("room:presence:leave", room(i)) }},
	}
	node, inRedis, byScript := make([][]float64, len(steps)), make([][]float64, len(steps)), make([][]float64, len(steps))
	for range h.size.rounds {
		for i, step := range steps {
			used, err := spent(func() error { return f.each(h.pair, step.build) }, n.PID(), h.redis.PID())
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			node[i] = append(node[i], micros(used[0], h.pair))
			inRedis[i] = append(inRedis[i], micros(used[1], h.pair))
			used, err = spent(func() error { return bare.run(h.ctx, step.name) }, h.redis.PID())
			if err != nil {
				return fmt.Errorf("bare %s: %w", step.name, err)
			}
			byScript[i] = append(byScript[i], micros(used[0], h.pair))
		}
	}
	for i, step := range steps {
		h.add(Row{
			Case: step.name + ", node", Unit: "µs CPU an operation", Ours: node[i],
			Note: fmt.Sprintf("%d connections, %d at a time", h.pair, outstanding),
		})
		h.add(Row{
			Case: step.name + ", Redis", Unit: "µs CPU an operation", Ours: inRedis[i], Floor: byScript[i],
			Note: "floor: the bare script in pipelines of 64",
		})
	}
	return stop()
}

// bare calls the scripts without a node, an operation a call.
type bare struct {
	client     *redis.Client
	conns      []string
	validUntil string
}

func newBare(ctx context.Context, client *redis.Client, n int) (*bare, error) {
	b := &bare{client: client, validUntil: strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10)}
	for range n {
		b.conns = append(b.conns, presence.NewConnID().String())
	}
	for _, name := range []string{"join", "update", "leave"} {
		if err := client.ScriptLoad(ctx, scripts.Get(name).Source).Err(); err != nil {
			return nil, fmt.Errorf("load %s: %w", name, err)
		}
	}
	return b, nil
}

// run does one operation for every connection.
func (b *bare) run(ctx context.Context, name string) error {
	const pipeline = 64
	sha := scripts.Get(name).SHA
	for first := 0; first < len(b.conns); first += pipeline {
		pipe := b.client.Pipeline()
		for i := first; i < min(first+pipeline, len(b.conns)); i++ {
			tag := "bare:{bench:" + strconv.Itoa(i/10) + "}"
			pipe.EvalSha(ctx, sha, []string{tag + ":members"}, b.args(name, tag+":feed", i)...)
		}
		replies, err := pipe.Exec(ctx)
		if err != nil {
			return err
		}
		for _, r := range replies {
			list, err := r.(*redis.Cmd).Slice()
			if err != nil {
				return err
			}
			text, _, _ := strings.Cut(fmt.Sprint(list[0]), " ") // of a join with the time behind it
			if rev, err := strconv.ParseInt(text, 10, 64); err != nil || rev == 0 {
				return fmt.Errorf("the script answered %v", list)
			}
		}
	}
	return nil
}

func (b *bare) args(name, channel string, i int) []any {
	const inc, stamp = "1", "bare.1"
	tail := `"client":"client` + strconv.Itoa(i) + `","data":` + position + `}`
	switch name {
	case "join":
		return []any{b.validUntil, "0", stamp, "0", channel, b.conns[i], inc, "0", tail}
	case "update":
		return []any{b.validUntil, "0", stamp, channel, b.conns[i], inc, "0", tail}
	}
	return []any{b.validUntil, "0", channel, b.conns[i], inc, "left", ""}
}
