package node

import (
	"crypto/subtle"
	"log/slog"
	"sync"
	"time"
)

// endLog writes one line for each connection that ends, at most endsPerSecond
// of them in a second, and says how many it left out: a client can come and go
// a thousand times a second.
type endLog struct {
	log *slog.Logger

	mu      sync.Mutex // protects the rest
	second  int64
	written int
	left    int
}

const endsPerSecond = 20

// allow reports whether a line may be written now, and how many were left out before it.
func (e *endLog) allow(now time.Time) (ok bool, left int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := now.Unix(); s != e.second {
		e.second, e.written = s, 0
	}
	if e.written == endsPerSecond {
		e.left++
		return false, 0
	}
	e.written++
	left, e.left = e.left, 0
	return true, left
}

func (n *Node) logEnd(l *loop, c *conn, why end) {
	ok, left := n.ends.allow(l.now)
	if !ok {
		return
	}
	attrs := []any{"app", c.key.App.ID, "conn", c.id.String(), "client", c.client, "loop", l.id, "reason", why.String()}
	if left > 0 {
		attrs = append(attrs, "count", left)
	}
	n.opts.Log.Info("connection ended", attrs...)
}

// equal compares two secrets in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
