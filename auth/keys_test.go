package auth

import (
	"regexp"
	"strings"
	"testing"

	presence "presencesets"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const devKey = "localapp.localkey.localonlysecret000000000"

func mustKeyring(t *testing.T, keys ...string) *Keyring {
	t.Helper()
	k, err := NewKeyring(keys)
	if err != nil {
		t.Fatalf("NewKeyring(%q): %v", keys, err)
	}
	return k
}

func TestAuthenticateTakesBothSeparatorsBeforeTheSecret(t *testing.T) {
	const seed = "xxxxxxxx.xxxxxxxx.xxxxxxxxxxxxxxxxxxxxxxxx" // the form of the seed page
	for _, test := range []struct{ stored, presented, public string }{
		{devKey, devKey, "localapp.localkey"},
		{devKey, "localapp.localkey:localonlysecret000000000", "localapp.localkey"},
		{seed, seed, "xxxxxxxx.xxxxxxxx"},
		{"Ab_-9.k~1:s3cret", "Ab_-9.k~1:s3cret", "Ab_-9.k~1"},
		{"Ab_-9.k~1:s3cret", "Ab_-9.k~1.s3cret", "Ab_-9.k~1"},
		{"aaaaaaaaaaaa.bbbbbbbbbbbb:" + strings.Repeat("0f", 32), "aaaaaaaaaaaa.bbbbbbbbbbbb:" + strings.Repeat("0f", 32), "aaaaaaaaaaaa.bbbbbbbbbbbb"},
	} {
		key, err := mustKeyring(t, test.stored).Authenticate(test.presented)
		if err != nil {
			t.Errorf("Authenticate(%q): %v", test.presented, err)
			continue
		}
		if key.Public != test.public || key.App.ID+"." != test.public[:len(key.App.ID)+1] {
			t.Errorf("Authenticate(%q): app %q, public key %q; want %q", test.presented, key.App.ID, key.Public, test.public)
		}
		if !key.Permissions.Allows("any:room", PermPresence) || !key.Enabled {
			t.Errorf("%s: a key from the settings must have every permission", key.Public)
		}
	}
}

func TestAuthenticateRefusesWithoutTellingTheSecret(t *testing.T) {
	k := mustKeyring(t, "app1.key1:topsecret", "app2.key1:othersecret")
	for _, presented := range []string{
		"", ".", "..", ":", "app1", "app1.key1", "app1.key1:", "app1.key1.", "app1:key1:topsecret",
		"app1.key1:topsecreT", "app1.key1:topsecret ", " app1.key1:topsecret", "app1.key1:topsecre", "app1.key1:topsecrett",
		"app1.key1:othersecret", "app1.key2:topsecret", "app9.key1:topsecret", "APP1.key1:topsecret",
		"app1.key1.topsecret.", "app1.key1:topsecret:topsecret", "app1.key1:top\x00secret", "app1.key1:töpsecret",
		"undefined", "null", strings.Repeat("a", 33) + ".k:topsecret", strings.Repeat("x", 100_000),
	} {
		key, err := k.Authenticate(presented)
		if err == nil || key != nil {
			t.Errorf("Authenticate(%.40q) = %v, want UnauthorizedError", presented, key)
			continue
		}
		if err.Name != "UnauthorizedError" || err.Status != 401 {
			t.Errorf("Authenticate(%.40q): %s %d, want UnauthorizedError 401", presented, err.Name, err.Status)
		}
		if strings.Contains(err.Message, "secret1") || strings.Contains(err.Message, "topsecre") {
			t.Errorf("Authenticate(%.40q): the message tells a secret: %s", presented, err.Message)
		}
	}
}

func TestAnUnknownKeyAndAWrongSecretCannotBeToldApart(t *testing.T) {
	k := mustKeyring(t, "app1.key1:topsecret")
	_, unknown := k.Authenticate("app1.key2:topsecret")
	_, wrong := k.Authenticate("app1.key1:guess")
	if unknown.Message != wrong.Message {
		t.Errorf("unknown: %q, wrong secret: %q", unknown.Message, wrong.Message)
	}
}

func TestNewKeyringReportsEveryFaultAndNoSecret(t *testing.T) {
	_, err := NewKeyring([]string{"ok.key:secretA", "bad app.key:secretB", "app.key", "ok.key.secretC"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"key 2: an app id has", "key 3: want appId.keyId:secret", "key ok.key is there twice"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "secret"+"A") || strings.Contains(err.Error(), "secretB") || strings.Contains(err.Error(), "secretC") {
		t.Errorf("the error tells a secret: %v", err)
	}
}

func TestKeysOfOneAppShareIt(t *testing.T) {
	k := mustKeyring(t, "app1.a:s1", "app1.b:s2")
	if k.Len() != 2 || k.Key("app1.a").App != k.Key("app1.b").App {
		t.Error("two keys of one app have two apps")
	}
}

func TestGeneratedKeysAreOfTheSeedsFormAndDiffer(t *testing.T) {
	form := regexp.MustCompile(`^[a-z2-7]{8}\.[a-z2-7]{8}:[a-z2-7]{24}$`)
	seen := make(map[string]bool)
	for range 100 {
		key := GenerateKey("")
		if !form.MatchString(key) || seen[key] {
			t.Fatalf("GenerateKey: %q", key)
		}
		seen[key] = true
		mustKeyring(t, key)
	}
	if key := GenerateKey("acme"); !strings.HasPrefix(key, "acme.") {
		t.Errorf("GenerateKey(acme): %q", key)
	}
}

func TestAuthenticateAllocatesLittle(t *testing.T) {
	k := mustKeyring(t, devKey)
	if n := testing.AllocsPerRun(100, func() { _, _ = k.Authenticate(devKey) }); n > 2 {
		t.Errorf("%v allocations a call, want at most 2", n)
	}
}

func FuzzAuthenticate(f *testing.F) {
	for _, s := range []string{devKey, "a.b:c", "a.b.c", "", "..", "a.b:", "a:b.c", "a.b:c:d", "\xff.\xfe:\x00"} {
		f.Add(s)
	}
	k, err := NewKeyring([]string{devKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		key, refused := k.Authenticate(s)
		if (key == nil) == (refused == nil) {
			t.Fatalf("key %v and error %v", key, refused)
		}
		if key != nil && s != devKey && s != "localapp.localkey:localonlysecret000000000" {
			t.Fatalf("%q was let in", s)
		}
		if refused != nil && refused.Code != presence.CodeUnauthorized {
			t.Fatalf("%q: code %s", s, refused.Code)
		}
		app, id, secret, err := splitKey(s)
		if err == nil && s != app+"."+id+":"+secret && s != app+"."+id+"."+secret {
			t.Fatalf("%q was cut into %q %q %q", s, app, id, secret)
		}
	})
}
