package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"presencesets/auth"
	"presencesets/metrics"
)

// keyFilePoll is how often the file of apps and keys is looked at. Asking for
// its contents finds every way of changing a file, the swapped links of a
// Kubernetes volume too, and costs nothing at this rate.
const keyFilePoll = 2 * time.Second

// noKeys is what serve says when nobody could connect.
const noKeys = `there is no API key, so nobody could connect. Give one of:
  auth.keys   PRESENCE_AUTH_KEYS=$(presence token --new-key) presence serve
  auth.file   a file of apps and keys: docs/reference/config.md
To try it out with a key that everyone knows: presence dev`

// keyring makes the keys that may connect. Its errors are faults of the
// settings.
func (c *Config) keyring() (*auth.Keyring, error) {
	keys, err := auth.NewKeyring(c.Auth.Keys)
	if err != nil {
		return nil, configErrors{c.fault("auth.keys", err.Error())}
	}
	if c.Auth.File != "" {
		if err := keys.LoadFile(c.Auth.File); err != nil {
			var list configErrors
			for line := range strings.SplitSeq(err.Error(), "\n") {
				list = append(list, c.fault("auth.file", line))
			}
			return nil, list
		}
	}
	if keys.Len() == 0 {
		return nil, configErrors{noKeys}
	}
	return keys, nil
}

// keyFile keeps a keyring as its file is: after a change, and on SIGHUP. A
// file with a fault changes nothing.
type keyFile struct {
	// set once
	path    string
	keys    *auth.Keyring
	metrics *metrics.Metrics
	log     *slog.Logger

	// owned by run
	seen [sha256.Size]byte // of the contents that were read last
}

func newKeyFile(path string, keys *auth.Keyring, m *metrics.Metrics, log *slog.Logger) *keyFile {
	f := &keyFile{path: path, keys: keys, metrics: m, log: log}
	if data, err := os.ReadFile(path); err == nil {
		f.seen = sha256.Sum256(data)
	}
	return f
}

// run blocks until ctx ends.
func (f *keyFile) run(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(keyFilePoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			f.check(true)
		case <-tick.C:
			f.check(false)
		}
	}
}

// check reads the file again when it has changed, or when told to: a file
// that it names may have changed.
func (f *keyFile) check(always bool) {
	data, err := os.ReadFile(f.path)
	sum := sha256.Sum256(data) // that of nothing stands for a file that cannot be read
	if !always && sum == f.seen {
		return
	}
	f.seen = sum
	if err == nil {
		err = f.keys.Parse(data, f.path)
	}
	if err != nil {
		f.metrics.AuthReloads.WithLabelValues("error").Inc()
		for line := range strings.SplitSeq(err.Error(), "\n") {
			f.log.Error("file of apps and keys has a fault: the keys from before stay", "err", line)
		}
		return
	}
	f.metrics.AuthReloads.WithLabelValues("ok").Inc()
	f.metrics.AuthKeys.Set(float64(f.keys.Len()))
	f.log.Info("file of apps and keys read again", "count", f.keys.Len())
}

// publicKey is the part of the first key of the settings that may be shown.
func (c *Config) publicKey() string {
	app, rest, _ := strings.Cut(c.Auth.Keys[0], ".")
	id := rest[:max(0, strings.IndexAny(rest, ".:"))]
	return fmt.Sprintf("%s.%s", app, id)
}
