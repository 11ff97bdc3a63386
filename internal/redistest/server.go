package redistest

import (
	"bufio"
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
	args []string // further arguments

	proc *process // nil while stopped
}

// process is one run of a server.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed when the process is gone; err and log are final then
	err    error         // why it ended

	log []string // the last lines of what it printed; read it after exited
}

// launch starts a server on a free port. args are redis-server arguments,
// such as "--maxmemory", "16mb"; they come after ours and win.
func launch(args ...string) (*Server, error) {
	path, err := binary()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "r") // short: a socket's path has at most 107 bytes
	if err != nil {
		return nil, err
	}
	s := &Server{path: path, dir: dir, args: args}
	for range portAttempts {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.start(); !errors.Is(err, errPortTaken) {
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

// start runs the server on s.port and returns when it takes connections.
func (s *Server) start() error {
	args := []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(s.port),
		"--unixsocket", s.Socket(), "--unixsocketperm", "700",
		"--dir", s.dir, "--save", "", "--appendonly", "no",
		"--daemonize", "no", "--protected-mode", "no",
		"--notify-keyspace-events", "Ex", "--maxmemory-policy", "noeviction",
		"--enable-debug-command", "local", "--loglevel", "notice",
	}
	cmd := exec.Command(s.path)
	cmd.Args = slices.Concat([]string{"redis-server"}, args, s.args)
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
		if ready != nil && strings.Contains(lines.Text(), "eady to accept connections") {
			close(ready)
			ready = nil
		}
	}
}

// end sends sig, makes sure that the process can receive it, and waits.
func (s *Server) end(sig syscall.Signal) error {
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

// remove kills the server and deletes its folder.
func (s *Server) remove() error {
	return errors.Join(s.end(syscall.SIGKILL), os.RemoveAll(s.dir))
}

// Addr returns host and port, "127.0.0.1:23456": the same after a Restart.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Socket returns the path of the unix socket.
func (s *Server) Socket() string { return filepath.Join(s.dir, "r.sock") }

// URL returns the address in the form of the setting redis.url.
func (s *Server) URL() string { return "redis://" + s.Addr() + "/0" }
