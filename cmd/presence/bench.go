package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"presencesets/internal/bench"
)

func benchCommand() *cobra.Command {
	var o bench.Options
	var out string
	var markdown bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a node costs, beside a floor in C",
		Long: `Measure what a node costs: CPU a message, a delivery, a handshake and an
operation, and memory a connection, beside a floor in C (tools/floor) that gets
frames of the same lengths in the same run.

It starts a Redis, a node of this program and the floor for itself, and ends
them. Linux only. It wants at least two processors, with nothing else to do.`,
		Example: "  make bench\n  presence bench --floor .cache/bench-floor --only echo,delivery",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.Floor == "" {
				return errors.New("--floor: want the built tools/floor/floor.c (make bench builds it)")
			}
			for _, name := range o.Only {
				if !slices.Contains(bench.Cases(), name) {
					return fmt.Errorf("--only %q: want some of %s", name, strings.Join(bench.Cases(), ", "))
				}
			}
			var err error
			if o.Redis, err = findRedis(); err != nil {
				return fail(err)
			}
			if o.Presence, err = os.Executable(); err != nil {
				return fail(err)
			}
			o.Progress = cmd.ErrOrStderr()
			rows, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return fail(err)
			}
			show := bench.Print
			if markdown {
				show = bench.Markdown
			}
			if err := show(cmd.OutOrStdout(), rows); err != nil {
				return fail(err)
			}
			if out == "" {
				return nil
			}
			if err := bench.Save(out, rows, time.Now()); err != nil {
				return fail(err)
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "bench: written to", out)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Floor, "floor", "", "the built floor")
	flags.StringVar(&out, "out", "", "write every round's figures to this file, as JSON")
	flags.StringVar(&o.Profile, "profile", "", "write a CPU profile of the node in each case to this folder; costs a few per cent")
	flags.StringSliceVar(&o.Only, "only", nil, "only these cases: "+strings.Join(bench.Cases(), ", "))
	flags.BoolVar(&markdown, "markdown", false, "print the table of docs/benchmarks.md instead")
	flags.BoolVar(&o.Smoke, "smoke", false, "few connections and short rounds: does it run at all?")
	return cmd
}
