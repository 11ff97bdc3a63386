package node

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	presence "presencesets"
	"presencesets/metrics"
)

func TestStaleReferenceSeesNothingOfTheNextConnection(t *testing.T) {
	store := newMemStore()
	opts := testOptions(t, store)
	opts.Loops = 1
	n := startNode(t, opts)
	p := connect(t, n, "1")
	p.ok("room:join", `"roomId":"r"`)
	store.mu.Lock()
	store.hold = func(*presence.Op) bool { return true }
	store.mu.Unlock()
	p.send(p.request("room:presence:get", `"roomId":"r"`))
	waitFor(t, func() bool { store.mu.Lock(); defer store.mu.Unlock(); return len(store.held) == 1 })
	store.mu.Lock()
	store.hold = nil
	store.mu.Unlock()
	p.conn.Close()
	waitFor(t, func() bool { return n.open.Load() == 0 })
	q := connect(t, n, "2") // the same slot, and most likely the same descriptor
	store.release()
	if got := q.ok("room:presence:count", `"roomId":"r"`); !strings.Contains(got, `"ackId":"a1"`) {
		t.Errorf("the new connection was sent %s", got)
	}
}

func TestPostsFromManyGoroutinesAreNeverLeftWithoutAWake(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 2000 {
				ask := make(chan metrics.LoopStats, 1)
				n.loops[g%len(n.loops)].post(task{kind: taskStats, ask: ask})
				<-ask // hangs until the next tick, and the test with it, when a wake was lost
			}
		}()
	}
	start := time.Now()
	wg.Wait()
	if turned := time.Since(start); turned > 20*time.Second {
		t.Errorf("16,000 posts took %v: some waited for the loop's tick", turned)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestConnectionsDroppedInTheHandshakeLeaveNothingBehind(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	connect(t, n, "warm").conn.Close()
	waitFor(t, func() bool { return n.open.Load() == 0 })
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	raw := upgradeRequest("apiKey=" + testKey + "&clientId=1")
	for i := range 10_000 {
		c, err := net.DialTimeout("tcp", n.ClientAddr().String(), 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, raw[:rand.IntN(len(raw)+1)]); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			if err := c.(*net.TCPConn).SetLinger(0); err != nil { // by reset
				t.Fatal(err)
			}
		}
		c.Close()
	}
	waitFor(t, func() bool {
		return n.open.Load() == 0 && descriptors(t) <= fds && runtime.NumGoroutine() <= goroutines
	})
	for _, s := range n.loopStats() {
		if s.PartialBytes != 0 || s.QueueBytes != 0 || s.Handshaking != 0 || s.Live != 0 {
			t.Errorf("loop %d still holds %+v", s.Loop, s)
		}
	}
}

func TestNodeSurvivesTheEndOfDescriptors(t *testing.T) {
	n := startNode(t, testOptions(t, newMemStore()))
	p := connect(t, n, "1")
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// Sockets for the clients first: they share the limit with the node.
	var fds []int
	for range 40 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	low := old
	low.Cur = uint64(descriptors(t) + 4)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	a := n.ClientAddr()
	for _, fd := range fds {
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(a.IP.To4())}); err != nil {
			t.Fatal(err)
		}
	}
	p.ok("room:create", `"roomId":"r"`) // who is connected is served
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	connect(t, n, "2").ok("room:create", `"roomId":"r"`)
}

func TestNodeThatIsFullAnswers503(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.MaxConnections = 2
	n := startNode(t, opts)
	connect(t, n, "1")
	p := connect(t, n, "2")
	if res, _ := response(t, n, ""); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" {
		t.Errorf("got %d %v, want 503 with Retry-After", res.StatusCode, res.Header)
	}
	p.conn.Close()
	waitFor(t, func() bool { return n.open.Load() == 1 })
	connect(t, n, "3")
}

func TestRefusalOfAFullNodeIsNotFollowedByAReset(t *testing.T) {
	opts := testOptions(t, newMemStore())
	opts.MaxConnections = 0
	s := stillLoop(t, opts)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	s.put(pair[1], []byte(upgradeRequest("apiKey="+testKey)))
	s.node.place(pair[0])
	s.turn()
	s.turn()
	b := make([]byte, 4<<10)
	if n, err := unix.Read(pair[1], b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 503") {
		t.Errorf("got %q (%v), want a 503", b[:n], err)
	}
	s.second += closeSeconds
	s.timers()
	if n, err := unix.Read(pair[1], b); n != 0 || err != nil {
		t.Errorf("read %d bytes, %v; want the end of the stream", n, err)
	}
	if s.node.open.Load() != 0 || s.heads.Load() != 0 || s.count.Load() != 0 {
		t.Error("the socket is still counted")
	}
}

func TestPlainHTTPWithoutADescriptorIsAnswered(t *testing.T) {
	s := stillLoop(t, testOptions(t, newMemStore()))
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	s.socket(pair[0])
	s.put(pair[1], []byte("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"))
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	s.turn()
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if got := s.drain(pair[1]); !strings.HasPrefix(got, "HTTP/1.1 503") {
		t.Errorf("got %q, want a 503", got)
	}
}

func TestStopClosesWith1001AndEndsEverySession(t *testing.T) {
	store := newMemStore()
	var peers []*peer
	t.Run("node", func(t *testing.T) {
		n := startNode(t, testOptions(t, store))
		for range 20 {
			c := dialRaw(t, n)
			if _, err := io.WriteString(c, upgradeRequest("apiKey="+testKey+"&clientId=1")); err != nil {
				t.Fatal(err)
			}
			p := accepted(t, c)
			peers = append(peers, p)
		}
		t.Cleanup(func() { // runs before the node is stopped: read the end from elsewhere
			for _, p := range peers {
				go func() {
					for {
						f, err := readFrame(p.r)
						if err != nil {
							return
						}
						if f.Header.OpCode == ws.OpClose {
							if _, err := p.conn.Write(masked(ws.OpClose, "\x03\xe9")); err != nil {
								return
							}
						}
					}
				}()
			}
		})
	})
	if len(store.detached) != 20 || len(store.sessions) != 0 {
		t.Errorf("%d detached and %d sessions left, want 20 and 0", len(store.detached), len(store.sessions))
	}
}

func TestAnsweringARequestAllocatesNothing(t *testing.T) {
	store := newMemStore()
	n, err := New(testOptions(t, store))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		unix.Close(n.listenFD)
		n.adminLn.Close()
	}()
	l := n.loops[0]
	defer n.loops[1].poll.close()
	defer l.poll.close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	l.socket(pair[0])
	c := l.conns.at(0)
	key, kerr := n.opts.Keyring.Authenticate(testKey)
	if kerr != nil {
		t.Fatal(kerr)
	}
	c.key, c.client = key, "1"
	l.setState(c, stateOpen)
	frame := masked(ws.OpText, `{"type":"ds:client:room:metrics:unsubscribe","body":{"roomId":"myRoom","event":"all","intiatedAt":"2024-07-13T10:13:28.450Z"},"ackId":"1720865608450k3j9x0a2b"}`)
	answer := make([]byte, 4096)
	one := func() {
		if _, err := unix.Write(pair[1], frame); err != nil {
			t.Fatal(err)
		}
		l.readable(c)
		l.flushReplies()
		if _, err := unix.Read(pair[1], answer); err != nil {
			t.Fatal(err)
		}
	}
	one()
	if allocs := testing.AllocsPerRun(1000, one); allocs > 0 {
		t.Errorf("%v allocations a request, want 0", allocs)
	}
	unix.Close(pair[0])
}
