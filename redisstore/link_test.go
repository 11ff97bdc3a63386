package redisstore

import (
	"context"
	"errors"
	"net"
	"runtime"
	"testing"

	"github.com/redis/go-redis/v9"

	"presencesets/internal/redistest"
)

// TestLinkThatIsKilledWhileItDialsEnds: whoever closes what is there must also
// close what comes a moment later, or the link's reader waits for ever, and the
// store's end with it.
func TestLinkThatIsKilledWhileItDialsEnds(t *testing.T) {
	ctx, kill := context.WithCancelCause(context.Background())
	killed := errors.New("killed")
	var l *link
	opts := *redistest.Shared(t).Client(t).Options()
	dial := opts.Dialer
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		kill(killed)
		for closed := false; !closed; runtime.Gosched() {
			l.mu.Lock()
			closed = l.over
			l.mu.Unlock()
		}
		return conn, err
	}
	client := redis.NewClient(&opts)
	defer func() { _ = client.Close() }() // nothing was sent on it
	over := make(chan error, 1)
	l = newLink(client, "killed", func(_ context.Context, d delivery) {
		if d.err != nil {
			over <- d.err
		}
	})
	l.kill = kill
	l.run(ctx)
	if err := <-over; !errors.Is(err, killed) {
		t.Errorf("the link ended with %v, want %v", err, killed)
	}
}
