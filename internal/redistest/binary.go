package redistest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// errNoBinary is what a test without Redis fails with: the line to type.
var errNoBinary = errors.New("no redis-server found. Install it with one of\n" +
	"  sudo apt-get install redis-tools    (Debian, Ubuntu: holds the server, starts no service)\n" +
	"  sudo dnf install redis              (Fedora)\n" +
	"  brew install redis                  (macOS)\n" +
	"or name it: PRESENCE_REDIS=/path/to/redis-server")

// binary returns the path of a redis-server.
//
// The last place to look is redis-check-rdb: it is the same program, which
// goes by the name that it is started with, and Debian's redis-tools has it
// without the service that redis-server brings.
func binary() (string, error) {
	for _, env := range []string{"PRESENCE_TEST_REDIS", "PRESENCE_REDIS"} {
		name := os.Getenv(env)
		if name == "" {
			continue
		}
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("%s names no program: %w", env, err)
		}
		return path, nil
	}
	for _, name := range []string{"redis-server", "valkey-server", "redis-check-rdb"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoBinary
}
