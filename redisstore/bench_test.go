package redisstore

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	presence "presencesets"
	"presencesets/internal/redistest"
)

// BenchmarkSubmit measures what an operation costs in CPU, here and in Redis,
// through the whole of Submit, lane, pipeline and Done, with many connections
// in rooms of ten. Run it with
//
//	go test -run ^$ -bench Submit -benchtime 300000x ./redisstore
func BenchmarkSubmit(b *testing.B) {
	for _, under := range []int{16, 1024} { // operations under way: an idle node, and a busy one
		for _, kind := range []presence.OpKind{presence.OpJoin, presence.OpUpdate, presence.OpLeave} {
			b.Run(fmt.Sprintf("%s/%d", kind, under), func(b *testing.B) { benchmarkSubmit(b, kind, under) })
		}
	}
}

func benchmarkSubmit(b *testing.B, kind presence.OpKind, under int) {
	srv := redistest.Start(b, "--hash-max-listpack-entries", "128", "--hash-max-listpack-value", "512")
	rdb := srv.Client(b)
	s := openStore(b, srv, "bench", "n1")
	ops := make([]presence.Op, max(b.N, 1))
	f := &flight{slots: make(chan struct{}, under)}
	for i := range ops {
		c := client{conn: presence.NewConnID(), inc: s.lease.grant.Load().now}
		ops[i] = c.op(kind, fmt.Sprintf("room%d", i/10))
		ops[i].Data = []byte(`{"username":"Bob","x":12,"y":34,"z":56}`)
		ops[i].Done = f
	}
	if kind != presence.OpJoin {
		joins := make([]presence.Op, len(ops))
		for i := range joins {
			joins[i] = ops[i]
			joins[i].Kind = presence.OpJoin
			joins[i].ClientJSON = []byte(`"123"`)
		}
		f.run(b, s, joins)
	}
	here, there := processCPU(b), redisCPU(b, rdb)
	b.ReportAllocs()
	b.ResetTimer()
	f.run(b, s, ops)
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(float64((processCPU(b)-here).Nanoseconds())/1e3/n, "µs-go/op")
	b.ReportMetric(float64((redisCPU(b, rdb)-there).Nanoseconds())/1e3/n, "µs-redis/op")
}

// BenchmarkLife is a whole connection: open, track, join, close, leave,
// finish, with 256 of them at a time.
func BenchmarkLife(b *testing.B) {
	srv := redistest.Start(b, "--hash-max-listpack-entries", "128", "--hash-max-listpack-value", "512")
	rdb := srv.Client(b)
	s := openStore(b, srv, "bench", "n1")
	here, there := processCPU(b), redisCPU(b, rdb)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for range 256 {
		all.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				c := connect(b, s)
				c.enter(b, s, fmt.Sprintf("room%d", n/10))
				s.Depart(c.departure(presence.ReasonClosed))
			}
		})
	}
	all.Wait()
	awaitDepartures(b, s)
	b.StopTimer()
	n := float64(b.N)
	b.ReportMetric(float64((processCPU(b)-here).Nanoseconds())/1e3/n, "µs-go/op")
	b.ReportMetric(float64((redisCPU(b, rdb)-there).Nanoseconds())/1e3/n, "µs-redis/op")
}

// flight keeps a bounded number of operations under way.
type flight struct {
	slots chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex
	err   error
}

func (f *flight) OpDone(op *presence.Op) {
	if op.Err != nil {
		f.mu.Lock()
		f.err = op.Err
		f.mu.Unlock()
	}
	<-f.slots
	f.done.Done()
}

func (f *flight) run(b *testing.B, s *Store, ops []presence.Op) {
	b.Helper()
	for i := range ops {
		f.slots <- struct{}{}
		f.done.Add(1)
		if err := s.Submit(&ops[i]); err != nil {
			b.Fatal(err)
		}
	}
	f.done.Wait()
	if f.err != nil {
		b.Fatal(f.err)
	}
}

// processCPU is the CPU time that this process has used.
func processCPU(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// redisCPU is the CPU time that Redis's main thread has used.
func redisCPU(b *testing.B, rdb *redis.Client) time.Duration {
	b.Helper()
	text, err := rdb.Info(b.Context(), "cpu").Result()
	if err != nil {
		b.Fatal(err)
	}
	info := parseInfo(text)
	var sum float64
	for name, value := range info {
		if strings.HasSuffix(name, "_main_thread") {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += seconds
		}
	}
	return time.Duration(sum * float64(time.Second))
}

// BenchmarkRoute finds the master of an operation: of a room's in a Cluster,
// where go-redis looks its slot up, and of a session's.
func BenchmarkRoute(b *testing.B) {
	s := openStore(b, redistest.StartCluster(b, 0), "bench", "n1")
	c := client{conn: presence.NewConnID()}
	for name, op := range map[string]presence.Op{"room": c.op(presence.OpJoin, "lobby"), "session": c.op(presence.OpTrack, "lobby")} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if s.lane(&op) == nil {
					b.Fatal("no lane")
				}
			}
		})
	}
}
