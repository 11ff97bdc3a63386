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

// acceptSocket takes one connection from a listening socket.
func acceptSocket(fd int) (int, error) {
	conn, _, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	return conn, err
}

// tuneSocket has small answers go out at once, and the kernel keep little of
// what a peer does not take: by default that is 4 MB, and our own bound would
// mean nothing.
func tuneSocket(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)            // a hint
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, 16<<10) // a hint
}

// unsent is how many bytes that were written to the socket its peer's TCP has
// not acknowledged. It can be read when the peer has reset the connection, too.
func unsent(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0 // no socket any more: nothing that could be known
	}
	return n
}
