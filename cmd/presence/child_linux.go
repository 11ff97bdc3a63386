package main

import "syscall"

// childAttr gives a child a process group of its own, so that Ctrl-C reaches
// us first, and has the kernel end it when we are killed.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}
