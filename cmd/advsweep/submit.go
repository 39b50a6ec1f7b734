package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"

	"advsweep/backends"
	"advsweep/internal/outdir"
	"advsweep/study"
	"advsweep/submit"

	"github.com/spf13/cobra"
)

// The job files, by scheduler.
var jobNames = map[string]string{"slurm": "slurm.sh", "kubernetes": "kubernetes.yaml"}

func newSubmit() *cobra.Command {
	var on, out string
	var o submit.Options
	c := &cobra.Command{
		Use:   "submit DIR --on slurm|kubernetes",
		Short: "Write the job file that gives a study to Slurm or Kubernetes",
		Long: `Write a job file for the study in DIR, and print the command that submits it; nothing is submitted here. All
tasks must see the folder DIR: a shared file system under Slurm, a PersistentVolumeClaim under Kubernetes.

Slurm: an array of tasks, with a GPU each if the study is for cuda, that are run again when their node is lost.
Kubernetes: an Indexed Job (1.33 or later) with a limit of retries for each task; Dockerfile builds the image.
AWS Batch: no file is needed; give an array job of T tasks the command 'run-shard DIR --tasks T'.

Submitted again, tasks do what is missing. Then 'advsweep merge DIR' puts the results together.`,
		Example: `  advsweep submit study --on slurm --parallel 50
  advsweep submit study --on kubernetes --image registry.example/advsweep:cuda --claim studies --dir /studies/mine --subpath mine`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			name, ok := jobNames[on]
			if !ok {
				return usagef("--on %q, want slurm or kubernetes", on)
			}
			dir := args[0]
			folder, err := study.Open(dir, release)
			if err != nil {
				return err
			}
			o.Name, o.Shards = folder.Plan.Name, len(folder.Shards)
			e, err := backends.Lookup(folder.Plan.Runs[0].Manifest.Backend)
			if err != nil {
				return err
			}
			o.CUDA = e.Accelerator
			if o.Dir == "" {
				if o.Dir, err = filepath.Abs(dir); err != nil {
					return err
				}
			}
			var data []byte
			command := submit.SlurmCommand
			if on == "slurm" {
				if o.Program == "" {
					if o.Program, err = os.Executable(); err != nil {
						return err
					}
				}
				if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o777); err != nil {
					return err
				}
				data, err = submit.Slurm(o)
			} else {
				if o.Image == "" || o.Claim == "" {
					return usagef("--on kubernetes takes --image and --claim: the image that Dockerfile builds, and the PersistentVolumeClaim that holds the study")
				}
				command = submit.KubernetesCommand
				data, err = submit.Kubernetes(o)
			}
			if err != nil {
				return usageError{err}
			}
			out = cmp.Or(out, filepath.Join(dir, name))
			where, base := filepath.Split(out)
			files, err := outdir.Open(filepath.Clean(where), base)
			if err != nil {
				return err
			}
			if err := files.Write(outdir.File{Name: base, Data: data}); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "wrote %s; submit it with\n\n  %s\n\nand when it is done: advsweep merge %s\n", out, command(out), dir)
			return err
		},
	}
	fl := c.Flags()
	fl.StringVar(&on, "on", "", "slurm or kubernetes")
	fl.StringVar(&out, "out", "", "`FILE` for the job (default DIR/slurm.sh or DIR/kubernetes.yaml)")
	fl.StringVar(&o.Dir, "dir", "", "the study's folder as tasks see it (default DIR as an absolute path)")
	fl.IntVar(&o.Tasks, "tasks", 0, "tasks of the array, which share the shards (default one a shard, up to what the scheduler takes)")
	fl.IntVar(&o.Parallel, "parallel", 0, "tasks at a time (default what Slurm has room for, 100 of Kubernetes)")
	fl.IntVar(&o.ShardMinutes, "shard-minutes", 0, "minutes after which a shard is taken to hang (default 30)")
	fl.IntVar(&o.CPUs, "cpus", 0, "of a task (default 4)")
	fl.IntVar(&o.Memory, "memory", 0, "of a task, in MiB (default 8192)")
	fl.StringVar(&o.Program, "program", "", "slurm: path of advsweep on the nodes (default this program's)")
	fl.StringVar(&o.Image, "image", "", "kubernetes: the container image, whose entry point is advsweep")
	fl.StringVar(&o.Claim, "claim", "", "kubernetes: the PersistentVolumeClaim that holds the study")
	fl.StringVar(&o.SubPath, "subpath", "", "kubernetes: the study's folder in the claim (default the claim is the study)")
	fl.StringVar(&o.Namespace, "namespace", "", "kubernetes: namespace of the job (default kubectl's)")
	fl.IntVar(&o.User, "user", 0, "kubernetes: user and group id of the tasks (default 65532, the image's)")
	fl.IntVar(&o.Retries, "retries", 0, "kubernetes: times that a failed task is run again (default 3; -1: none)")
	return c
}
