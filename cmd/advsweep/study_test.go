package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"advsweep/internal/counts"
	"advsweep/internal/ref"
	"advsweep/internal/testsize"
	"advsweep/record"
	"advsweep/report"
	"advsweep/study"
)

// smallStudy writes two small models and a study of them with seeds 7 to 7+seeds-1 into a folder,
// and returns the study file. Its runs are those of solo.
func smallStudy(t *testing.T, seeds int) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"one", "two"} {
		data, err := ref.RandomModel(rand.New(rand.NewPCG(1, uint64(i))), 1, 784, 3, 10).Encode("float32")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".safetensors"), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "small.toml")
	var list []string
	for i := range seeds {
		list = append(list, strconv.Itoa(7+i))
	}
	text := `
attack = "fgsm,noise,pgd:steps=100:restarts=5,worst"
eps = "0:0.3:0.1"
bounds = "0,1"
seeds = [` + strings.Join(list, ", ") + `]
[[model]]
file = "one.safetensors"
[[model]]
file = "two.safetensors"
[[data]]
n = 90
[shards]
seconds = 0.01
`
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// solo does each run of smallStudy by a sweep of its own, and returns the folder that holds theirs.
func solo(t *testing.T, file string, seeds int) string {
	t.Helper()
	out := t.TempDir()
	for _, name := range []string{"one", "two"} {
		for seed := 7; seed < 7+seeds; seed++ {
			do(t, "sweep", "--backend", "cpu", "--quiet", "--model", filepath.Join(filepath.Dir(file), name+".safetensors"), "--n", "90", "--eps", "0:0.3:0.1", "--bounds", "0,1",
				"--attack", "fgsm,noise,pgd:steps=100:restarts=5,worst", "--seed", strconv.Itoa(seed), "--out", filepath.Join(out, fmt.Sprintf("%s-seed%d", name, seed)))
		}
	}
	return out
}

// sameStudy fails unless the merged runs of the study in dir are those of sweeps on their own.
func sameStudy(t *testing.T, dir, want string) {
	t.Helper()
	entries, err := os.ReadDir(want)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		sameRun(t, filepath.Join(dir, "runs", e.Name()), filepath.Join(want, e.Name()))
	}
}

// mergeByLibrary does what 'advsweep merge' does with the study in dir, by the packages that
// anybody can call.
func mergeByLibrary(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "runs")); err != nil {
		t.Fatal(err)
	}
	folder, unlock, err := study.Gather(record.Version, false, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, _, err := folder.ReadRun(0); !errors.As(err, new(*study.NotMergedError)) {
		t.Errorf("a run before it is merged: %v, want a NotMergedError", err)
	}
	if _, _, err := study.Gather(record.Version, false, dir); err == nil {
		t.Error("two have the study to themselves")
	}
	merged := 0
	if err := folder.Merge(t.Context(), false, func(m study.Merged) error {
		merged++
		return report.Write(m.Dir, m.Manifest, m.Result)
	}); err != nil || merged != len(folder.Plan.Runs) {
		t.Errorf("%d runs are merged, want %d: %v", merged, len(folder.Plan.Runs), err)
	}
	if _, found, err := folder.ReadRun(0); err != nil || found.N != 90 {
		t.Errorf("a run that is merged: %v", err)
	}
}

// fails runs advsweep, which must end with code, and returns what it says.
func fails(t *testing.T, code int, args ...string) (stderr string) {
	t.Helper()
	got, _, stderr := advsweep(t, args...)
	if got != code || strings.Contains(stderr, "a bug in") {
		t.Errorf("advsweep %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, stderr)
	}
	return stderr
}

func planned(t *testing.T, file string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "study")
	do(t, "plan", file, "--out", dir, "--quiet")
	return dir
}

// TestStudy takes a study through all that one machine does with it.
func TestStudy(t *testing.T) {
	file := smallStudy(t, 2)
	want := solo(t, file, 2)
	dir := planned(t, file)
	out := do(t, "status", dir)
	if !strings.Contains(out, "0 done, 0 running, 0 failed") || !strings.Contains(out, "one-seed7") {
		t.Errorf("status before:\n%s", out)
	}
	if stderr := fails(t, exitError, "merge", dir); !strings.Contains(stderr, "are not done") {
		t.Errorf("merged before: %s", stderr)
	}
	if stderr := fails(t, exitError, "report", dir); !strings.Contains(stderr, "advsweep merge") {
		t.Errorf("report before: %s", stderr)
	}
	out = do(t, "work", dir, "--quiet")
	if !strings.Contains(out, "two-seed8") {
		t.Errorf("work printed:\n%s", out)
	}
	sameStudy(t, dir, want)
	out = do(t, "status", dir)
	if !strings.Contains(out, "nothing") || !strings.Contains(out, "4 of 4 runs") {
		t.Errorf("status after:\n%s", out)
	}
	if out = do(t, "status", dir, "--format", "json"); !strings.Contains(out, `"failed": 0`) {
		t.Errorf("status as JSON:\n%s", out)
	}
	do(t, "work", dir, "--quiet") // again changes nothing
	do(t, "merge", dir, "--quiet")
	sameStudy(t, dir, want)
	mergeByLibrary(t, dir)
	sameStudy(t, dir, want)
	results, err := filepath.Glob(filepath.Join(dir, "shards", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range results {
		if err := os.Truncate(path, 10); err != nil {
			t.Fatal(err)
		}
	}
	if stderr := fails(t, exitError, "merge", dir); !strings.Contains(stderr, "40 of 40 shards") || !strings.Contains(stderr, "and 35 more") || !strings.Contains(stderr, "advsweep work") {
		t.Errorf("damaged results: %s", stderr)
	}
	do(t, "work", dir, "--quiet")
	sameStudy(t, dir, want)
	do(t, "report", dir, "--quiet")
	page := string(read(t, dir, report.PageName))
	rows := strings.Count(string(read(t, dir, report.StudyName)), "\n")
	if !strings.Contains(page, "two-seed8") || !strings.Contains(page, "one</td><td>one.safetensors</td>") || rows != 1+4*4*4 {
		t.Errorf("report on the study: %d rows", rows)
	}
	do(t, "report", filepath.Join(dir, "runs", "one-seed7"), "--quiet")
	do(t, "compare", filepath.Join(dir, "runs", "one-seed7"), filepath.Join(dir, "runs", "two-seed7"), "--out", t.TempDir(), "--quiet")
}

// array runs advsweep as task i of an array of the scheduler whose variable is given.
func array(t *testing.T, variable string, i int, dir string, tasks int) *exec.Cmd {
	c := process(t, "run-shard", dir, "--tasks", strconv.Itoa(tasks), "--quiet", "--threads", "1")
	c.Env = append(c.Env, fmt.Sprintf("%s=%d", variable, i))
	return c
}

// TestArray does a study as the tasks of an array, several at once and some twice at once, and
// kills them at random moments: 8 times at least, 20 in the long form. A task that was killed is
// started again, as schedulers do. Workers on the folder itself are killed too.
func TestArray(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	file := smallStudy(t, 2)
	want := solo(t, file, 2)
	dir := planned(t, file)
	const tasks = 5
	variables := []string{"SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"}
	r := rand.New(rand.NewPCG(5, 6))
	kills, wanted, most := 0, testsize.Of(0, 4, 20), testsize.Of(0, 8, 30)
	counted := counts.Start(t, "array-kills")
	deadline := time.Now().Add(3 * time.Minute)
	for round := 0; ; round++ {
		var all []*exec.Cmd
		for i := range tasks {
			all = append(all, array(t, variables[round%3], i, dir, tasks))
		}
		// one of them twice
		all = append(all, array(t, variables[round%3], r.IntN(tasks), dir, tasks))
		if round%2 == 1 {
			all = append(all, process(t, "work", dir, "--quiet"))
		}
		stderr := make([]bytes.Buffer, len(all))
		for i, c := range all {
			c.Stderr = &stderr[i]
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now().After(deadline) || kills >= most
		if !last {
			time.Sleep(time.Duration(100+r.IntN(400)) * time.Millisecond)
			for _, c := range all {
				if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
					t.Fatal(err)
				}
			}
		}
		for i, c := range all {
			err := c.Wait()
			var exit *exec.ExitError
			switch {
			case err == nil:
			case !last && errors.As(err, &exit) && exit.ExitCode() == -1:
				kills++
				counted.Add(1)
			default:
				t.Fatalf("%s: %v\n%s", strings.Join(c.Args[1:], " "), err, stderr[i].String())
			}
		}
		if last {
			break
		}
	}
	t.Logf("%d kills", kills)
	if kills < wanted {
		t.Errorf("%d kills, want at least %d", kills, wanted)
	}
	do(t, "merge", dir, "--quiet")
	sameStudy(t, dir, want)
	results, err := filepath.Glob(filepath.Join(dir, "shards", "*", "[0-9a-f]*"))
	if err != nil {
		t.Fatal(err)
	}
	folder, err := study.Open(dir, release)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != len(folder.Shards) {
		t.Errorf("%d results of %d shards", len(results), len(folder.Shards))
	}
}

func TestStudyUsage(t *testing.T) {
	file := smallStudy(t, 2)
	dir := planned(t, file)
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{exitUsage, "accepts 1 arg", []string{"plan"}},
		{exitUsage, "--out is empty", []string{"plan", file, "--out", ""}},
		{exitError, "no such file", []string{"plan", "nowhere.toml"}},
		{exitError, "holds no study", []string{"work", t.TempDir()}},
		{exitError, "holds no study", []string{"status", t.TempDir()}},
		{exitUsage, "--format \"csv\"", []string{"status", dir, "--format", "csv"}},
		{exitUsage, "--tasks 0", []string{"run-shard", dir, "--tasks", "0"}},
		{exitError, "SLURM_ARRAY_TASK_ID", []string{"run-shard", dir}},
		{exitUsage, "--threads -1", []string{"work", dir, "--threads", "-1"}},
		{exitUsage, "--patience", []string{"work", "nats://127.0.0.1:1", "--patience", "-1s"}},
		{exitError, "no answer", []string{"work", "nats://127.0.0.1:1", "--patience", "100ms"}},
		{exitUsage, "--tls-ca goes with --nats", []string{"serve", dir, "--tls-ca", "x"}},
		{exitUsage, "want 0 to 1", []string{"run-shard", dir, "--tasks", "2", "--index", "2"}},
		{exitUsage, "--out and --format", []string{"merge", dir, "--out", "x"}},
		{exitUsage, "--allow-mixed is for studies", []string{"merge", t.TempDir(), "--allow-mixed"}},
		{exitUsage, "--model with a study", []string{"report", dir, "--model", "mlp"}},
	} {
		stderr := fails(t, c.code, c.args...)
		if !strings.Contains(stderr, c.want) {
			t.Errorf("advsweep %s: %q, want %q", strings.Join(c.args, " "), stderr, c.want)
		}
	}
}
