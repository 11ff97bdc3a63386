// Package deploy checks the files that we deploy with the libraries that
// docker itself reads them with. No image is built: that needs an engine.
package deploy

import (
	"context"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
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
	return read(t, "docker-compose.yml")
}

// read returns a file of the repository's root.
func read(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile("../../" + name)
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
func TestComposeFilesNameOnlySettingsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.]+)` \\|").FindAllStringSubmatch(string(read(t, "docs/reference/config.md")), -1) {
		known["PRESENCE_"+strings.ToUpper(strings.ReplaceAll(row[1], ".", "_"))] = true
	}
	if len(known) == 0 {
		t.Fatal("docs/reference/config.md lists no setting")
	}
	for _, file := range []string{"docker-compose.yml", "docker-compose.sentinel.yml", "docker-compose.cluster.yml"} {
		p, err := load(t, read(t, file), nil)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, id := range []string{"n1", "n2"} {
			for name := range p.Services[id].Environment {
				if !known[name] {
					t.Errorf("%s, %s: %s is no setting of docs/reference/config.md", file, id, name)
				}
			}
		}
	}
}

// Redis and Sentinel tell addresses, the nodes' URL names services: what is
// told must be somebody's, and what is named must be there.
func TestSentinelAndClusterAreAtTheAddressesThatTheirFilesName(t *testing.T) {
	for _, c := range []struct {
		file, mode, asked, port string
		servers                 int
	}{
		{"docker-compose.sentinel.yml", "sentinel", "s", "26379", 3},
		{"docker-compose.cluster.yml", "cluster", "r", "6379", 6},
	} {
		content := read(t, c.file)
		p, err := load(t, content, nil)
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		var addresses []string
		for name, s := range p.Services {
			if n := s.Networks["default"]; n != nil && n.Ipv4Address != "" {
				addresses = append(addresses, n.Ipv4Address)
			}
			if strings.HasPrefix(name, "r") && s.HealthCheck == nil {
				t.Errorf("%s: %s has no health check, so nobody waits for it", c.file, name)
			}
		}
		slices.Sort(addresses)
		if want := len(slices.Compact(slices.Clone(addresses))); want != len(addresses) {
			t.Errorf("%s: two services have one address: %v", c.file, addresses)
		}
		for _, told := range regexp.MustCompile(`10\.7[78]\.0\.[1-9][0-9]*\b`).FindAllString(string(content), -1) {
			if !slices.Contains(addresses, told) {
				t.Errorf("%s: %s is told, and no service has it", c.file, told)
			}
		}
		for i := range c.servers {
			if _, ok := p.Services["r"+strconv.Itoa(i+1)]; !ok {
				t.Errorf("%s: there is no r%d", c.file, i+1)
			}
		}
		for _, id := range []string{"n1", "n2"} {
			env := p.Services[id].Environment
			if got := *env["PRESENCE_REDIS_MODE"]; got != c.mode {
				t.Errorf("%s: the mode of %s is %s, want %s", c.file, id, got, c.mode)
			}
			u, err := url.Parse(*env["PRESENCE_REDIS_URL"])
			if err != nil {
				t.Fatalf("%s: %v", c.file, err)
			}
			want := []string{c.asked + "1:" + c.port, c.asked + "2:" + c.port, c.asked + "3:" + c.port}
			if got := append([]string{u.Host}, u.Query()["addr"]...); !slices.Equal(got, want) {
				t.Errorf("%s: %s asks %v, want %v", c.file, id, got, want)
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
