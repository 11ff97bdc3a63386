package faults

import "golang.org/x/sys/unix"

// unread returns how many bytes a socket has that nobody has read, 0 when it
// has ended.
func unread(fd int) int {
	n, _ := unix.IoctlGetInt(fd, unix.TIOCINQ)
	return n
}
