// Command presence is the server of Presence Sets, and its tools.
//
// This package wires the others and is the only one that knows the command
// line and the settings: one file a subcommand, serve.go first.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // what was asked did not work
	exitUsage  = 2 // wrong arguments or settings
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program without the process around it.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := untilSignal(stderr)
	defer stop()
	root := rootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var wrong configErrors
	if !errors.As(err, &wrong) {
		wrong = configErrors{err.Error()}
	}
	for _, text := range wrong {
		fmt.Fprintln(stderr, "presence: "+text)
	}
	// An error that none of our commands made is cobra's: unknown command or flag.
	var failed failure
	if errors.As(err, &failed) {
		return exitFailed
	}
	return exitUsage
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "presence",
		Short:         "Who is in which room, across many nodes, with all state in Redis",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(
		serveCommand(),
		devCommand(),
		configCommand(),
		tokenCommand(),
		benchCommand(),
		versionCommand(),
	)
	return root
}

// failure is an error of what was asked, not of how it was asked.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// fail marks an error as exit code 1; nil stays nil.
func fail(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// isTerminal says whether someone looks at f.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
