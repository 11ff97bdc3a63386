package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// clearEnv takes the settings of whoever runs the tests away.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PRESENCE_") {
			t.Setenv(name, value) // so that it is put back
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func loadArgs(t *testing.T, args ...string) (*Config, error) {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	addConfigFlags(flags)
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return load(flags, nil)
}

func TestEverySettingIsAFieldAndEveryFieldASetting(t *testing.T) {
	c := new(Config)
	settings := c.settings()
	fields := make(map[any]bool)
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			field := v.Field(i)
			if !v.Type().Field(i).IsExported() {
				continue
			}
			if field.Kind() == reflect.Struct && field.Type() != reflect.TypeFor[rate]() {
				walk(field)
				continue
			}
			fields[field.Addr().Interface()] = true
		}
	}
	walk(reflect.ValueOf(c).Elem())
	names := make(map[string]string)
	for i := range settings {
		s := &settings[i]
		if !fields[s.to] {
			t.Errorf("%s is bound to a field twice, or to none", s.key)
		}
		delete(fields, s.to)
		for _, name := range []string{s.key, s.flag(), s.env()} {
			if names[name] != "" && names[name] != s.key {
				t.Errorf("%s and %s have one name: %s", s.key, names[name], name)
			}
			names[name] = s.key
		}
		if s.help == "" || s.def == "" && s.defDoc == "" {
			t.Errorf("%s has no help or no default", s.key)
		}
		if !regexp.MustCompile(`^[a-z_]+(\.[a-z_]+)?$`).MatchString(s.key) {
			t.Errorf("%s is no name of a setting", s.key)
		}
	}
	if len(fields) > 0 {
		t.Errorf("%d fields of Config have no setting", len(fields))
	}
}

// Every setting can be given by each way, and viper loses none of them.
func TestEverySettingIsReadFromFlagEnvironmentAndFile(t *testing.T) {
	examples := map[string]string{
		"redis.url": "redis://h:1/2", "redis.mode": "single", "redis.clock_skew": "700ms", "listen.client": "127.0.0.1:1", "listen.admin": "127.0.0.1:2",
		"listen.origins": "https://a.example", "auth.keys": "a.b:c", "demo_nodes": "n1=:9001", "log.level": "warn", "log.format": "text",
		"limits.frame": "512KiB", "limits.message": "32KiB", "limits.data": "2KiB", "sessions.grace": "9s", "lease.beat": "1s", "lease.ttl": "7s",
		"limits.room_name": "9", "limits.event_name": "9", "edge.max_connections": "7", "limits.in_flight": "7", "edge.loops": "3", "demo": "false",
	}
	byKind := map[string]string{"time": "8s", "size": "8KiB", "rate": "7/3s", "number": "99", "switch": "false", "text": "abc"}
	for _, s := range new(Config).settings() {
		value := examples[s.key]
		if value == "" {
			value = byKind[kind(s.to)]
		}
		check := func(way, from string, args ...string) {
			c, err := loadArgs(t, args...)
			if err != nil {
				t.Errorf("%s by %s: %v", s.key, way, err)
				return
			}
			settings := c.settings()
			for i := range settings {
				if got := formatValue(settings[i].to); settings[i].key == s.key && got != value {
					t.Errorf("%s by %s: got %q, want %q", s.key, way, got, value)
				}
			}
			if c.sources[s.key] != from {
				t.Errorf("%s by %s: it is said to come from %q, want %q", s.key, way, c.sources[s.key], from)
			}
		}
		t.Run(s.key, func(t *testing.T) {
			clearEnv(t)
			check("flag", "--"+s.flag(), "--"+s.flag()+"="+value)
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, []byte(strings.Replace(s.key, ".", ":\n  ", 1)+`: "`+value+`"`), 0o600); err != nil {
				t.Fatal(err)
			}
			check("file", file, "--config", file)
			t.Setenv(s.env(), value)
			check("environment", s.env())
		})
	}
}

func TestReferencePageIsFresh(t *testing.T) {
	var page bytes.Buffer
	if err := writeReference(&page); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("..", "..", "docs", "reference", "config.md")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, page.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; make docs writes it", err)
	}
	if diff := cmp.Diff(string(have), page.String()); diff != "" {
		t.Errorf("docs/reference/config.md is stale (make docs writes it):\n%s", diff)
	}
}

// What the page says about files is true of the code.
func TestTheFilesOfTheReferencePageAreAccepted(t *testing.T) {
	clearEnv(t)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(referencePage, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of YAML on the page, want the settings and the keys", len(blocks))
	}
	dir := t.TempDir()
	secret := strings.Repeat("0a", 32)
	for name, text := range map[string]string{
		"c.yaml":       strings.ReplaceAll(blocks[0][1], "/etc/presence/auth.yaml", filepath.Join(dir, "auth.yaml")),
		"auth.yaml":    strings.ReplaceAll(blocks[1][1], "…", secret),
		"fleet.secret": "notsecret",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := loadArgs(t, "--config", filepath.Join(dir, "c.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := c.keyring()
	if err != nil {
		t.Fatal(err)
	}
	if keys.Len() != 2 { // one of the three is disabled
		t.Errorf("%d keys, want 2", keys.Len())
	}
}
