//go:build !linux

package child

import "syscall"

// attributes gives the child a group of its own. There is no death signal
// here: when we are killed, it stays.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
