package child

import "syscall"

// attributes gives the child a group of its own, so that the terminal's Ctrl-C
// reaches us first, and a death signal, so that it cannot outlive us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
