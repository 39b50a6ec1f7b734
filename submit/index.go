package submit

import (
	"errors"
	"fmt"
	"strconv"
)

// Index returns which task of an array this process is, from 0, and the environment variable that
// says so: SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX (Kubernetes) or AWS_BATCH_JOB_ARRAY_INDEX,
// read by getenv, which os.Getenv is. It is an error if none is set, if one is no number, or if two
// say different tasks.
func Index(getenv func(string) string) (i int, from string, err error) {
	for _, name := range []string{"SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"} {
		value := getenv(name)
		if value == "" {
			continue
		}
		v, err := strconv.Atoi(value)
		switch {
		case err != nil || v < 0 || strconv.Itoa(v) != value:
			return 0, "", fmt.Errorf("submit: %s is %q, want the number of a task, from 0", name, value)
		case from != "" && v != i:
			return 0, "", fmt.Errorf("submit: %s is %d, but %s is %d: unset the one that is not this job's", from, i, name, v)
		case from == "":
			i, from = v, name
		}
	}
	if from == "" {
		return 0, "", errors.New("submit: this is no task of an array: " +
			"none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and AWS_BATCH_JOB_ARRAY_INDEX is set")
	}
	return i, from, nil
}
