package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Config is every setting of the program, nested by part. What each is and
// what gets worse in each direction stands in settings.go, once.
type Config struct {
	Listen struct {
		Client, Admin string
		Origins       []string
	}
	Admin struct{ Token string }
	Node  struct{ ID string }
	Redis struct {
		URL, Mode, Prefix   string
		ClockSkew           time.Duration
		ManageNotifications bool
	}
	Lease    struct{ TTL, Beat time.Duration }
	Sessions struct{ Grace, Retention time.Duration }
	Rooms    struct {
		ReplayEvents int
		ReplayBytes  size
	}
	Drain struct{ Delay, Window, Grace time.Duration }
	Ping  struct{ Interval, Timeout time.Duration }
	Edge  struct {
		Loops, MaxConnections int
		HandshakeTimeout      time.Duration
		Heads                 int
		QueueBytes            size
		QueueAge              time.Duration
	}
	Limits struct {
		Frame, Message, Data, Reply          size
		Depth, RoomName, ClientID, EventName int
		Rooms, Members, Subscriptions        int
		Requests, OtherRequests              rate
		InFlight                             int
	}
	Auth struct {
		File string
		Keys []string
	}
	Log       struct{ Level, Format string }
	Demo      bool
	DemoNodes []string

	sources map[string]string // key → where its value came from; no entry: the default
	unknown []string          // environment variables that look like settings and are none
}

// configErrors is every fault of the settings at once. It ends the program
// with exit code 2.
type configErrors []string

func (e configErrors) Error() string { return strings.Join(e, "\n") }

// addConfigFlags gives a command one flag for each setting, and --config.
func addConfigFlags(flags *pflag.FlagSet) {
	flags.String("config", "", "file of settings, YAML (PRESENCE_CONFIG)")
	settings := new(Config).settings()
	for i := range settings {
		s := &settings[i]
		usage, _, _ := strings.Cut(s.help, ". ")
		usage = strings.TrimSuffix(strings.NewReplacer("`", "", "**", "").Replace(usage), ".")
		if doc := s.defDoc + s.def; doc != "none" {
			usage += " (default " + strings.ReplaceAll(doc, "`", "") + ")"
		}
		f := flags.VarPF(&flagValue{kind: kind(s.to)}, s.flag(), "", usage)
		if f.Value.Type() == "switch" {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue keeps a flag's text for setValue. Its type is none of the words
// that viper would turn into a number or a list by itself: a wrong number
// would become 0 without a word.
type flagValue struct{ kind, text string }

func (f *flagValue) String() string     { return f.text }
func (f *flagValue) Set(s string) error { f.text = s; return nil }
func (f *flagValue) Type() string       { return f.kind }

// load reads the settings: flag over environment over file over default.
// defaults replaces the defaults of some keys. The error is configErrors, with
// all that is wrong.
func load(flags *pflag.FlagSet, defaults map[string]string) (*Config, error) {
	v := viper.New() // never the global one
	c := &Config{sources: make(map[string]string)}
	var faults configErrors

	path, from := os.Getenv("PRESENCE_CONFIG"), "PRESENCE_CONFIG"
	if f := flags.Lookup("config"); f != nil && f.Changed {
		path, from = f.Value.String(), "--config"
	}
	if path != "" {
		if err := readFile(v, path); err != nil {
			return nil, configErrors{fmt.Sprintf("config (from %s): %v", from, err)}
		}
	}

	settings := c.settings()
	known := make(map[string]bool)
	for i := range settings {
		s := &settings[i]
		known[s.key] = true
		if def := defaults[s.key]; def != "" {
			s.def = def
		}
		if err := bind(v, flags, s); err != nil {
			return nil, err
		}
		c.locate(v, flags, s, path)
	}
	for _, key := range v.AllKeys() { // what a typo in the file makes
		if !known[key] && !emptyGroup(v, key, settings) {
			faults = append(faults, fmt.Sprintf("%s (from %s): there is no such setting%s", key, path, closest(key, settings)))
		}
	}
	slices.Sort(faults)
	for i := range settings {
		s := &settings[i]
		raw := v.Get(s.key)
		if raw == nil {
			raw = s.def // viper finds nothing below a group that the file makes a value of, which was told above
		}
		if raw == "" {
			continue // a default that is found at start
		}
		if err := setValue(s.to, raw); err != nil {
			faults = append(faults, c.fault(s.key, redact(s, err.Error())))
			_ = setValue(s.to, s.def) // so that the checks below find nothing more to say about it
		}
	}
	c.unknown = unknownEnv(settings)
	c.fill()
	if faults = append(faults, c.validate()...); len(faults) > 0 {
		return nil, faults
	}
	return c, nil
}

func readFile(v *viper.Viper, path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	v.SetConfigType("yaml")
	if err := v.ReadConfig(bytes.NewReader(data)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// emptyGroup says whether a key of the file is the name of a group with
// nothing in it, as is left when all its lines are comments.
func emptyGroup(v *viper.Viper, key string, settings []setting) bool {
	return !v.InConfig(key) && slices.ContainsFunc(settings, func(s setting) bool { return strings.HasPrefix(s.key, key+".") })
}

// bind tells viper the names of a setting. Each has a default, be it empty,
// and each variable is bound by its full name: viper would not see it else.
func bind(v *viper.Viper, flags *pflag.FlagSet, s *setting) error {
	v.SetDefault(s.key, s.def)
	if err := v.BindEnv(s.key, s.env()); err != nil {
		return err
	}
	if f := flags.Lookup(s.flag()); f != nil {
		return v.BindPFlag(s.key, f)
	}
	return nil
}

// locate notes where viper will find the value of s.
func (c *Config) locate(v *viper.Viper, flags *pflag.FlagSet, s *setting, path string) {
	f := flags.Lookup(s.flag())
	switch {
	case f != nil && f.Changed:
		c.sources[s.key] = "--" + s.flag()
	case os.Getenv(s.env()) != "":
		c.sources[s.key] = s.env()
	case v.InConfig(s.key):
		c.sources[s.key] = path
	}
}

// fault makes the line that reports what is wrong with a setting.
func (c *Config) fault(key, text string) string {
	if from := c.sources[key]; from != "" {
		return fmt.Sprintf("%s (from %s): %s", key, from, text)
	}
	return fmt.Sprintf("%s: %s", key, text)
}

// redact keeps the value of a secret out of what is said about it.
func redact(s *setting, text string) string {
	if s.secret {
		return "its value is not valid; want a " + kind(s.to)
	}
	return text
}

// closest suggests the setting that a typo may have meant.
func closest(key string, settings []setting) string {
	last := key[strings.LastIndex(key, ".")+1:]
	for _, near := range []func(k string) bool{
		func(k string) bool { return strings.HasPrefix(k, key+".") },
		func(k string) bool { return strings.ReplaceAll(k, "_", "") == strings.ReplaceAll(key, "_", "") },
		func(k string) bool { return edits(k, key) <= 2 },
		func(k string) bool { return strings.HasSuffix(k, "."+last) },
	} {
		for i := range settings {
			if near(settings[i].key) {
				return fmt.Sprintf("; did you mean %s?", settings[i].key)
			}
		}
	}
	return "; `presence config` lists them"
}

// edits is the number of characters to change, add or drop to make a out of b.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// otherEnv are variables of ours that are no settings: the file of settings,
// and what dev, make and the tests know.
var otherEnv = []string{"PRESENCE_CONFIG", "PRESENCE_REDIS", "PRESENCE_TEST_REDIS", "PRESENCE_BIN", "PRESENCE_INSTALLED"}

// unknownEnv lists the variables PRESENCE_… that are no setting. They cannot
// be errors: Kubernetes makes some for a service named "presence".
func unknownEnv(settings []setting) (list []string) {
	known := slices.Clone(otherEnv)
	for i := range settings {
		known = append(known, settings[i].env())
	}
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		kubernetes := strings.HasPrefix(name, "PRESENCE_PORT") || strings.HasPrefix(name, "PRESENCE_SERVICE_")
		if strings.HasPrefix(name, "PRESENCE_") && !kubernetes && !slices.Contains(known, name) {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
