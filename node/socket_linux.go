package node

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The only raw system calls of the module. All three are asked not to block
// (MSG_DONTWAIT, timeout 0), so the scheduler need not hear of them:
// RawSyscall6 saves the entry and exit hooks that Syscall6 pays. recvfrom and
// sendto instead of read and write save the file layer.

// recv reads what the socket holds into b. n is 0 at the peer's end of stream;
// EAGAIN says that nothing is there.
func recv(fd int, b []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// send writes b and returns how much the kernel took. EAGAIN says: nothing.
func send(fd int, b []byte) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}

// epollReady collects ready events without waiting.
func epollReady(epfd int, events []unix.EpollEvent) (n int, errno unix.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(epfd),
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), 0
}
