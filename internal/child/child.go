// Package child runs programs that must not outlive this process, for the
// bench and the end-to-end tests: each with its output in a file, a group of
// its own, and an end that is waited for.
package child

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Process is one running program. Its methods may be called from any goroutine.
type Process struct {
	name string
	cmd  *exec.Cmd
	log  string        // file with what it printed
	done chan struct{} // closed when it has ended
}

// Start runs a program with its output in dir/name.log and env added to ours.
// The kernel kills it when this process dies (Linux only).
func Start(dir, name string, env []string, program string, args ...string) (*Process, error) {
	out, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &Process{name: name, log: out.Name(), done: make(chan struct{}), cmd: exec.Command(program, args...)}
	p.cmd.Env = append(os.Environ(), env...)
	// A file, never our own output: `go test` would wait for a child that holds it.
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = attributes()
	started := make(chan error)
	go func() {
		// The death signal follows the thread that forked, not the process:
		// this one stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is in Await's error, where anyone asks
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Await polls until ready says so. The process's end, the context's end or
// 15 s are an error that holds the last lines it printed.
func (p *Process) Await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended (%v): %s", p.name, p.cmd.ProcessState, p.Tail())
		case <-ctx.Done():
			return fmt.Errorf("%s did not get ready: %s", p.name, p.Tail())
		}
	}
	return nil
}

// Output returns everything that the process has printed.
func (p *Process) Output() ([]byte, error) { return os.ReadFile(p.log) }

// Tail returns the last five lines that the process printed.
func (p *Process) Tail() string {
	b, err := p.Output()
	if err != nil {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
}

// Stop ends the process and waits for it: first politely, after patience at
// once. By SIGINT: SIGTERM would have a node drain.
func (p *Process) Stop(patience time.Duration) { p.end(syscall.SIGINT, patience) }

// Terminate is Stop by SIGTERM: a node drains first.
func (p *Process) Terminate(patience time.Duration) { p.end(syscall.SIGTERM, patience) }

func (p *Process) end(signal syscall.Signal, patience time.Duration) {
	_ = p.cmd.Process.Signal(signal) // an error: it has ended already
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// FreePort asks the kernel for a port of the loopback address that nobody
// listens on.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// Kill ends the process as a crash would, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error: it has ended already
	<-p.done
}
