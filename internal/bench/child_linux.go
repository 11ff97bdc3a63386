package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// child is one process that the bench started. It dies with the bench.
type child struct {
	name string
	cmd  *exec.Cmd
	log  string        // file with what it printed
	done chan struct{} // closed when it has ended
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// start runs a program with its output in a file of dir.
func start(dir, name string, env []string, program string, args ...string) (*child, error) {
	out, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	c := &child{name: name, log: out.Name(), done: make(chan struct{}), cmd: exec.Command(program, args...)}
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = out, out
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The death signal follows the thread that forked, not the process:
		// this one stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		started <- err
		if err == nil {
			_ = c.cmd.Wait() // how it ended is of interest only while it is waited for: see await
			close(c.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return c, nil
}

// await polls until ready says so; the child's end or 15 s are an error that
// holds the last lines it printed.
func (c *child) await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-c.done:
			return fmt.Errorf("%s ended: %s", c.name, c.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %s", c.name, c.tail())
		}
	}
	return nil
}

// tail returns the last lines that the child printed.
func (c *child) tail() string {
	b, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// stop ends the child and waits for it: first politely, after 2 s at once.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM) // an error: it has ended already
	select {
	case <-c.done:
	case <-time.After(2 * time.Second):
		_ = c.cmd.Process.Kill()
		<-c.done
	}
}

// server is a private Redis.
type server struct {
	*child
	socket string
	client *redis.Client
}

func startRedis(ctx context.Context, dir, program string) (*server, error) {
	s := &server{socket: filepath.Join(dir, "r.sock")}
	var err error
	s.child, err = start(dir, "redis", nil, program, "--port", "0", "--unixsocket", s.socket,
		"--dir", dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--notify-keyspace-events", "Ex", "--loglevel", "warning")
	if err != nil {
		return nil, err
	}
	s.client = redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, MaxRetries: -1})
	err = s.await(ctx, func() bool { return s.client.Ping(ctx).Err() == nil })
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// floor is one run of tools/floor.
type floor struct {
	*child
	port int
}

func startFloor(ctx context.Context, dir, program string, args ...string) (*floor, error) {
	c, err := start(dir, "floor", nil, program, args...)
	if err != nil {
		return nil, err
	}
	f := &floor{child: c}
	err = c.await(ctx, func() bool {
		b, err := os.ReadFile(c.log)
		if err != nil {
			return false
		}
		n, _ := fmt.Sscanf(string(b), "listening %d\n", &f.port)
		return n == 1
	})
	if err != nil {
		c.stop()
		return nil, err
	}
	return f, nil
}

// nodeProcess is one `presence serve`.
type nodeProcess struct {
	*child
	port, admin int
}

// apiKey opens the node under measurement. It grants nothing elsewhere.
const apiKey = "bench.key:benchbenchbenchbenchbench"

func startNode(ctx context.Context, dir, program, redisSocket string) (*nodeProcess, error) {
	n := &nodeProcess{}
	var err error
	if n.port, err = freePort(); err != nil {
		return nil, err
	}
	if n.admin, err = freePort(); err != nil {
		return nil, err
	}
	n.child, err = start(dir, "node", []string{
		"PRESENCE_NODE_ID=bench",
		"PRESENCE_LISTEN_CLIENT=127.0.0.1:" + strconv.Itoa(n.port),
		"PRESENCE_LISTEN_ADMIN=127.0.0.1:" + strconv.Itoa(n.admin),
		"PRESENCE_REDIS_URL=unix://" + redisSocket + "?db=0",
		"PRESENCE_AUTH_KEYS=" + apiKey,
		"PRESENCE_LOG_FORMAT=json",
		"PRESENCE_LOG_LEVEL=warn", // a line for each of thousands of ends is not what is measured
	}, program, "serve")
	if err != nil {
		return nil, err
	}
	err = n.await(ctx, func() bool {
		r, err := http.Get(n.url("/readyz"))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	if err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

func (n *nodeProcess) url(path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(n.admin) + path
}

// samples is one reading of the node's metrics: each name's sum over its labels.
type samples map[string]float64

func (n *nodeProcess) metrics() (samples, error) {
	r, err := http.Get(n.url("/metrics"))
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", r.Status)
	}
	sums := samples{}
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		line := lines.Text()
		value := line[strings.LastIndexByte(line, ' ')+1:]
		v, err := strconv.ParseFloat(value, 64)
		if strings.HasPrefix(line, "#") || err != nil {
			continue
		}
		sums[line[:strings.IndexAny(line, "{ ")]] += v
	}
	return sums, lines.Err()
}

// collect makes the node run its garbage collector, so that what is resident
// afterwards is what the connections need and not what their making left.
func (n *nodeProcess) collect() error {
	r, err := http.Get(n.url("/debug/pprof/heap?gc=1"))
	if err != nil {
		return fmt.Errorf("garbage collection: %w", err)
	}
	_, err = io.Copy(io.Discard, r.Body)
	return errors.Join(err, r.Body.Close())
}

// freePort asks the kernel for a port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
