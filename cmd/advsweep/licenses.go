package main

import (
	"fmt"

	"advsweep/internal/licenses"

	"github.com/spf13/cobra"
)

func newLicenses() *cobra.Command {
	var full bool
	c := &cobra.Command{
		Use:   "licenses",
		Short: "List the work of others inside, and its licences",
		Long: `List what others have made that advsweep contains: modules with their versions, Go itself,
data and schemas, and the licence of each, in the terms of SPDX. The list is the same for
every build; some modules are only in builds with CUDA, or on one system. advsweep's own
licence is MIT.`,
		Example: `  advsweep licenses
  advsweep licenses --full > THIRD_PARTY_LICENSES`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := licenses.Read()
			if err != nil {
				return err
			}
			if full {
				return t.Full(c.OutOrStdout())
			}
			if err := t.List(c.OutOrStdout()); err != nil {
				return err
			}
			_, err = fmt.Fprint(c.OutOrStdout(), "\n'advsweep licenses --full' prints all their texts.\n")
			return err
		},
	}
	c.Flags().BoolVar(&full, "full", false, "print the texts of all licences as well")
	return c
}
