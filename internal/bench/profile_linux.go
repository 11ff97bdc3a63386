package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// add notes a row. A smoke run's figures are of no use, so they have no aim.
func (h *harness) add(r Row) {
	if h.Smoke {
		r.Aim = 0
	}
	h.rows = append(h.rows, r)
}

// profile begins a CPU profile of the node when one was asked for; the
// returned function ends it and writes the file.
func (h *harness) profile(n *nodeProcess, name string) (stop func() error) {
	if h.Profile == "" {
		return func() error { return nil }
	}
	seconds := 2 * int(h.length*time.Duration(h.size.rounds)/time.Second)
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan error, 1)
	go func() {
		done <- fetch(ctx, n.url(fmt.Sprintf("/debug/pprof/profile?seconds=%d", max(1, seconds))),
			filepath.Join(h.Profile, strings.NewReplacer(" ", "-", ",", "").Replace(name)+".pprof"))
	}()
	return func() error {
		defer cancel()
		return <-done
	}
}

// fetch writes what the URL answers to a file.
func fetch(ctx context.Context, url, file string) (err error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, r.Status)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r.Body)
	return errors.Join(err, out.Close())
}
