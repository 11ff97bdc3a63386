package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func configCommand() *cobra.Command {
	var output string
	var markdown bool
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show every setting, its value and where it came from",
		Long: `Show every setting, its value and where it came from.

It reads what serve would read, with the same flags, and tells all that is
wrong. Secrets print as ***.`,
		Example: "  presence config\n  presence config --config presence.yaml -o json\n  presence config --markdown > docs/reference/config.md",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if markdown {
				return fail(writeReference(cmd.OutOrStdout()))
			}
			c, err := load(cmd.Flags(), nil)
			if err != nil {
				return err
			}
			switch output {
			case "text":
				return fail(c.writeText(cmd.OutOrStdout()))
			case "json":
				return fail(c.writeJSON(cmd.OutOrStdout()))
			}
			return errors.New(`-o: want text or json`)
		},
	}
	addConfigFlags(cmd.Flags())
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	cmd.Flags().BoolVar(&markdown, "markdown", false, "print the reference page of all settings instead")
	return cmd
}

func (c *Config) writeText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tVALUE\tFROM")
	settings := c.settings()
	for i := range settings {
		s := &settings[i]
		value := s.text()
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.key, value, c.from(s.key))
	}
	for _, name := range c.unknown {
		fmt.Fprintf(w, "%s\t?\tno setting has this name\n", name)
	}
	return w.Flush()
}

func (c *Config) writeJSON(out io.Writer) error {
	type line struct {
		Key   string `json:"key"`
		Value string `json:"value"`
		From  string `json:"from"`
	}
	var lines []line
	settings := c.settings()
	for i := range settings {
		s := &settings[i]
		lines = append(lines, line{s.key, s.text(), c.from(s.key)})
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(lines)
}

func (c *Config) from(key string) string {
	if from := c.sources[key]; from != "" {
		return from
	}
	return "default"
}
