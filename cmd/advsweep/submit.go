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

// A submitVerb is 'advsweep submit' with its flags.
type submitVerb struct {
	on      string // a scheduler of jobs
	out     string // a file, or ""
	array   submit.Array
	program string     // of Slurm: path of advsweep on the nodes
	pod     submit.Pod // of Kubernetes
}

// A job is how the job file for a scheduler is made.
type job struct {
	name    string // of its file
	write   func(v *submitVerb, dir string) ([]byte, error)
	command func(file string) string // that submits it
}

// jobs are those of each scheduler.
var jobs = map[string]job{
	"slurm":      {"slurm.sh", (*submitVerb).slurm, submit.SlurmCommand},
	"kubernetes": {"kubernetes.yaml", (*submitVerb).kubernetes, submit.KubernetesCommand},
}

func newSubmit() *cobra.Command {
	v := &submitVerb{}
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
			j, ok := jobs[v.on]
			if !ok {
				return usagef("--on %q, want slurm or kubernetes", v.on)
			}
			return v.run(c, j, args[0])
		},
	}
	fl := c.Flags()
	fl.StringVar(&v.on, "on", "", "slurm or kubernetes")
	fl.StringVar(&v.out, "out", "", "`FILE` for the job (default DIR/slurm.sh or DIR/kubernetes.yaml)")
	fl.StringVar(&v.array.Dir, "dir", "", "the study's folder as tasks see it (default DIR as an absolute path)")
	fl.IntVar(&v.array.Tasks, "tasks", 0, "tasks of the array, which share the shards (default one a shard, up to what the scheduler takes)")
	fl.IntVar(&v.array.Parallel, "parallel", 0, "tasks at a time (default what Slurm has room for, 100 of Kubernetes)")
	fl.IntVar(&v.array.ShardMinutes, "shard-minutes", 0, "minutes after which a shard is taken to hang (default 30)")
	fl.IntVar(&v.array.CPUs, "cpus", 0, "of a task (default 4)")
	fl.IntVar(&v.array.Memory, "memory", 0, "of a task, in MiB (default 8192)")
	fl.StringVar(&v.program, "program", "", "slurm: path of advsweep on the nodes (default this program's)")
	fl.StringVar(&v.pod.Image, "image", "", "kubernetes: the container image, whose entry point is advsweep")
	fl.StringVar(&v.pod.Claim, "claim", "", "kubernetes: the PersistentVolumeClaim that holds the study")
	fl.StringVar(&v.pod.SubPath, "subpath", "", "kubernetes: the study's folder in the claim (default the claim is the study)")
	fl.StringVar(&v.pod.Namespace, "namespace", "", "kubernetes: namespace of the job (default kubectl's)")
	fl.IntVar(&v.pod.User, "user", 0, "kubernetes: user and group id of the tasks (default 65532, the image's)")
	fl.IntVar(&v.pod.Retries, "retries", 0, "kubernetes: times that a failed task is run again (default 3; -1: none)")
	return c
}

// run writes the file of j for the study in dir.
func (v *submitVerb) run(c *cobra.Command, j job, dir string) error {
	folder, err := study.Open(dir, release)
	if err != nil {
		return err
	}
	e, err := backends.Lookup(folder.Plan.Runs[0].Manifest.Backend)
	if err != nil {
		return err
	}
	a := &v.array
	a.Name, a.Shards, a.Accelerator = folder.Plan.Name, len(folder.Shards), e.Accelerator
	if a.Dir == "" {
		if a.Dir, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	data, err := j.write(v, dir)
	if err != nil {
		return err
	}
	out := cmp.Or(v.out, filepath.Join(dir, j.name))
	where, base := filepath.Split(out)
	files, err := outdir.Open(filepath.Clean(where), base)
	if err != nil {
		return err
	}
	if err := files.Write(outdir.File{Name: base, Data: data}); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "wrote %s; submit it with\n\n  %s\n\nand when it is done: advsweep merge %s\n", out, j.command(out), dir)
	return err
}

// slurm is the job file for Slurm. It makes the folder of logs, which Slurm does not.
func (v *submitVerb) slurm(dir string) ([]byte, error) {
	if v.program == "" {
		var err error
		if v.program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "logs"), 0o777); err != nil {
		return nil, err
	}
	return asMistake(submit.Slurm(v.array, v.program))
}

// kubernetes is the job file for Kubernetes.
func (v *submitVerb) kubernetes(string) ([]byte, error) {
	if v.pod.Image == "" || v.pod.Claim == "" {
		return nil, usagef("--on kubernetes takes --image and --claim: the image that Dockerfile builds, and the PersistentVolumeClaim that holds the study")
	}
	return asMistake(submit.Kubernetes(v.array, v.pod))
}

// asMistake marks err, if there is one, as a mistake in the command line.
func asMistake(data []byte, err error) ([]byte, error) {
	if err != nil {
		err = usageError{err}
	}
	return data, err
}
