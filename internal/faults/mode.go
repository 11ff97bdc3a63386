package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"presencesets/internal/redistest"
)

// Unsupported starts a real Sentinel or Cluster and asks a node to take its
// address. As long as the node refuses, that is the answer, and no cell is
// made up; when it does not, the suite must learn that mode.
func Unsupported(ctx context.Context, o Options, mode string) error {
	var url string
	var remove func() error
	switch mode {
	case "sentinel":
		s, err := redistest.LaunchSentinel(ctx)
		if err != nil {
			return err
		}
		url, remove = s.URL(), s.Remove
	case "cluster":
		c, err := redistest.LaunchCluster(ctx, 1)
		if err != nil {
			return err
		}
		url, remove = c.URL(), c.Remove
	default:
		return fmt.Errorf("there is no mode %q: want single, sentinel or cluster", mode)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	words, err := exec.CommandContext(ctx, o.Program, "serve", "--redis-url", url, "--auth-keys", apiKey,
		"--listen-client", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0").CombinedOutput()
	err = fmt.Errorf("%s: not supported yet, the node says: %s (%v)", mode, strings.TrimSpace(string(words)), err)
	if ctx.Err() != nil {
		err = fmt.Errorf("%s: the node takes it, and this suite has no cells for it yet", mode)
	}
	return errors.Join(err, remove())
}
