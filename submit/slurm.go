package submit

import (
	"bytes"
	"fmt"
	"strings"
)

// Slurm returns a batch script for sbatch that runs the study as an array of jobs. program is the
// absolute path of advsweep on the nodes.
//
// Slurm runs a task again whose node is lost, or which gives way to another, but not one that
// fails: submit the script again, and tasks do what is missing.
//
// What tasks print goes to logs/ in the study's folder, which must exist: Slurm does not make it,
// and such jobs fail without a word. Partition and account are the site's, and go before the script
// on sbatch's command line.
func Slurm(a Array, program string) ([]byte, error) {
	a, err := a.filled(SlurmTasks)
	if err != nil {
		return nil, err
	}
	if program, err = absolute("path of advsweep", program); err != nil {
		return nil, err
	}
	if strings.Contains(a.Dir, `\`) {
		return nil, fmt.Errorf(`submit: folder of the study %q: Slurm takes a \ in the name of a log for an order`, a.Dir)
	}
	for _, word := range []string{"hetjob", "packjob"} {
		if strings.Contains(strings.ToLower(a.Dir), word) {
			return nil, fmt.Errorf("submit: folder of the study %q: Slurm takes %s anywhere in the name of a log for an order", a.Dir, word)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "#!/bin/sh\n#SBATCH --job-name=%s\n", label(a.Name, 63))
	fmt.Fprintf(&b, "#SBATCH --array=0-%d", a.Tasks-1)
	if a.Parallel > 0 {
		fmt.Fprintf(&b, "%%%d", a.Parallel)
	}
	fmt.Fprintf(&b, "\n#SBATCH --requeue\n#SBATCH --time=%d\n#SBATCH --nodes=1\n#SBATCH --ntasks=1\n#SBATCH --cpus-per-task=%d\n#SBATCH --mem=%dM\n",
		a.minutes(), a.CPUs, a.Memory)
	if a.Accelerator {
		b.WriteString("#SBATCH --gres=gpu:1\n")
	}
	// A task that runs again adds to its log.
	fmt.Fprintf(&b, "#SBATCH --open-mode=append\n#SBATCH --output=\"%s/logs/%%A_%%a.log\"\n", directive(a.Dir))
	fmt.Fprintf(&b, "exec %s run-shard %s --tasks %d\n", shellQuote(program), shellQuote(a.Dir), a.Tasks)
	return b.Bytes(), nil
}

// SlurmCommand is the line for a shell that submits the script.
func SlurmCommand(file string) string { return "sbatch " + fileArgument(file) }

// directive returns a path as sbatch reads it between double quotes on a #SBATCH line, and with %%
// for %, which would start a number of the job. Outside of quotes a backslash does not keep a word
// together there.
func directive(name string) string {
	return strings.NewReplacer(`"`, `\"`, "%", "%%").Replace(name)
}
