package faults

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"presencesets/internal/netfault"
)

// descriptors returns how many files a process has open.
func descriptors(pid int) (int, error) {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(list), err
}

// rss returns the resident bytes of a process.
func rss(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var pages, resident int64
	_, _ = fmt.Sscan(string(b), &pages, &resident)
	return resident * int64(os.Getpagesize())
}

// dialledBy picks the connections that processes have dialled: proxies are shared
// by all, because there is one address for each server that all are told.
func dialledBy(pids ...int) (netfault.Match, error) {
	known, err := ends(pids)
	return func(near, far string) bool {
		if far != "" {
			return known[near]
		}
		now, err := ends(pids)
		return err == nil && now[near]
	}, err
}

// ends returns the local addresses of the processes' IPv4 sockets.
func ends(pids []int) (map[string]bool, error) {
	own := map[string]bool{}
	for _, pid := range pids {
		dir := fmt.Sprintf("/proc/%d/fd/", pid)
		list, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, fd := range list {
			if to, err := os.Readlink(dir + fd.Name()); err == nil && strings.HasPrefix(to, "socket:[") { // else it is closed
				own[strings.Trim(to, "socket:[]")] = true
			}
		}
	}
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for line := range strings.Lines(string(table)) {
		// sl local_address rem_address st queues tr:when retrnsmt uid timeout inode …
		field := strings.Fields(line)
		if len(field) > 9 && own[field[9]] {
			found[endpoint(field[1])] = true
		}
	}
	return found, nil
}

// endpoint reads the kernel's form of an address, 0100007F:1F90: the bytes of
// the address as one number of this machine, and the port.
func endpoint(s string) string {
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(b) != 4 {
		return ""
	}
	var ip [4]byte
	binary.NativeEndian.PutUint32(ip[:], binary.BigEndian.Uint32(b))
	return netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(n)).String()
}
