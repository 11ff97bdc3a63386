package auth

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const goodFile = `apps:
  - id: acme
    grace: 12s
    join_ack: text
    keys:
      - id: web1
        secret: "web1secret"
        permissions: ["*"]
      - id: old
        secret: oldsecret
        permissions: ["*"]
        enabled: false
      - id: fleet
        secret_file: fleet.txt
        permissions:
          "Room:*": [subscribe]
          "*": [presence]
  - id: other
    keys:
      - id: web1
        secret_sha256: "` + otherHash + `"
        permissions: [subscribe, presence]
`

// otherHash is the SHA-256 of "othersecret".
const otherHash = "b7efd70d0efb2943e07adb4bf1b63a8d7aee5e8fa6ba4a41f8a4f7a8b7f9be07"

func writeGood(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.yaml")
	sum := sha256.Sum256([]byte("othersecret"))
	text := strings.Replace(goodFile, otherHash, hex.EncodeToString(sum[:]), 1)
	for name, content := range map[string]string{path: text, filepath.Join(dir, "fleet.txt"): "fleetsecret\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func TestTheFileGivesAppsAndKeys(t *testing.T) {
	k := mustKeyring(t, devKey)
	if err := k.LoadFile(writeGood(t)); err != nil {
		t.Fatal(err)
	}
	if k.Len() != 4 { // one from the settings, and one of the file's four is disabled
		t.Errorf("%d keys, want 4", k.Len())
	}
	for _, presented := range []string{devKey, "acme.web1:web1secret", "acme.fleet:fleetsecret", "other.web1:othersecret"} {
		if _, err := k.Authenticate(presented); err != nil {
			t.Errorf("%s: %v", presented, err)
		}
	}
	web := k.Key("acme.web1")
	if diff := cmp.Diff(App{ID: "acme", Grace: 12 * time.Second, JoinAck: "text"}, *web.App); diff != "" {
		t.Errorf("app (-want +got):\n%s", diff)
	}
	if web.App != k.Key("acme.fleet").App {
		t.Error("the keys of one app have two apps")
	}
	fleet := k.Key("acme.fleet").Permissions
	if !fleet.Allows("Room:1", PermSubscribe) || fleet.Allows("Room:1", PermPresence) || !fleet.Allows("room:1", PermPresence) {
		t.Error("the map form of permissions lost the case of a room, or its choice")
	}
	if p := k.Key("other.web1").Permissions; !p.Allows("x", PermSubscribe) || p.Allows("x", PermPublish) {
		t.Error("the list form of permissions is wrong")
	}
}

func TestADisabledKeyIsRefusedOnlyAfterItsSecretIsRight(t *testing.T) {
	k := mustKeyring(t)
	if err := k.LoadFile(writeGood(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Authenticate("acme.old:oldsecret"); err == nil || err.Status != 403 {
		t.Errorf("disabled key: %v, want ForbiddenError 403", err)
	}
	if _, err := k.Authenticate("acme.old:guess"); err == nil || err.Status != 401 {
		t.Errorf("disabled key, wrong secret: %v, want UnauthorizedError 401", err)
	}
}

func TestAFileWithAFaultChangesNothing(t *testing.T) {
	k := mustKeyring(t)
	path := writeGood(t)
	if err := k.LoadFile(path); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"apps: []", "apps:\n  - id: 'not good'\n", "apps: [", ""} {
		if err := k.Parse([]byte(bad), path); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if err := k.LoadFile(filepath.Join(t.TempDir(), "absent.yaml")); err == nil {
		t.Error("an absent file: no error")
	}
	if _, err := k.Authenticate("acme.web1:web1secret"); err != nil || k.Len() != 3 {
		t.Errorf("the keys from before are gone: %v, %d keys", err, k.Len())
	}
}

func TestEveryFaultIsToldWithItsLineAndWithoutSecrets(t *testing.T) {
	const password = "s3cr3tpassword"
	for name, test := range map[string]struct {
		yaml string
		want []string // by line
	}{
		"unknown field": {
			"apps:\n  - id: acme\n    keys:\n      - id: k\n        secrt: " + password + "\n        permissions: ['*']\n",
			[]string{`auth.yaml:5: unknown field "secrt"`},
		},
		"wrong type": {
			"apps:\n  - id: acme\n    keys: " + password + "\n",
			[]string{`auth.yaml:3: `},
		},
		"syntax": {
			"apps:\n  - id: acme\n    keys:\n  - secret: '" + password + "\n",
			[]string{`auth.yaml:`},
		},
		"the same field twice": {
			"apps:\n  - id: acme\n    keys:\n      - id: k\n        secret: " + password + "\n        secret: " + password + "\n",
			[]string{`auth.yaml:6: `},
		},
		"many at once": {
			`apps:
  - id: "a b"
    grace: soon
    join_ack: maybe
    keys:
      - id: k.1
        secret: ` + password + `
        permissions: ["*"]
      - id: k2
        permissions: ["*"]
      - id: k3
        secret: "has:colon` + password + `"
        permissions: [presense]
      - id: k4
        secret_sha256: abc
        secret: ` + password + `
        permissions:
          "room:*": ["*"]
      - id: k5
        secret_sha256: abc
      - id: k5
        secret_file: absent.txt
        permissions: {"x": [nope]}
  - id: b
  - id: b
    grace: 1s
`,
			[]string{
				`auth.yaml:2: id "a b": an app id has`,
				`auth.yaml:3: grace: "soon" is no time of at least 5s`,
				`auth.yaml:4: join_ack: "maybe"; want "object" or "text"`,
				`auth.yaml:6: key "k.1": a key id has`,
				`auth.yaml:9: key "k2" has 0 of secret,`,
				`auth.yaml:12: secret of key "k3": a secret has`,
				`auth.yaml:13: permissions of key "k3": "presense" is no permission`,
				`auth.yaml:14: key "k4" has 2 of secret,`,
				`auth.yaml:19: key "k5" has no permissions`,
				`auth.yaml:20: secret_sha256 of key "k5": want 64 hex digits`,
				`auth.yaml:21: key "k5" of app "a b" is there twice`,
				`auth.yaml:22: secret_file of key "k5"`,
				`auth.yaml:23: permissions of key "k5": room "x": "nope" is no permission`,
				`auth.yaml:25: app "b" is there twice`,
				`auth.yaml:26: grace: "1s" is no time`,
			},
		},
		"permissions of the wrong kind": {
			"apps:\n  - id: a\n    keys:\n      - id: k\n        secret: " + password + "\n        permissions: all\n",
			[]string{`permissions: want a list`},
		},
		"a room with a word": {
			"apps:\n  - id: a\n    keys:\n      - id: k\n        secret: " + password + "\n        permissions: {x: y}\n",
			[]string{`permissions of room "x": want a list of words`},
		},
		"no app": {"apps:\n", []string{`auth.yaml: there is no app`}},
	} {
		err := mustKeyring(t).Parse([]byte(test.yaml), "auth.yaml")
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%s: %d faults, want %d:\n%v", name, len(lines), len(test.want), err)
			continue
		}
		for i, want := range test.want {
			if !strings.Contains(lines[i], want) {
				t.Errorf("%s: fault %d is %q, want %q", name, i, lines[i], want)
			}
		}
		if strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error tells a secret:\n%v", name, err)
		}
	}
}

func TestAKeyOfTheSettingsAndOfTheFileMustDiffer(t *testing.T) {
	k := mustKeyring(t, "acme.web1:fromsettings")
	if err := k.LoadFile(writeGood(t)); err == nil || !strings.Contains(err.Error(), "key acme.web1 is there twice") {
		t.Errorf("got %v", err)
	}
	if _, err := k.Authenticate("acme.web1:fromsettings"); err != nil {
		t.Errorf("the key of the settings is gone: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodFile))
	f.Add([]byte("apps:\n  - id: a\n    keys: [{id: k, secret: s, permissions: {'*': ['*']}}]\n"))
	f.Add([]byte("apps: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if strings.Contains(string(data), "secret_file") {
			return // reads files
		}
		k := mustKeyring(t, devKey)
		if err := k.Parse(data, "f"); err != nil && k.Len() != 1 {
			t.Fatal("a file with a fault changed the keys")
		}
		if _, err := k.Authenticate(devKey); err != nil {
			t.Fatal("the key of the settings is gone")
		}
	})
}
