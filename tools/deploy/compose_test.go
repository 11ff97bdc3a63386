// Package deploy checks the files that we deploy with the libraries that
// docker itself reads them with. No image is built: that needs an engine.
package deploy

import (
	"context"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads the compose file as `docker compose config` does: unknown keys,
// services that are not there and wrong ports are errors.
func load(t *testing.T, content []byte, env types.Mapping) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  "../..",
		ConfigFiles: []types.ConfigFile{{Filename: "docker-compose.yml", Content: content}},
		Environment: env,
	})
}

func composeFile(t *testing.T) []byte {
	t.Helper()
	content, err := os.ReadFile("../../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestComposeFileHasRedisTwoNodesAndHAProxyInFront(t *testing.T) {
	p, err := load(t, composeFile(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.ServiceNames(), []string{"haproxy", "n1", "n2", "redis"}; !slices.Equal(got, want) {
		t.Fatalf("services: got %v, want %v", got, want)
	}
	for _, id := range []string{"n1", "n2"} {
		n := p.Services[id]
		if got := n.Environment["PRESENCE_NODE_ID"]; got == nil || *got != id {
			t.Errorf("%s: PRESENCE_NODE_ID is %v; want its own name: two nodes with one push each other out", id, got)
		}
		if got := n.Environment["PRESENCE_AUTH_KEYS"]; got == nil || *got != "localapp.localkey:localonlysecret000000000" {
			t.Errorf("%s: the default key is %v, want the development key", id, got)
		}
		if got := n.DependsOn["redis"].Condition; got != types.ServiceConditionHealthy {
			t.Errorf("%s: waits for redis to be %q, want healthy", id, got)
		}
		if n.HealthCheck != nil {
			t.Errorf("%s has a health check: its image has nothing to run one with", id)
		}
	}
	if p.Services["redis"].HealthCheck == nil {
		t.Error("redis has no health check, so no node ever starts")
	}
	if published := p.Services["haproxy"].Ports; len(published) != 1 || published[0].Published != "9000" {
		t.Errorf("haproxy publishes %v, want 9000 only", published)
	}
}

func TestComposeFileTakesTheKeysOfTheEnvironment(t *testing.T) {
	p, err := load(t, composeFile(t), types.Mapping{"PRESENCE_AUTH_KEYS": "a.b:c"})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Services["n2"].Environment["PRESENCE_AUTH_KEYS"]; got == nil || *got != "a.b:c" {
		t.Errorf("got %v, want a.b:c", got)
	}
}

// A misspelt setting would be ignored by docker and by the node alike.
func TestComposeFileNamesOnlySettingsThatExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/config.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		known["PRESENCE_"+strings.ToUpper(strings.ReplaceAll(row[1], ".", "_"))] = true
	}
	if len(known) == 0 {
		t.Fatal("docs/reference/config.md lists no setting")
	}
	p, err := load(t, composeFile(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"n1", "n2"} {
		for name := range p.Services[id].Environment {
			if !known[name] {
				t.Errorf("%s: %s is no setting of docs/reference/config.md", id, name)
			}
		}
	}
}

func TestTheLoaderFindsMistakes(t *testing.T) {
	good := string(composeFile(t))
	for _, c := range []struct{ name, old, new string }{
		{"an unknown key", "restart: unless-stopped", "restrat: unless-stopped"},
		{"an unknown service", "depends_on: [n1, n2]", "depends_on: [n1, n3]"},
		{"a wrong port", `"9001:9000"`, `"9001:ninety"`},
	} {
		broken := strings.Replace(good, c.old, c.new, 1)
		if broken == good {
			t.Fatalf("%s: %q is not in the file any more", c.name, c.old)
		}
		if _, err := load(t, []byte(broken), nil); err == nil {
			t.Errorf("%s went through", c.name)
		}
	}
}
