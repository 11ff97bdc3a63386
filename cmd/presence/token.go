package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"presencesets/auth"
)

// devKey is the key that `presence dev`, `make run` and the compose file use
// when none is given. Everyone knows it.
const devKey = "localapp.localkey:localonlysecret000000000"

// isDevKey knows it in both of its forms.
func isDevKey(key string) bool {
	return strings.ReplaceAll(key, ":", ".") == strings.ReplaceAll(devKey, ":", ".")
}

func tokenCommand() *cobra.Command {
	var newKey bool
	var app string
	cmd := &cobra.Command{
		Use:   "token --new-key",
		Short: "Make an API key",
		Long: `Make an API key: appId.keyId:secret, of 8, 8 and 24 random characters.

The key is printed once and kept nowhere. Put it into the setting auth.keys, or
its parts into the file auth.file (docs/reference/config.md).`,
		Example: "  presence token --new-key\n  presence token --new-key --app acme",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !newKey {
				return errors.New("token: nothing to make; want presence token --new-key")
			}
			if app != "" {
				if err := auth.CheckApp(app); err != nil {
					return fmt.Errorf("--app %q: %w", app, err)
				}
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), auth.GenerateKey(app))
			return fail(err)
		},
	}
	cmd.Flags().BoolVar(&newKey, "new-key", false, "print a fresh API key")
	cmd.Flags().StringVar(&app, "app", "", "the app that the key is for (default: a new one)")
	return cmd
}
