package redistest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Ports come from below the range of outgoing connections, so that a port is
// still free when its server starts again.
const (
	firstPort    = 12000
	lastPort     = 32000
	portAttempts = 20
)

// logLines is how much of a server's log an error message shows.
const logLines = 20

// Server is one redis-server process, or the place where one ran. Its methods
// are for one goroutine at a time, but for Addr, Socket, URL and Client.
type Server struct {
	// set once
	path string   // of the binary
	dir  string   // its folder: socket and data
	port int      //
	role role     //
	args []string // further arguments
	seen string   // the address that others are told, "": its own

	proc *process // nil while stopped
}

// role is what a process is for.
type role uint8

const (
	alone    role = iota // a master, or a replica of one
	member               // of a Cluster; its bus listens one port higher
	sentinel             // has a file of its own, in which it keeps what it learns
)

// process is one run of a server.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone; err and log are final then
	err    error         // why it ended

	log []string // the last lines of what it printed; read it after exited
}

// Launch is [Start] for what is no test: the caller must call [Server.Remove].
func Launch(args ...string) (*Server, error) { return launch(alone, args...) }

// launch starts a server on a free port. args are redis-server arguments,
// such as "--maxmemory", "16mb"; they come after ours and win.
func launch(as role, args ...string) (*Server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "r") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &Server{path: path, dir: dir, role: as, args: slices.Clone(args)}
	for range portAttempts {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.Begin(); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// freePort finds a port that nobody listens on at this moment.
func freePort() (int, error) {
	var err error
	for range portAttempts {
		port := firstPort + rand.IntN(lastPort-firstPort)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// errPortTaken: somebody was faster. Choose another port.
var errPortTaken = errors.New("the port is taken")

// command is what the process is started with.
func (s *Server) command() []string {
	common := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port), "--dir", s.dir,
		"--daemonize", "no", "--protected-mode", "no", "--loglevel", "notice",
	}
	if s.role == sentinel {
		return slices.Concat([]string{"redis-server", s.file()}, common, []string{"--sentinel"})
	}
	keeping := []string{
		"--unixsocket", s.Socket(), "--unixsocketperm", "700", "--save", "", "--appendonly", "no",
		"--notify-keyspace-events", "Ex", "--maxmemory-policy", "noeviction", "--enable-debug-command", "local",
		"--repl-diskless-sync-delay", "0",
	}
	if s.role == member {
		keeping = append(keeping, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", strconv.Itoa(s.port+1))
	}
	return slices.Concat([]string{"redis-server"}, common, keeping, s.args)
}

// file is where a sentinel keeps its settings.
func (s *Server) file() string { return filepath.Join(s.dir, "sentinel.conf") }

// Begin runs the server on its port, after an [Server.End] with the data that
// it was told to keep, and returns when it takes connections.
func (s *Server) Begin() error {
	if s.role == sentinel {
		// What it has learned meanwhile stays.
		if _, err := os.Stat(s.file()); errors.Is(err, os.ErrNotExist) {
			if err := os.WriteFile(s.file(), []byte(strings.Join(s.args, "\n")+"\n"), 0o600); err != nil {
				return err
			}
		}
	}
	cmd := exec.Command(s.path)
	cmd.Args = s.command()
	cmd.Dir = s.dir
	cmd.SysProcAttr = childAttr()
	pipe, err := cmd.StdoutPipe() // never os.Stdout: `go test` would wait for the child
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout // a wrong setting is reported there
	p := &process{cmd: cmd, exited: make(chan struct{})}
	ready := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		defer close(p.exited)
		runtime.LockOSThread() // and never unlocked: Pdeathsig follows this thread
		if err := cmd.Start(); err != nil {
			started <- fmt.Errorf("start %s: %w", s.path, err)
			return
		}
		started <- nil
		p.readLog(pipe, ready) // to its end, before Wait closes the pipe
		p.err = cmd.Wait()
	}()
	if err := <-started; err != nil {
		<-p.exited
		return err
	}
	select {
	case <-ready:
		s.proc = p
		return nil
	case <-p.exited:
		log := strings.Join(p.log, "\n")
		if strings.Contains(log, "Address already in use") {
			return fmt.Errorf("%w: %d", errPortTaken, s.port)
		}
		return fmt.Errorf("%s ended at once: %v; its last words:\n%s", s.path, p.err, log)
	}
}

// readLog keeps the last lines of the log, and closes ready at the line that
// says so. It returns when the process has closed its output.
func (p *process) readLog(r io.Reader, ready chan<- struct{}) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		if p.log = append(p.log, lines.Text()); len(p.log) > logLines {
			p.log = p.log[1:]
		}
		if ready != nil && (strings.Contains(lines.Text(), "eady to accept connections") || strings.Contains(lines.Text(), "Sentinel ID is")) {
			close(ready)
			ready = nil
		}
	}
}

// End sends sig, makes sure that the process can receive it, and waits until
// it is gone. It does nothing when the server is not running.
func (s *Server) End(sig syscall.Signal) error {
	p := s.proc
	if p == nil {
		return nil
	}
	s.proc = nil
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	// A paused process acts on SIGTERM only when it runs again.
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.exited
	return nil
}

// Signal sends sig to the running process.
func (s *Server) Signal(sig syscall.Signal) error {
	if s.proc == nil {
		return errors.New("it is not running")
	}
	return s.proc.cmd.Process.Signal(sig)
}

// Wipe deletes what a stopped server has kept, so that it begins empty.
func (s *Server) Wipe() error {
	if s.proc != nil {
		return errors.New("it is running")
	}
	return errors.Join(os.RemoveAll(filepath.Join(s.dir, "appendonlydir")), os.RemoveAll(filepath.Join(s.dir, "dump.rdb")))
}

// PID returns the process id, 0 while it is not running.
func (s *Server) PID() int {
	if s.proc == nil {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Remove kills the server and deletes its folder.
func (s *Server) Remove() error {
	return errors.Join(s.End(syscall.SIGKILL), os.RemoveAll(s.dir))
}

// Addr returns host and port, "127.0.0.1:23456": the same after a Restart.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Socket returns the path of the unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "r.sock") }

// Seen returns the address at which clients and other servers reach it: its
// own, or that of its [Front].
func (s *Server) Seen() string { return cmp.Or(s.seen, s.Addr()) }

// URL returns the address in the form of the setting redis.url.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }
