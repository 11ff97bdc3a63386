//go:build !linux

package redistest

import "syscall"

// childAttr gives the child its own process group. There is no parent death
// signal here: a test process that is killed leaves its server behind.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
