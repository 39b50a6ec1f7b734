package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"advsweep/backends"
	"advsweep/internal/regular"
	"advsweep/rundir"

	"github.com/spf13/cobra"
)

func newResume(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "resume DIR",
		Short: "Go on with a sweep that was stopped",
		Long: `Go on with the sweep in DIR where it was stopped, by Ctrl-C, a full disk or a kill, with the command
that started it. Its files are the same, byte for byte, as if it had not been stopped.

It goes on with the backend that began it, also where that command left the choice to auto. Where that
backend does not work, nothing is done: another one may differ in the last bits.`,
		Example: `  advsweep resume advsweep-out`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return p.resume(c, args[0]) },
	}
}

// resume goes on with the sweep in the folder named.
func (p *program) resume(c *cobra.Command, named string) error {
	dir, err := filepath.Abs(named)
	if err != nil {
		return err
	}
	data, err := regular.ReadFrom(dir, commandName, maxSmall)
	if err != nil {
		return fmt.Errorf("%s holds no run to go on with: %s: %w", named, commandName, err)
	}
	var was command
	if err := json.Unmarshal(data, &was); err != nil || len(was.Args) == 0 || was.Args[0] != "sweep" {
		return fmt.Errorf("%s: not how a sweep was started: start it again with its own command", filepath.Join(dir, commandName))
	}
	if err := rundir.CheckVersion(dir); err != nil {
		return err
	}
	backend, err := begunOn(dir, named)
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	if err := os.Chdir(was.Folder); err != nil {
		return fmt.Errorf("the folder in which it was started: %w", err)
	}
	defer func() { _ = os.Chdir(here) }() // the process ends
	before := *p
	before.args = was.Args
	root := newRoot(&before)
	root.SetArgs(slices.Concat(was.Args, backend, []string{"--out", dir}))
	err = root.ExecuteContext(c.Context())
	var other *rundir.UnfinishedError
	if errors.As(err, &other) && other.Err != nil {
		// It would be told to resume, which is what failed.
		return fmt.Errorf("%s does not go on here: %v; go on where it was started, with the same files, environment and kind of device, or delete the folder and start again", named, other)
	}
	return err
}

// begunOn returns the flag that names the backend which began the run in dir, none where nothing is
// stored yet. A damaged run has none either: the sweep says what is wrong with it. It returns an
// error where that backend does not work here. The run is called named.
func begunOn(dir, named string) ([]string, error) {
	m, err := rundir.Begun(dir)
	if err != nil {
		return nil, nil
	}
	e, err := backends.Lookup(m.Backend)
	title := m.Backend
	if err == nil {
		title = e.Title
		_, err = e.Devices()
	}
	if err != nil {
		spare := backends.Always()
		return nil, fmt.Errorf("%s was begun on %s, and it is not changed: %w; go on where %s works, or delete the folder and start again with --backend %s", named, title, err, m.Backend, spare.Name)
	}
	return []string{"--backend", m.Backend}, nil
}
