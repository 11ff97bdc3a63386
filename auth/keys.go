// Package auth turns credentials into an identity, or into a typed error. It
// knows no socket and no clock.
//
// An API key reads `appId.keyId:secret`; the older form with a dot before the
// secret, `xxxxxxxx.xxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxx`, is the same. The part
// before the secret is the *public key*: it names the key in logs and in
// Redis. Of the secret only a hash is kept.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	presence "presencesets"
)

// Bounds of the parts of an API key, in bytes.
const (
	maxAppID  = 32
	maxKeyID  = 64
	maxSecret = 256
	maxAPIKey = maxAppID + 1 + maxKeyID + 1 + maxSecret
)

// App is a tenant: the owner of keys, and the first part of every room's and
// connection's full name. It does not change after it was made.
type App struct {
	ID      string        // [A-Za-z0-9_-]{1,32}
	Grace   time.Duration // how long a lost socket keeps its memberships; 0: the node's default
	JoinAck string        // "object" or "text": the answer to a room join on /core; "": the node's default
}

// Key is an API key without its secret. It does not change after it was made:
// a reload of the file makes new ones.
type Key struct {
	App         *App
	Public      string // "app.key"
	Permissions *Permissions
	Enabled     bool // false: Authenticate refuses it

	hash [sha256.Size]byte // of the secret
}

// Keyring holds the keys that may connect. It is safe for concurrent use; its
// contents are swapped as a whole.
type Keyring struct {
	fixed   []*Key // set once: from the settings, not from the file
	current atomic.Pointer[map[string]*Key]
}

// NewKeyring makes a keyring of keys in full, each with every permission: what
// the setting `auth.keys` holds. All faults are in the one error, which shows
// no secret.
func NewKeyring(keys []string) (*Keyring, error) {
	k := &Keyring{}
	var problems []string
	apps := make(map[string]*App)
	for i, s := range keys {
		app, key, secret, err := splitKey(s)
		if err != nil {
			problems = append(problems, fmt.Sprintf("key %d: %v", i+1, err))
			continue
		}
		if apps[app] == nil {
			apps[app] = &App{ID: app}
		}
		k.fixed = append(k.fixed, &Key{
			App: apps[app], Public: app + "." + key,
			Permissions: AllPermissions(), Enabled: true, hash: sha256.Sum256([]byte(secret)),
		})
	}
	if err := k.swap(nil); err != nil {
		problems = append(problems, err.Error())
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(problems, "\n"))
	}
	return k, nil
}

// swap makes the fixed keys and those of a file the current ones, unless a
// public key comes twice.
func (k *Keyring) swap(file []*Key) error {
	all := make(map[string]*Key, len(k.fixed)+len(file))
	for _, key := range append(k.fixed[:len(k.fixed):len(k.fixed)], file...) {
		if all[key.Public] != nil {
			return fmt.Errorf("key %s is there twice", key.Public)
		}
		all[key.Public] = key
	}
	k.current.Store(&all)
	return nil
}

// Len returns how many keys may connect.
func (k *Keyring) Len() (n int) {
	for _, key := range *k.current.Load() {
		if key.Enabled {
			n++
		}
	}
	return n
}

// Key returns the key with this public name, nil when there is none. It is
// how a live connection finds out whether its key still is what it was.
func (k *Keyring) Key(public string) *Key { return (*k.current.Load())[public] }

// absent stands in for a key that does not exist, so that an unknown public
// key costs the same time as a wrong secret.
var absent = &Key{}

// Authenticate returns the key of an API key in full. The error is
// UnauthorizedError (401) for one that is malformed or unknown or whose secret
// is wrong, without telling which of the latter two, and ForbiddenError (403)
// for one that is disabled.
//
// Secrets are compared as SHA-256 hashes in constant time. It takes about a
// microsecond and never blocks.
func (k *Keyring) Authenticate(apiKey string) (*Key, *presence.Error) {
	app, id, secret, err := splitKey(apiKey)
	if err != nil {
		return nil, presence.Errorf(presence.CodeUnauthorized, "the API key is malformed: %v", err).WithField("apiKey")
	}
	key := k.Key(app + "." + id)
	if key == nil {
		key = absent
	}
	hash := sha256.Sum256([]byte(secret))
	if subtle.ConstantTimeCompare(hash[:], key.hash[:]) != 1 || key == absent {
		return nil, presence.Errorf(presence.CodeUnauthorized, "the API key is unknown or its secret is wrong").WithField("apiKey")
	}
	if !key.Enabled {
		return nil, presence.Errorf(presence.CodeForbidden, "the API key %s is disabled", key.Public).WithField("apiKey")
	}
	return key, nil
}

// splitKey cuts `app.key:secret` or `app.key.secret` and checks each part. Its
// errors never quote the secret.
func splitKey(s string) (app, key, secret string, err error) {
	const form = "want appId.keyId:secret"
	if len(s) > maxAPIKey {
		return "", "", "", fmt.Errorf("it has %d bytes; the most is %d", len(s), maxAPIKey)
	}
	app, rest, ok := strings.Cut(s, ".")
	i := strings.IndexAny(rest, ".:")
	if !ok || i < 0 {
		return "", "", "", fmt.Errorf("%s", form)
	}
	key, secret = rest[:i], rest[i+1:]
	if err := checkAppID(app); err != nil {
		return "", "", "", fmt.Errorf("%w; %s", err, form)
	}
	if err := checkKeyID(key); err != nil {
		return "", "", "", fmt.Errorf("%w; %s", err, form)
	}
	if err := checkSecret(secret); err != nil {
		return "", "", "", fmt.Errorf("%w; %s", err, form)
	}
	return app, key, secret, nil
}

func checkAppID(s string) error {
	if len(s) == 0 || len(s) > maxAppID || strings.ContainsFunc(s, func(r rune) bool { return !wordChar(r) }) {
		return fmt.Errorf("an app id has 1 to %d of the characters A-Z a-z 0-9 _ -", maxAppID)
	}
	return nil
}

func checkKeyID(s string) error {
	if len(s) == 0 || len(s) > maxKeyID || strings.ContainsFunc(s, func(r rune) bool { return !wordChar(r) && r != '~' }) {
		return fmt.Errorf("a key id has 1 to %d of the characters A-Z a-z 0-9 _ - ~", maxKeyID)
	}
	return nil
}

func checkSecret(s string) error {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '.' || r == ':' }
	if len(s) == 0 || len(s) > maxSecret || strings.ContainsFunc(s, bad) {
		return fmt.Errorf("a secret has 1 to %d visible ASCII characters, no dot and no colon", maxSecret)
	}
	return nil
}

func wordChar(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}

// CheckApp says what is wrong with an app's id, nil when nothing is.
func CheckApp(id string) error { return checkAppID(id) }

// GenerateKey returns a fresh API key in full: 8, 8 and 24 characters, or the
// given app id in place of the first 8. The secret has 120 random bits.
func GenerateKey(app string) string {
	if app == "" {
		app = random(8)
	}
	return app + "." + random(8) + ":" + random(24)
}

// random returns n ≤ 26 lower-case letters and digits, 5 random bits each.
func random(n int) string { return strings.ToLower(rand.Text()[:n]) }
