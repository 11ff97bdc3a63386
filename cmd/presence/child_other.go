//go:build !linux

package main

import "syscall"

// childAttr gives a child a process group of its own, so that Ctrl-C reaches
// us first.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
