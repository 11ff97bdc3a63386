//go:build !linux

package bench

import (
	"context"
	"errors"
	"io"
)

// Options says what is measured and how long; see bench_linux.go.
type Options struct {
	Presence, Redis, Floor, Profile string
	Smoke                           bool
	Only                            []string
	Progress                        io.Writer
}

// Cases lists the names that Options.Only takes: none here.
func Cases() []string { return nil }

// Run fails: CPU and memory of another process are read from Linux's /proc.
func Run(context.Context, Options) ([]Row, error) {
	return nil, errors.New("bench needs Linux")
}
