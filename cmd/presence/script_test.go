package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"presencesets/internal/redistest"
)

// TestScripts runs each file of testdata/script: what a user types, and what
// comes of it. Beside testscript's own commands there are
//
//	exits CODE PROGRAM ARGS…  run it, and compare its exit code
//	start NAME ARGS…          run presence in the background
//	until NAME REGEXP [VAR…]  wait for a line of its output; the groups go into the variables
//	send NAME SIGNAL          send it a signal
//	end NAME SIGNAL CODE      the same ("-": none), wait, and compare its exit code
//	get STATUS URL [REGEXP]   fetch a page
//	redis start|pause|resume  a Redis of the script's own, at $OWNREDIS; paused it hangs
//	redis shutdown SOCKET     end the Redis there
//
// $REDIS is the URL of a running Redis, with a prefix of keys for each script.
func TestScripts(t *testing.T) {
	redis := redistest.Start(t)
	var scripts int
	var mu sync.Mutex // protects scripts
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			mu.Lock()
			scripts++
			prefix := fmt.Sprintf("script%d", scripts)
			mu.Unlock()
			dir, err := os.MkdirTemp("", "p") // short: a socket's path has at most 107 bytes
			if err != nil {
				return err
			}
			env.Defer(func() {
				if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
					env.T().Log("left in the temporary folder:", left, err)
					env.T().Fatal("a command did not clean up")
				}
				_ = os.Remove(dir)
			})
			env.Setenv("TMPDIR", dir)
			env.Setenv("REDIS", redis.URL())
			env.Setenv("PRESENCE_REDIS_PREFIX", prefix)
			env.Setenv("PRESENCE_REDIS", os.Getenv("PRESENCE_REDIS"))
			env.Setenv("DEVKEY", devKey)
			env.Setenv("PROGRAM", program(env.Getenv("PATH")))
			env.Values[processesKey{}] = map[string]*process{}
			env.Values[ownRedisKey{}] = new(*redistest.Server)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exitsCmd,
			"start": startCmd,
			"until": untilCmd,
			"send":  sendCmd,
			"end":   endCmd,
			"get":   getCmd,
			"redis": func(ts *testscript.TestScript, _ bool, args []string) { redisCmd(t, ts, args) },
		},
	})
}

// processTimeout ends what hangs, so that a script that waits for a line that
// never comes says what came instead.
const processTimeout = time.Minute

type processesKey struct{}

// process is a presence that runs in the background of a script.
type process struct {
	cmd   *exec.Cmd
	lines chan string // of both outputs; closed when they end
	seen  []string    // for messages
}

func processes(ts *testscript.TestScript) map[string]*process {
	return ts.Value(processesKey{}).(map[string]*process)
}

func find(ts *testscript.TestScript, name string) *process {
	p := processes(ts)[name]
	if p == nil {
		ts.Fatalf("no process %s was started", name)
	}
	return p
}

func exitsCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		code = exit.ExitCode()
	}
	if got := strconv.Itoa(code); got != args[0] {
		ts.Fatalf("%s: exit code %s, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// program finds the program that testscript put on the path.
func program(path string) string {
	for dir := range strings.SplitSeq(path, string(os.PathListSeparator)) {
		name := filepath.Join(dir, "presence")
		if _, err := os.Stat(name); err == nil {
			return name
		}
	}
	return "presence"
}

func startCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME ARGS…")
	}
	cmd := exec.Command(ts.Getenv("PROGRAM"), args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	for _, name := range append(envNames(), otherEnv...) {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	r, w, err := os.Pipe()
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = w, w
	ts.Check(cmd.Start())
	ts.Check(w.Close())
	p := &process{cmd: cmd, lines: make(chan string, 1000)}
	hung := time.AfterFunc(processTimeout, func() { _ = cmd.Process.Signal(syscall.SIGQUIT) }) // what it waits for is printed
	go func() {
		defer close(p.lines)
		defer r.Close()
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	processes(ts)[args[0]] = p
	ts.Defer(func() {
		hung.Stop()
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
		for range p.lines {
		}
	})
}

func envNames() (names []string) {
	for _, s := range new(Config).settings() {
		names = append(names, s.env())
	}
	return names
}

func untilCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until NAME REGEXP [VAR…]")
	}
	p, want := find(ts, args[0]), regexp.MustCompile(args[1])
	for line := range p.lines {
		p.seen = append(p.seen, line)
		if groups := want.FindStringSubmatch(line); groups != nil {
			for i, name := range args[2:] {
				ts.Setenv(name, groups[i+1])
			}
			return
		}
	}
	ts.Fatalf("%s ended without a line like %s; it printed:\n%s", args[0], want, strings.Join(p.seen, "\n"))
}

func sendCmd(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if neg || len(args) != 2 || signals[args[1]] == 0 {
		ts.Fatalf("usage: send NAME INT|TERM|HUP")
	}
	ts.Check(find(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func endCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: end NAME SIGNAL CODE")
	}
	p := find(ts, args[0])
	if args[1] != "-" {
		sendCmd(ts, false, args[:2])
	}
	for line := range p.lines {
		p.seen = append(p.seen, line)
	}
	_ = p.cmd.Wait() // its exit code is looked at below
	if got := strconv.Itoa(p.cmd.ProcessState.ExitCode()); got != args[2] {
		ts.Fatalf("%s ended with %s, want %s; it printed:\n%s", args[0], p.cmd.ProcessState, args[2], strings.Join(p.seen, "\n"))
	}
}

func getCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: get STATUS URL [REGEXP]")
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get(args[1])
	ts.Check(err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	ts.Check(err)
	if got := strconv.Itoa(r.StatusCode); got != args[0] {
		ts.Fatalf("GET %s: %s, want %s:\n%s", args[1], r.Status, args[0], body)
	}
	for _, want := range args[2:] {
		if !regexp.MustCompile(want).Match(body) {
			ts.Fatalf("GET %s: no %s in the answer:\n%s", args[1], want, body)
		}
	}
}

type ownRedisKey struct{}

func redisCmd(t *testing.T, ts *testscript.TestScript, args []string) {
	own, _ := ts.Value(ownRedisKey{}).(**redistest.Server)
	switch {
	case len(args) == 1 && args[0] == "start":
		*own = redistest.Start(t)
		ts.Setenv("OWNREDIS", (*own).URL())
	case len(args) == 1 && args[0] == "pause":
		(*own).Pause(t)
	case len(args) == 1 && args[0] == "resume":
		(*own).Resume(t)
	case len(args) == 2 && args[0] == "shutdown":
		c, err := net.Dial("unix", args[1])
		ts.Check(err)
		defer c.Close()
		_, err = io.WriteString(c, "SHUTDOWN NOSAVE\r\n")
		ts.Check(err)
		_, _ = io.ReadAll(c) // until it is gone
	default:
		ts.Fatalf("usage: redis start|pause|resume, redis shutdown SOCKET")
	}
}
