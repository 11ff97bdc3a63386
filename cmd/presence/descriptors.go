package main

import "syscall"

// descriptors returns how many files and sockets this process may have open.
// It raises the soft limit to the hard one first: the Go runtime does that
// already for itself, but lets it go when a limit was set by hand.
func descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 1024 // what every system gives
	}
	if limit.Cur < limit.Max {
		raised := limit
		raised.Cur = limit.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return int(min(limit.Cur, 1<<30)) // "no limit" is all ones
}
