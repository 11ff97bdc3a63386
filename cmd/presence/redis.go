package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	maxSocketPath    = 107 // bytes of a unix socket's path (unix(7))
	redisStopTimeout = 5 * time.Second
	redisLogLines    = 20 // kept for an error's text
)

// errNoRedis is what someone with only the binary is told.
var errNoRedis = errors.New(`there is no redis-server. Install one:
  Debian, Ubuntu  sudo apt-get install redis-tools    (it holds the server, and starts no service)
  Fedora          sudo dnf install redis
  macOS           brew install redis
or name one: PRESENCE_REDIS=/path/to/redis-server presence dev
or use one that runs: presence dev --redis-url redis://host:port`)

// redisChild is a redis-server of our own: on a unix socket in a private
// folder, keeping nothing, ended with us.
type redisChild struct {
	cmd    *exec.Cmd
	dir    string
	exited chan struct{} // closed when it is gone; err and log are final then
	err    error
	log    []string // its last lines
}

// redisEnded says that the Redis of `presence dev` ended by itself.
type redisEnded struct{ error }

// findRedis returns the path of a program that is a redis-server when it is
// started by that name. redis-check-rdb is one: Debian's redis-tools has it
// without the service that redis-server brings.
func findRedis() (string, error) {
	if name := os.Getenv("PRESENCE_REDIS"); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("PRESENCE_REDIS names no program: %w", err)
		}
		return path, nil
	}
	for _, name := range []string{"redis-server", "valkey-server", "redis-check-rdb"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoRedis
}

// startRedis returns when the server takes connections, about 10 ms later.
func startRedis() (*redisChild, error) {
	path, err := findRedis()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "presence-") // mode 700
	if err != nil {
		return nil, err
	}
	r := &redisChild{dir: dir, exited: make(chan struct{})}
	if err := r.start(path); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return r, nil
}

func (r *redisChild) start(path string) error {
	if n := len(r.socket()); n > maxSocketPath {
		return fmt.Errorf("the path of the socket, %s, has %d bytes; the most is %d. Set TMPDIR to a shorter one", r.socket(), n, maxSocketPath)
	}
	r.cmd = exec.Command(path)
	r.cmd.Args = []string{
		"redis-server", "--port", "0", "--unixsocket", r.socket(), "--unixsocketperm", "700",
		"--dir", r.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
		"--notify-keyspace-events", "Ex", "--maxmemory-policy", "noeviction", "--loglevel", "notice",
	}
	r.cmd.Dir = r.dir
	r.cmd.SysProcAttr = childAttr()
	output, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	r.cmd.Stderr = r.cmd.Stdout
	started, ready := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(r.exited)
		runtime.LockOSThread() // and never unlocked: the parent death signal follows this thread
		if err := r.cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", path, err)
			return
		}
		started <- nil
		r.readLog(output, ready)
		r.err = r.cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-r.exited
		return err
	}
	select {
	case <-ready:
		return nil
	case <-r.exited:
		return r.failure()
	}
}

func (r *redisChild) readLog(output io.Reader, ready chan<- struct{}) {
	for lines := bufio.NewScanner(output); lines.Scan(); {
		if r.log = append(r.log, lines.Text()); len(r.log) > redisLogLines {
			r.log = r.log[1:]
		}
		if ready != nil && strings.Contains(lines.Text(), "eady to accept connections") {
			close(ready)
			ready = nil
		}
	}
}

// failure tells why it ended; only after exited.
func (r *redisChild) failure() error {
	return redisEnded{fmt.Errorf("%s ended by itself (%v); its last words:\n  %s", r.cmd.Path, r.err, strings.Join(r.log, "\n  "))}
}

func (r *redisChild) socket() string { return filepath.Join(r.dir, "redis.sock") }

func (r *redisChild) url() string { return "unix://" + r.socket() + "?db=0" }

// stop ends the server, waits for it and removes its folder.
func (r *redisChild) stop() {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
	select {
	case <-r.exited:
	case <-time.After(redisStopTimeout):
		_ = r.cmd.Process.Kill()
		<-r.exited
	}
	_ = os.RemoveAll(r.dir) // a folder that stays in the temporary folder harms nobody
}
