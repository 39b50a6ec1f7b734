// Package submit writes the job files that give a study to a batch scheduler, and reads which task
// of an array a process is.
//
// A scheduler counts the tasks of an array from 0 to T-1, and task i does the shards i, i+T, i+2T,
// … of the study's list. What a task writes is the same wherever and however often it runs, so
// tasks may be killed and run again.
package submit

import (
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The most tasks that an array has.
const (
	// SlurmTasks is what Slurm takes unless its MaxArraySize says otherwise: the largest index is
	// one below it.
	SlurmTasks = 1001
	// KubernetesTasks is the most that an Indexed Job with a limit of retries for each index may
	// have.
	KubernetesTasks = 100_000
	// AWSBatchTasks is the most of AWS Batch, which wants at least 2 too. Tasks without shards do
	// nothing.
	AWSBatchTasks = 10_000
)

// An Array is what a job file says under every scheduler. Dir and Shards must be given, the others
// may be left zero unless they say otherwise.
type Array struct {
	// Name is the study's; any text. The job is called so, in lower-case letters, digits and
	// hyphens.
	Name     string
	Dir      string // the study's folder, as the job sees it: an absolute path
	Shards   int    // of the study
	Tasks    int    // 0: Tasks(Shards, what the scheduler takes)
	Parallel int    // tasks at a time; 0: as many as Slurm finds room for, 100 of Kubernetes
	// ShardMinutes is after how long a shard hangs: a task is stopped after that for each of its
	// shards. 0: 30.
	ShardMinutes int
	CPUs         int // of a task; 0: 4
	Memory       int // of a task, in MiB; 0: 8192
	// Accelerator gives each task one NVIDIA GPU. Whether the backend of a study needs it, its entry
	// in package backends says.
	Accelerator bool
}

// A Pod is what Kubernetes must know beyond an Array. Image and Claim must be given.
type Pod struct {
	Image     string // its entry point is advsweep
	Claim     string // the PersistentVolumeClaim that holds the study
	SubPath   string // the study's folder in the claim; "": the claim is the study
	Namespace string // "": that of kubectl
	User      int    // the user and group who run it and own the study; 0: 65532, the image's
	// Retries is how often a task that failed is run again; 0: 3 times; below 0: never. Lost nodes
	// do not count.
	Retries int
}

// Tasks returns how many tasks, at most limit, share n shards so that none has more than ⌈n/limit⌉
// of them and none has two more than another. It is 0 if n or limit is not positive.
func Tasks(n, limit int) int {
	if n <= 0 || limit <= 0 {
		return 0
	}
	each := (n-1)/limit + 1
	return (n-1)/each + 1
}

// most is far above what there is of anything, and products of two do not overflow.
const most = 1 << 24

// setter returns a function that gives *v its default where it is zero, and keeps in err that a
// value is out of range. The first error stays.
func setter(err *error) func(what string, v *int, standard, limit int) {
	return func(what string, v *int, standard, limit int) {
		if *v == 0 {
			*v = standard
		}
		if *err == nil && (*v < 1 || *v > limit) {
			*err = fmt.Errorf("submit: %d %s, want 1 to %d", *v, what, limit)
		}
	}
}

// filled returns a with what was left zero, or an error that names what is wrong. limit is the most
// tasks there may be.
func (a Array) filled(limit int) (Array, error) {
	var err error
	if a.Dir, err = absolute("folder of the study", a.Dir); err != nil {
		return a, err
	}
	set := setter(&err)
	set("shards", &a.Shards, 0, most)
	set("tasks", &a.Tasks, Tasks(a.Shards, limit), min(limit, max(1, a.Shards)))
	if a.Parallel != 0 {
		set("tasks at a time", &a.Parallel, 0, most)
		a.Parallel = min(a.Parallel, a.Tasks)
	}
	set("minutes for a shard", &a.ShardMinutes, 30, 7*24*60)
	set("CPUs", &a.CPUs, 4, 4096)
	set("MiB of memory", &a.Memory, 8192, most)
	return a, err
}

// minutes is how long one task may take, with all its shards. A year is long enough for all.
func (a Array) minutes() int {
	return min(a.ShardMinutes*((a.Shards-1)/a.Tasks+1), 366*24*60)
}

// absolute returns a clean absolute path on the machine that runs the job, or an error. What cannot
// be seen is refused: a line end in a name would start a line of its own in a job file.
func absolute(what, name string) (string, error) {
	switch {
	case !path.IsAbs(name):
		return "", fmt.Errorf("submit: %s is %q, want an absolute path", what, name)
	case len(name) > 1024:
		return "", fmt.Errorf("submit: %s is a path of %d bytes, want at most 1024", what, len(name))
	}
	return path.Clean(name), printable(what, name)
}

func printable(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("submit: %s %q is not UTF-8", what, s)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return fmt.Errorf("submit: %s %q has the character %U, want only such as can be seen", what, s, r)
		}
	}
	return nil
}

var notLabel = regexp.MustCompile(`[^a-z0-9]+`)

// label returns name as a DNS label (RFC 1123) of at most limit characters, limit > 16: lower-case
// letters, digits and hyphens inside. A name that is one stays; one that must change ends in a hash
// of all of it, so that two names stay two.
func label(name string, limit int) string {
	s := strings.Trim(notLabel.ReplaceAllString(strings.ToLower(name), "-"), "-")
	if s == name && s != "" && len(s) <= limit {
		return s
	}
	hash := fmt.Sprintf("%x", sha256.Sum256([]byte(name)))[:8]
	if s == "" {
		s = "advsweep"
	}
	return strings.TrimRight(s[:min(len(s), limit-9)], "-") + "-" + hash
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%^") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// fileArgument is shellQuote of a path that no program may take for an option.
func fileArgument(file string) string {
	if strings.HasPrefix(file, "-") {
		file = "./" + file
	}
	return shellQuote(file)
}
