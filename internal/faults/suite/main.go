// Suite runs the fault suite and prints its table; see package faults. Exit
// code 1: a cell failed. The evidence of it stays in the folder that is named.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"presencesets/internal/faults"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	stop()
	os.Exit(code)
}

func run(ctx context.Context) (code int, err error) {
	o := faults.Options{Clients: 150, Each: 2, Rooms: 20, Pace: time.Second}
	flag.BoolVar(&o.Long, "long", false, "every fault, default times, 100,000 memberships")
	flag.StringVar(&o.Only, "only", "", "a regular expression: only these faults, in the form's size")
	flag.StringVar(&o.Program, "program", "", "the built presence; built when not given")
	flag.IntVar(&o.Clients, "clients", 0, "clients; 0: the form's")
	flag.IntVar(&o.Each, "each", 0, "memberships of each; 0: the form's")
	flag.IntVar(&o.Rooms, "rooms", 0, "rooms, not a multiple of 7; 0: the form's")
	flag.BoolVar(&o.Keep, "keep", false, "write the notes of every cell")
	flag.BoolVar(&o.Tell, "tell", false, "only tell what took longer than its bound: for a machine that does other things, too")
	flag.StringVar(&o.Redis, "redis", "single", "single, sentinel (master, replica, three sentinels) or cluster (three masters with a replica each)")
	out := flag.String("out", "", "also write the table to this file, as Markdown")
	flag.Parse()
	form := [3]int{150, 2, 20}
	if o.Long {
		form = [3]int{10_000, 10, 1000}
		o.Pace = 20 * time.Second
	}
	for i, n := range []*int{&o.Clients, &o.Each, &o.Rooms} {
		if *n == 0 {
			*n = form[i]
		}
	}
	if o.Dir, err = os.MkdirTemp("", "faults"); err != nil {
		return 0, err
	}
	defer func() {
		if code == 0 && err == nil && !o.Keep {
			err = os.RemoveAll(o.Dir)
		}
	}()
	if o.Program == "" {
		o.Program = filepath.Join(o.Dir, "presence")
		build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-o", o.Program, "./cmd/presence")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return 0, fmt.Errorf("build presence: %w", err)
		}
	}
	o.Log = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	results, err := faults.Run(ctx, o)
	if err != nil {
		return 0, err
	}
	if err := faults.Print(os.Stdout, results); err != nil {
		return 0, err
	}
	if *out != "" {
		w, err := os.Create(*out)
		if err != nil {
			return 0, err
		}
		defer w.Close()
		if err := faults.Markdown(w, results); err != nil {
			return 0, err
		}
	}
	if faults.Failed(results) > 0 {
		return 1, nil
	}
	return 0, nil
}
