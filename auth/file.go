package auth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// MinGrace is the shortest grace that an app may ask for: the clients' first
// and second attempts to come back happen in the first 6 s (wire protocol 2.4).
const MinGrace = 5 * time.Second

// The file of apps and keys as it is written (docs/reference/config.md).
type (
	fileYAML struct {
		Apps []appYAML `yaml:"apps"`
	}
	appYAML struct {
		ID      string    `yaml:"id"`
		Grace   string    `yaml:"grace"`
		JoinAck string    `yaml:"join_ack"`
		Keys    []keyYAML `yaml:"keys"`
	}
	keyYAML struct {
		ID           string           `yaml:"id"`
		Secret       string           `yaml:"secret"`
		SecretFile   string           `yaml:"secret_file"`
		SecretSHA256 string           `yaml:"secret_sha256"`
		Permissions  *permissionsYAML `yaml:"permissions"`
		Enabled      *bool            `yaml:"enabled"`
	}
	// permissionsYAML is either form of the permissions: a list, or a map from
	// rooms to lists.
	permissionsYAML struct {
		list  []string
		rooms []RoomPermissions
		isMap bool
	}
)

// LoadFile reads the file of apps and keys and makes it current beside the
// keys from the settings. After an error the keyring is as it was. The error
// has a line `path:line: what` for each fault and holds no secret.
func (k *Keyring) LoadFile(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return k.Parse(data, path)
}

// Parse is LoadFile for a file that was read already; path stands in errors,
// and a relative `secret_file` is looked for beside it.
func (k *Keyring) Parse(data []byte, path string) error {
	r := reader{path: path}
	keys := r.keys(data)
	if len(r.faults) > 0 {
		return r.err()
	}
	if err := k.swap(keys); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// reader gathers the faults of one file.
type reader struct {
	path   string
	file   *ast.File
	faults []fault
}

// fault is what is wrong at a line; 0: in the file as a whole.
type fault struct {
	line int
	text string
}

// err lists the faults in the order of their lines.
func (r *reader) err() error {
	slices.SortStableFunc(r.faults, func(a, b fault) int { return a.line - b.line })
	lines := make([]string, len(r.faults))
	for i, f := range r.faults {
		at := r.path
		if f.line > 0 {
			at = fmt.Sprintf("%s:%d", r.path, f.line)
		}
		lines[i] = at + ": " + f.text
	}
	return errors.New(strings.Join(lines, "\n"))
}

func (r *reader) keys(data []byte) []*Key {
	var content fileYAML
	if err := r.decode(data, &content); err != nil {
		r.yamlFault(err)
		return nil
	}
	if len(content.Apps) == 0 {
		r.faults = append(r.faults, fault{0, `there is no app; want "apps:" and a list`})
	}
	var keys []*Key
	seen := make(map[string]bool)
	for i := range content.Apps {
		at := fmt.Sprintf("$.apps[%d]", i)
		app := r.app(at, &content.Apps[i])
		if seen[app.ID] {
			r.fault(at+".id", "app %q is there twice", app.ID)
		}
		seen[app.ID] = true
		keys = append(keys, r.keysOf(at, app, content.Apps[i].Keys)...)
	}
	return keys
}

// decode reads the YAML. The library panics on some malformed files (fuzzing
// found one in testdata); a running node reads this file again and must not
// end by it, so here, and only here, a panic is one more way to be malformed.
func (r *reader) decode(data []byte, content *fileYAML) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("this is not readable as YAML")
		}
	}()
	if r.file, err = parser.ParseBytes(data, 0); err != nil {
		return err
	}
	err = yaml.NewDecoder(bytes.NewReader(data), yaml.Strict()).Decode(content)
	if errors.Is(err, io.EOF) {
		return nil // an empty file
	}
	return err
}

func (r *reader) app(at string, y *appYAML) *App {
	app := &App{ID: y.ID, JoinAck: y.JoinAck}
	if err := checkAppID(y.ID); err != nil {
		r.fault(at+".id", "id %q: %v", y.ID, err)
	}
	if y.Grace != "" {
		grace, err := time.ParseDuration(y.Grace)
		if err != nil || grace < MinGrace {
			r.fault(at+".grace", `grace: %q is no time of at least %s; want such as "10s"`, y.Grace, MinGrace)
		}
		app.Grace = grace
	}
	if !slices.Contains([]string{"", "object", "text"}, y.JoinAck) {
		r.fault(at+".join_ack", `join_ack: %q; want "object" or "text"`, y.JoinAck)
	}
	return app
}

func (r *reader) keysOf(at string, app *App, list []keyYAML) []*Key {
	var keys []*Key
	seen := make(map[string]bool)
	for i := range list {
		at, y := fmt.Sprintf("%s.keys[%d]", at, i), &list[i]
		if err := checkKeyID(y.ID); err != nil {
			r.fault(at+".id", "key %q: %v", y.ID, err)
		}
		if seen[y.ID] {
			r.fault(at+".id", "key %q of app %q is there twice", y.ID, app.ID)
		}
		seen[y.ID] = true
		key := &Key{App: app, Public: app.ID + "." + y.ID, Enabled: y.Enabled == nil || *y.Enabled}
		key.hash = r.hash(at, y)
		key.Permissions = r.permissions(at, y)
		keys = append(keys, key)
	}
	return keys
}

// hash returns the SHA-256 of the key's secret, from whichever of the three
// fields is there.
func (r *reader) hash(at string, y *keyYAML) (hash [sha256.Size]byte) {
	given := 0
	for _, s := range []string{y.Secret, y.SecretFile, y.SecretSHA256} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		r.fault(at, "key %q has %d of secret, secret_file and secret_sha256; want one of them", y.ID, given)
		return hash
	}
	if y.SecretSHA256 != "" {
		b, err := hex.DecodeString(y.SecretSHA256)
		if err != nil || len(b) != len(hash) {
			r.fault(at+".secret_sha256", "secret_sha256 of key %q: want %d hex digits", y.ID, 2*len(hash))
		}
		copy(hash[:], b)
		return hash
	}
	secret, field := y.Secret, ".secret"
	if y.SecretFile != "" {
		field = ".secret_file"
		path := y.SecretFile
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(r.path), path)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			r.fault(at+field, "secret_file of key %q: %v", y.ID, err)
			return hash
		}
		secret = strings.TrimSpace(string(b)) // editors end a file with a line break
	}
	if err := checkSecret(secret); err != nil {
		r.fault(at+field, "%s of key %q: %v", field[1:], y.ID, err)
	}
	return sha256.Sum256([]byte(secret))
}

func (r *reader) permissions(at string, y *keyYAML) *Permissions {
	if y.Permissions == nil {
		r.fault(at, `key %q has no permissions; want such as ["*"] or ["subscribe", "presence"]`, y.ID)
		return nil
	}
	p, err := y.Permissions.make()
	if err != nil {
		r.fault(at+".permissions", "permissions of key %q: %v", y.ID, err)
	}
	return p
}

func (y *permissionsYAML) make() (*Permissions, error) {
	if y.isMap {
		return NewRoomPermissions(y.rooms)
	}
	return NewPermissions(y.list)
}

// UnmarshalYAML takes a list of words or a map from rooms to such lists. The
// order and the case of the rooms are kept.
func (y *permissionsYAML) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&y.list) == nil {
		return nil
	}
	var rooms yaml.MapSlice
	if err := unmarshal(&rooms); err != nil {
		return errors.New(`permissions: want a list such as ["subscribe", "presence"], or a map from rooms to such lists`)
	}
	y.isMap = true
	for _, item := range rooms {
		list, ok := stringList(item.Value)
		if !ok {
			return fmt.Errorf("permissions of room %q: want a list of words", fmt.Sprint(item.Key))
		}
		y.rooms = append(y.rooms, RoomPermissions{fmt.Sprint(item.Key), list})
	}
	return nil
}

func stringList(v any) ([]string, bool) {
	values, ok := v.([]any)
	if !ok {
		return nil, false
	}
	list := make([]string, len(values))
	for i, v := range values {
		if list[i], ok = v.(string); !ok {
			return nil, false
		}
	}
	return list, true
}

// fault notes what is wrong at a place of the file, with its line.
func (r *reader) fault(at, format string, args ...any) {
	r.faults = append(r.faults, fault{r.line(at), fmt.Sprintf(format, args...)})
}

// line returns the line of a place such as `$.apps[0].keys[1].id`, or of what
// surrounds it when the place is not there.
func (r *reader) line(at string) int {
	for at != "$" {
		if path, err := yaml.PathString(at); err == nil {
			if node, err := path.FilterFile(r.file); err == nil && node != nil {
				return firstLine(node)
			}
		}
		at = at[:max(1, strings.LastIndexAny(at, ".["))]
	}
	return 0
}

// firstLine is the line at which a node begins: that of a mapping is the one
// of its first key, while its token is the first colon or bracket.
func firstLine(node ast.Node) int {
	if m, ok := node.(*ast.MappingNode); ok && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken().Position.Line
	}
	return node.GetToken().Position.Line
}

// yamlFault notes an error of the YAML library without the excerpt of the
// file that its text shows: the lines around a fault may hold secrets.
func (r *reader) yamlFault(err error) {
	text, line := err.Error(), 0
	var e yaml.Error
	if errors.As(err, &e) {
		text = e.GetMessage()
		if t := e.GetToken(); t != nil && t.Position != nil {
			line = t.Position.Line
		}
	}
	text, _, _ = strings.Cut(text, "\n")
	r.faults = append(r.faults, fault{line, text})
}
