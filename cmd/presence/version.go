package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"presencesets/scripts"
)

// version is set by the linker: -X main.version=v1.2.3.
var version = ""

// programVersion returns the version that was linked in, else what the Go
// toolchain noted of the source.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}

func versionCommand() *cobra.Command {
	var verbose bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintf(w, "presence %s  %s  %s/%s\n", programVersion(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if verbose {
				fmt.Fprint(w, "\nSCRIPT\tSHA\n")
				for _, s := range scripts.All() {
					fmt.Fprintf(w, "%s\t%s\n", s.Name, s.SHA)
				}
			}
			return fail(w.Flush())
		},
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "also list the scripts by the SHA that Redis's SLOWLOG shows")
	return cmd
}
