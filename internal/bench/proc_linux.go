package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpu returns the CPU time that the process and its ended threads have been
// charged with, user and system. On loopback that holds the receiver's half of
// the TCP path for what the process sends.
//
// The sum over the threads (schedstat) counts nanoseconds, but forgets a
// thread that ended; the process's own figure (stat) remembers it, in ticks of
// 10 ms. The larger one is taken.
func cpu(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var fine time.Duration
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread ended meanwhile
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		fine += time.Duration(ns)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("the measured process is gone: %w", err)
	}
	_, after, ok := bytes.Cut(b, []byte(") ")) // the name before it may hold anything
	fields := strings.Fields(string(after))
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q is not of the known form", pid, b)
	}
	var coarse time.Duration
	for _, s := range fields[11:13] { // utime, stime
		ticks, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		coarse += time.Duration(ticks) * 10 * time.Millisecond
	}
	return max(fine, coarse), nil
}

// rss returns the resident bytes of the process, as the kernel counts them
// page by page (the figure in stat is only an estimate).
func rss(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("the measured process is gone: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb int64
		if n, _ := fmt.Sscanf(lines.Text(), "Rss: %d kB", &kb); n == 1 {
			return kb << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/smaps_rollup has no Rss", pid)
}
