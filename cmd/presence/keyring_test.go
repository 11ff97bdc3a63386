package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"presencesets/auth"
	"presencesets/metrics"
)

func TestTheKeyFileIsReadWhenItChangesAndOnlyThen(t *testing.T) {
	dir := t.TempDir()
	path, secret := filepath.Join(dir, "auth.yaml"), filepath.Join(dir, "s")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	one := "apps: [{id: a, keys: [{id: k, secret_file: s, permissions: ['*']}]}]"
	write(secret, "first")
	write(path, one)
	keys, err := auth.NewKeyring(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.LoadFile(path); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	f := newKeyFile(path, keys, metrics.New(metrics.BuildInfo{}), slog.New(slog.NewTextHandler(&log, nil)))

	steps := []struct {
		name   string
		do     func()
		always bool
		key    string // that is accepted afterwards
		want   string // in the log; "": nothing
	}{
		{"nothing changed", func() {}, false, "a.k:first", ""},
		{"a file that is named changed", func() { write(secret, "second") }, false, "a.k:first", ""},
		{"told to", func() {}, true, "a.k:second", "read again"},
		{"a fault", func() { write(path, "apps: [{id: a b}]") }, false, "a.k:second", "has a fault"},
		{"the same fault", func() {}, false, "a.k:second", ""},
		{"mended", func() { write(path, one+"\n") }, false, "a.k:second", "read again"},
		{"gone", func() {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}, false, "a.k:second", "no such file"},
		{"still gone", func() {}, false, "a.k:second", ""},
		{"back as it was", func() { write(path, one+"\n") }, false, "a.k:second", "read again"},
	}
	for _, s := range steps {
		log.Reset()
		s.do()
		f.check(s.always)
		if got := log.String(); s.want == "" && got != "" || !strings.Contains(got, s.want) {
			t.Errorf("%s: the log says %q, want %q", s.name, got, s.want)
		}
		if _, err := keys.Authenticate(s.key); err != nil {
			t.Errorf("%s: %s is refused: %v", s.name, s.key, err)
		}
	}
}
