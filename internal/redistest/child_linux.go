package redistest

import "syscall"

// childAttr makes the kernel kill the child when the thread that started it
// ends. The child has its own process group, so that Ctrl-C reaches the test
// first.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
