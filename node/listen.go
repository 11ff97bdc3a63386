package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	presence "presencesets"
)

// The ports. One goroutine accepts on the client port and gives each socket to
// the loop with the fewest connections; a request that turns out to be plain
// HTTP comes back from its loop and goes to net/http through handedOver. The
// admin port is net/http from the start.

// listen opens the client port on a raw descriptor.
func listen(addr string) (fd int, bound *net.TCPAddr, err error) {
	ln, err := net.Listen("tcp", addr) // resolves names and picks the family for us
	if err != nil {
		return 0, nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	defer ln.Close()
	file, err := ln.(*net.TCPListener).File()
	if err != nil {
		return 0, nil, fmt.Errorf("take the descriptor of %s: %w", addr, err)
	}
	defer file.Close()
	fd, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("keep the descriptor of %s: %w", addr, err)
	}
	return fd, ln.Addr().(*net.TCPAddr), nil
}

// accept runs until the listening descriptor is shut down.
func (n *Node) accept() {
	// A file in the runtime's poller, so that the goroutine parks.
	if err := unix.SetNonblock(n.listenFD, true); err != nil {
		n.opts.Log.Error("accept", "err", err)
		return
	}
	file := os.NewFile(uintptr(n.listenFD), "client port")
	n.mu.Lock()
	n.listenFile = file
	closed := n.stopping
	n.mu.Unlock()
	if closed {
		file.Close()
		return
	}
	raw, err := file.SyscallConn()
	if err != nil {
		n.opts.Log.Error("accept", "err", err)
		return
	}
	for {
		var (
			fd   int
			aerr error
		)
		err := raw.Read(func(lfd uintptr) bool {
			fd, aerr = acceptSocket(int(lfd))
			return aerr != unix.EAGAIN
		})
		if err != nil {
			return // closed
		}
		switch aerr {
		case nil:
			n.place(fd)
		case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS:
			// Never spin, never exit: somebody will close something.
			n.opts.Metrics.LimitHits.WithLabelValues("descriptors").Inc()
			if !n.pause(50 * time.Millisecond) {
				return
			}
		case unix.ECONNABORTED, unix.EINTR, unix.EPROTO:
		case unix.EBADF, unix.EINVAL:
			return
		default:
			n.opts.Log.Warn("accept", "err", aerr)
			if !n.pause(50 * time.Millisecond) {
				return
			}
		}
	}
}

// place gives a new socket to a loop, or refuses it when the node is full.
func (n *Node) place(fd int) {
	kind := taskSocket
	if above := int(n.open.Add(1)) - n.opts.MaxConnections; above > 0 {
		n.opts.Metrics.LimitHits.WithLabelValues("connections").Inc()
		n.opts.Metrics.HandshakeFailures.WithLabelValues("full").Inc()
		if above > fullMost {
			n.open.Add(-1)
			send(fd, fullAnswer)
			_ = unix.Shutdown(fd, unix.SHUT_WR) // about to be closed
			_ = unix.Close(fd)
			return
		}
		kind = taskFull
	}
	tuneSocket(fd)
	for {
		var best *loop
		for _, l := range n.loops {
			if int(l.heads.Load()) < n.opts.Heads && (best == nil || l.count.Load() < best.count.Load()) {
				best = l
			}
		}
		if best != nil {
			best.count.Add(1)
			best.heads.Add(1)
			if !best.post(task{kind: kind, fd: int32(fd)}) {
				best.count.Add(-1)
				best.heads.Add(-1)
				n.open.Add(-1)
				_ = unix.Close(fd)
			}
			return
		}
		n.opts.Metrics.LimitHits.WithLabelValues("heads").Inc()
		if !n.pause(10 * time.Millisecond) {
			n.open.Add(-1)
			_ = unix.Close(fd)
			return
		}
	}
}

// fullMost is how many sockets above the limit a loop answers and then reads
// from for a moment. The client of one above that, too, may see a reset instead.
const fullMost = 256

// fullAnswer is what a socket above the limit is sent.
var fullAnswer = httpAnswer(http.StatusServiceUnavailable, &presence.Error{
	Code: presence.CodeUnavailable,
	Name: "UnavailableError", Message: "this node holds as many connections as it may", Retry: true, RetryAfterMs: 5000,
})

// pause waits, or reports false when the node stops.
func (n *Node) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-n.stop:
		return false
	}
}

// freed is called by a loop for each socket that it has closed or given away.
func (n *Node) freed() { n.open.Add(-1) }

// handedOver is the listener through which net/http gets its connections.
type handedOver struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	open  atomic.Int64 // connections that were handed over and are not closed
}

func newHandedOver(addr net.Addr) *handedOver {
	return &handedOver{addr: addr, conns: make(chan net.Conn, 128), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (h *handedOver) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handedOver) Close() error { h.once.Do(func() { close(h.done) }); return nil }

// Addr implements net.Listener.
func (h *handedOver) Addr() net.Addr { return h.addr }

// maxPlain bounds the HTTP connections of the client port that were handed over.
const maxPlain = 1024

// prefixed is a connection of which some bytes were read already. It is counted
// until it is closed.
type prefixed struct {
	net.Conn
	read   []byte
	count  *atomic.Int64
	closed sync.Once
}

// Close implements net.Conn.
func (p *prefixed) Close() error {
	p.closed.Do(func() { p.count.Add(-1) })
	return p.Conn.Close()
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.read) > 0 {
		n := copy(b, p.read)
		p.read = p.read[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

var errManyHTTP = presence.Errorf(presence.CodeUnavailable, "too many HTTP connections on this node")

// handOver takes c from the loop and gives it to net/http with the bytes read so far.
func (l *loop) handOver(c *conn, read []byte) {
	plain := &l.node.plain.open
	if plain.Load() >= maxPlain {
		l.m.limit("http")
		l.answer(c, http.StatusServiceUnavailable, errManyHTTP)
		return
	}
	nc, err := fileConn(int(c.fd))
	if err != nil {
		l.m.limit("descriptors")
		l.answer(c, http.StatusServiceUnavailable, errManyHTTP)
		return
	}
	p := &prefixed{Conn: nc, read: append([]byte(nil), read...), count: plain}
	plain.Add(1)
	select {
	case l.node.plain.conns <- p:
	default:
		_ = p.Close() // ours is left
		l.m.limit("http")
		l.answer(c, http.StatusServiceUnavailable, errManyHTTP)
		return
	}
	_ = l.poll.remove(int(c.fd)) // it is there; without this it would be reported until nc is closed, too
	l.destroy(c, endNone)
}

// fileConn is a net.Conn with a descriptor of its own for the socket fd.
func fileConn(fd int) (net.Conn, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(dup), "http")
	defer f.Close()
	return net.FileConn(f) // duplicates once more
}

// httpServer is the server of ordinary requests on the client port.
func (n *Node) httpServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", n.healthz)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { n.readyz(w, false) })
	for _, path := range []string{"/core", "/core/v1"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Upgrade", "websocket")
			writeError(w, http.StatusUpgradeRequired, presence.Errorf(presence.CodeInvalid, "%s is a websocket; connect to it with a RelayBox client", r.URL.Path))
		})
	}
	// What the public client may call over HTTP and this server does not build:
	// it always parses the body, so never an empty one and never HTML.
	for _, path := range []string{"/core/", "/auth/", "/state/", "/v1/"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "content-type, authorization, x-client-id, x-ds-public-key, x-ds-req-signature")
			if r.Method == http.MethodOptions {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			e := presence.Errorf(presence.CodeNotSupported, "%s %s is not offered by this server", r.Method, clip(r.URL.Path))
			writeError(w, e.Status, e)
		})
	}
	if n.opts.Demo != nil {
		mux.Handle("/", n.opts.Demo)
	} else {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			e := presence.Errorf(presence.CodeNotFound, "nothing at %q; the websocket is at /core", clip(r.URL.Path))
			writeError(w, e.Status, e)
		})
	}
	return &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: n.opts.HandshakeTimeout,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slogErrors(n.opts.Log),
	}
}

// adminServer is the admin port's: metrics, health with reasons, profiles.
func (n *Node) adminServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", n.healthz)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { n.readyz(w, true) })
	guarded := http.NewServeMux()
	guarded.Handle("GET /metrics", n.opts.Metrics.Handler())
	guarded.HandleFunc("/debug/pprof/", pprof.Index)
	guarded.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	guarded.HandleFunc("/debug/pprof/profile", pprof.Profile)
	guarded.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	guarded.HandleFunc("/debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !n.adminAllowed(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			e := presence.Errorf(presence.CodeUnauthorized, "this port asks for its token: Authorization: Bearer <admin.token>")
			writeError(w, e.Status, e)
			return
		}
		guarded.ServeHTTP(w, r)
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 60 * time.Second,
		ErrorLog: slogErrors(n.opts.Log),
	}
}

// healthz tells whether the process is alive and its loops turn. It never
// looks at Redis: one blip of Redis must not restart the fleet.
func (n *Node) healthz(w http.ResponseWriter, _ *http.Request) {
	for _, l := range n.loops {
		if age := time.Since(time.Unix(0, l.beat.Load())); age > 5*time.Second {
			e := presence.Errorf(presence.CodeInternal, "loop %d has not turned for %v", l.id, age.Round(time.Second))
			writeError(w, http.StatusServiceUnavailable, e)
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"status": "alive", "node": n.opts.NodeID})
}

// readyz tells whether a balancer should send connections here.
func (n *Node) readyz(w http.ResponseWriter, reasons bool) {
	type line struct {
		Name  string    `json:"name"`
		OK    bool      `json:"ok"`
		Since time.Time `json:"since"`
		Text  string    `json:"text,omitempty"`
	}
	checks := append(n.opts.Store.Ready(), n.ownChecks()...)
	lines := make([]line, len(checks))
	status, word := http.StatusOK, "ready"
	for i, c := range checks {
		lines[i] = line(c)
		if !c.OK {
			status, word = http.StatusServiceUnavailable, "not ready"
		}
	}
	body := map[string]any{"status": word, "node": n.opts.NodeID}
	if reasons {
		body["checks"] = lines
	}
	writeJSON(w, status, body)
}

func writeError(w http.ResponseWriter, status int, e *presence.Error) {
	jsonHead(w, status)
	_, _ = w.Write(errorBody(status, e)) // the peer hung up: nobody is left to tell
}

func jsonHead(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	jsonHead(w, status)
	_ = json.NewEncoder(w).Encode(body) // the peer hung up: nobody is left to tell
}

// serveHTTP runs a server until the node stops it.
func serveHTTP(s *http.Server, ln net.Listener) error {
	if err := s.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve HTTP on %s: %w", ln.Addr(), err)
	}
	return nil
}

func stopHTTP(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		_ = s.Close() // what did not end by itself is cut
	}
}
