package node

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	presence "presencesets"
	"presencesets/auth"
	"presencesets/metrics"
)

// Store is what the edge needs of the store: none of it blocks.
type Store interface {
	// Submit hands an operation over. An error means that it was not taken and
	// that Done is not called.
	Submit(*presence.Op) *presence.Error
	// Depart ends every membership of a connection, once, however long the
	// store is away.
	Depart(presence.Departure)
	// Detach leaves the memberships of a lost socket's connection to the store,
	// for the grace.
	Detach(presence.Detachment)
	// Release says that another socket has the connection, and what this one
	// had been handed. Nothing is ended.
	Release(presence.Detachment)
	// Late asks the node with stamp from for acknowledgements that it owes to
	// the connection's last socket. answer is called once, on any goroutine.
	Late(conn presence.ConnID, from string, answer func(payloads [][]byte))
	// Attach tells the store whom to tell and to ask.
	Attach(presence.Edge)
	// Unwatch and UnwatchMessages say that the node's last subscriber of the
	// room has gone.
	Unwatch(app, room string)
	UnwatchMessages(app, room string)
	// Ready says how the node's links to the store are.
	Ready() []presence.Check
}

// Options is what a node is told at its start. All fields but those with a
// zero value that means "none" must be set.
type Options struct {
	ClientAddr string // host:port of the websocket and plain HTTP
	AdminAddr  string // host:port of metrics, health and profiles
	AdminToken string // asked for on the admin port; "": no token
	NodeID     string

	Loops          int // 0: GOMAXPROCS - 1, at least 1
	MaxConnections int // sockets of the client port
	Heads          int // handshakes without a whole head, a loop

	HandshakeTimeout time.Duration // from accept to a whole request head
	PingInterval     time.Duration // silence after which a peer is pinged
	PingTimeout      time.Duration // silence after the ping that ends it
	QueueBytes       int           // bytes that one peer may not have taken
	QueueAge         time.Duration // time in which it must take some
	Grace            time.Duration // for which memberships outlive a lost socket; an app may have its own

	DrainDelay  time.Duration // from "not ready" to the end of accepting
	DrainWindow time.Duration // over which the clients are sent away
	DrainGrace  time.Duration // the least grace of a client that was sent away

	Origins []string // allowed `Origin`s; empty or "*": all
	Limits  Limits

	Store   Store
	Keyring *auth.Keyring
	Metrics *metrics.Metrics
	Log     *slog.Logger
	Demo    http.Handler // served at / of the client port; nil: none
}

// Node is an edge node: it owns sockets and nothing else that matters.
type Node struct {
	opts  Options
	loops []*loop
	plain *handedOver

	listenFD   int
	clientAddr *net.TCPAddr
	adminLn    net.Listener

	open     atomic.Int64 // sockets of the client port that loops hold
	draining atomic.Bool  // not ready any more
	refusing atomic.Bool  // takes no new connection
	started  time.Time

	roomsMu sync.Mutex
	rooms   map[string]*Room // "app:room"; protected by roomsMu, as is roomKey
	roomKey []byte

	mu         sync.Mutex
	listenFile *os.File // protected by mu
	stopping   bool     // protected by mu
	stop       chan struct{}

	ends  endLog
	opens sync.WaitGroup // sessions that the store is opening
	late  lateBoxes
	lists chan struct{} // big lists of members that are put together now
}

// New opens the node's ports and makes its loops. Nothing is served before Run.
func New(opts Options) (*Node, error) {
	if opts.Loops <= 0 {
		opts.Loops = max(1, runtime.GOMAXPROCS(0)-1)
	}
	opts.Loops = min(opts.Loops, maxLoops)
	n := &Node{
		opts: opts, rooms: make(map[string]*Room), stop: make(chan struct{}), started: time.Now(),
		lists: make(chan struct{}, 2),
	}
	n.ends.log = opts.Log
	var err error
	if n.listenFD, n.clientAddr, err = listen(opts.ClientAddr); err != nil {
		return nil, err
	}
	if n.adminLn, err = net.Listen("tcp", opts.AdminAddr); err != nil {
		_ = unix.Close(n.listenFD) // the first error is the one to report
		return nil, fmt.Errorf("listen on %s: %w", opts.AdminAddr, err)
	}
	n.plain = newHandedOver(n.clientAddr)
	for i := range opts.Loops {
		l, err := newLoop(n, i)
		if err != nil {
			for _, l := range n.loops {
				l.poll.close()
			}
			_ = unix.Close(n.listenFD) // the first error is the one to report
			_ = n.adminLn.Close()
			return nil, err
		}
		n.loops = append(n.loops, l)
	}
	opts.Metrics.RegisterLoops(n.loopStats)
	opts.Store.Attach(n)
	return n, nil
}

// ClientAddr is the bound address of the client port.
func (n *Node) ClientAddr() *net.TCPAddr { return n.clientAddr }

// AdminAddr is the bound address of the admin port.
func (n *Node) AdminAddr() net.Addr { return n.adminLn.Addr() }

// Run serves until ctx ends, then closes every connection, leaves their
// memberships to the store for the grace of a drain, and waits for the loops. The store must live
// on until it has returned. A second Run is not possible.
func (n *Node) Run(ctx context.Context) error {
	client, admin := n.httpServer(), n.adminServer()
	var g errgroup.Group
	g.Go(func() error { return serveHTTP(client, n.plain) })
	g.Go(func() error { return serveHTTP(admin, n.adminLn) })
	for _, l := range n.loops {
		go l.run()
	}
	accepted := make(chan struct{})
	go func() { defer close(accepted); n.accept() }()

	<-ctx.Done()
	n.draining.Store(true)
	n.stopAccepting()
	<-accepted
	for _, l := range n.loops {
		l.post(task{kind: taskStop})
	}
	for _, l := range n.loops {
		<-l.done
	}
	n.opens.Wait()      // each is answered within 2 s; one that comes too late is closed again
	_ = n.plain.Close() // stops a listener that cannot fail
	stopHTTP(client)
	stopHTTP(admin)
	for {
		select {
		case c := <-n.plain.conns:
			_ = c.Close() // never served
			continue
		default:
		}
		break
	}
	return g.Wait()
}

// stopAccepting closes the client port. It may be called again.
func (n *Node) stopAccepting() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopping {
		return
	}
	n.stopping = true
	n.refusing.Store(true)
	close(n.stop)
	if n.listenFile != nil {
		_ = n.listenFile.Close() // ends accept
	}
}

// ownChecks are the node's own lines of its readiness.
func (n *Node) ownChecks() []presence.Check {
	if n.draining.Load() {
		return []presence.Check{{Name: "serving", OK: false, Since: n.started, Text: "shutting down"}}
	}
	checks := []presence.Check{{Name: "serving", OK: true, Since: n.started}}
	for _, l := range n.loops {
		if age, late := l.backlogged(); late {
			checks = append(checks, presence.Check{
				Name: "broadcast", Since: time.Now().Add(-age),
				Text: fmt.Sprintf("loop %d is %v behind with its broadcasts", l.id, age.Round(time.Second)),
			})
		}
	}
	return checks
}

func (n *Node) adminAllowed(r *http.Request) bool {
	return n.opts.AdminToken == "" || equal(r.Header.Get("Authorization"), "Bearer "+n.opts.AdminToken)
}

// loopStats asks every loop for a copy of its counters.
func (n *Node) loopStats() []metrics.LoopStats {
	out := make([]metrics.LoopStats, 0, len(n.loops))
	for _, l := range n.loops {
		ask := make(chan metrics.LoopStats, 1)
		if !l.post(task{kind: taskStats, ask: ask}) {
			continue
		}
		out = append(out, <-ask)
	}
	return out
}

// slogErrors gives net/http's own complaints to the log, as warnings.
func slogErrors(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }
