package submit

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// A whole job is what a job file of either kind is made of.
type whole struct {
	Array
	program string
	Pod
}

// A write is slurm or kubernetes.
type write func(whole) ([]byte, error)

func slurm(w whole) ([]byte, error) { return Slurm(w.Array, w.program) }

func kubernetes(w whole) ([]byte, error) { return Kubernetes(w.Array, w.Pod) }

func TestGolden(t *testing.T) {
	cpu := whole{Array{Name: "night run", Dir: "/data/night run", Shards: 2500, Parallel: 50}, "/opt/advsweep", Pod{Image: "advsweep:cpu", Claim: "studies"}}
	cuda := whole{Array{Name: "imagenet", Dir: "/data/imagenet", Shards: 7, ShardMinutes: 10, CPUs: 8, Memory: 16384, Accelerator: true}, "/opt/advsweep", Pod{Image: "registry.example:5000/advsweep:cuda", Claim: "studies", SubPath: "2026/imagenet", Namespace: "robust", User: 1000, Retries: -1}}
	for _, c := range []struct {
		file  string
		write write
		w     whole
	}{
		{"cpu.sbatch", slurm, cpu},
		{"cuda.sbatch", slurm, cuda},
		{"cpu.yaml", kubernetes, cpu},
		{"cuda.yaml", kubernetes, cuda},
	} {
		got, err := c.write(c.w)
		if err != nil {
			t.Fatalf("%s: %v", c.file, err)
		}
		name := filepath.Join("testdata", c.file)
		if *update {
			if err := os.WriteFile(name, got, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.file, diff)
		}
	}
}

// TestTasks checks what Tasks promises by counting the shards of each task.
func TestTasks(t *testing.T) {
	for _, limit := range []int{1, 2, 3, 7, 1001, AWSBatchTasks} {
		for _, n := range []int{1, 2, 3, 6, 7, 8, 13, 14, 15, 1000, 1001, 1002, 2002, 2003, 9999, 100001} {
			tasks := Tasks(n, limit)
			if tasks < 1 || tasks > limit || tasks > n {
				t.Errorf("Tasks(%d, %d) = %d, want 1 to %d", n, limit, tasks, min(n, limit))
				continue
			}
			count := make([]int, tasks)
			for shard := range n {
				count[shard%tasks]++
			}
			// Task 0 has the most of all and the last one the fewest.
			if most := (n + limit - 1) / limit; count[0] != most {
				t.Errorf("Tasks(%d, %d) = %d: task 0 has %d shards, want %d", n, limit, tasks, count[0], most)
			}
			if count[0]-count[tasks-1] > 1 {
				t.Errorf("Tasks(%d, %d) = %d: tasks have %d to %d shards", n, limit, tasks, count[tasks-1], count[0])
			}
		}
	}
	for _, c := range [][2]int{{0, 5}, {-1, 5}, {5, 0}, {5, -3}} {
		if got := Tasks(c[0], c[1]); got != 0 {
			t.Errorf("Tasks(%d, %d) = %d, want 0", c[0], c[1], got)
		}
	}
}

func TestIndex(t *testing.T) {
	const slurm, kubernetes, aws = "SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX"
	for _, c := range []struct {
		env   map[string]string
		index int
		from  string
		bad   []string // what the error must name
	}{
		{map[string]string{slurm: "0"}, 0, slurm, nil},
		{map[string]string{kubernetes: "7"}, 7, kubernetes, nil},
		{map[string]string{aws: "9999"}, 9999, aws, nil},
		{map[string]string{slurm: "3", kubernetes: "3"}, 3, slurm, nil},
		{map[string]string{slurm: "", aws: "3"}, 3, aws, nil},
		{nil, 0, "", []string{slurm, kubernetes, aws}},
		{map[string]string{slurm: "3", kubernetes: "4"}, 0, "", []string{slurm, "3", kubernetes, "4"}},
		{map[string]string{kubernetes: "0", aws: "1"}, 0, "", []string{kubernetes, "0", aws, "1"}},
		{map[string]string{slurm: "3", aws: "x"}, 0, "", []string{aws, `"x"`}},
		{map[string]string{slurm: "-1"}, 0, "", []string{slurm, `"-1"`}},
		{map[string]string{slurm: "+1"}, 0, "", []string{slurm, `"+1"`}},
		{map[string]string{slurm: "007"}, 0, "", []string{slurm, `"007"`}},
		{map[string]string{slurm: " 7"}, 0, "", []string{slurm, `" 7"`}},
		{map[string]string{slurm: "7\n"}, 0, "", []string{slurm, `"7\n"`}},
		{map[string]string{slurm: "1e3"}, 0, "", []string{slurm, `"1e3"`}},
		{map[string]string{aws: "99999999999999999999"}, 0, "", []string{aws, `"99999999999999999999"`}},
	} {
		i, from, err := Index(func(name string) string { return c.env[name] })
		if i != c.index || from != c.from || (err == nil) != (c.bad == nil) {
			t.Errorf("Index of %v = %d, %q, %v, want %d, %q, an error that names %q", c.env, i, from, err, c.index, c.from, c.bad)
		}
		for _, name := range c.bad {
			if err != nil && !strings.Contains(err.Error(), name) {
				t.Errorf("Index of %v: error %q, want one that names %s", c.env, err, name)
			}
		}
	}
}

func TestRefused(t *testing.T) {
	good := whole{Array{Name: "s", Dir: "/d", Shards: 4}, "/p", Pod{Image: "i", Claim: "c"}}
	both, slurm, kubernetes := []write{slurm, kubernetes}, []write{slurm}, []write{kubernetes}
	for _, w := range both {
		if _, err := w(good); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		change func(*whole)
		by     []write
		want   string
	}{
		{"no folder", func(w *whole) { w.Dir = "" }, both, "absolute"},
		{"relative folder", func(w *whole) { w.Dir = "a/b" }, both, "absolute"},
		{"line end in the folder", func(w *whole) { w.Dir = "/d\n#SBATCH --wrap=x" }, both, "U+000A"},
		{"carriage return", func(w *whole) { w.Dir = "/d\rx" }, both, "U+000D"},
		{"zero byte", func(w *whole) { w.Dir = "/d\x00x" }, both, "U+0000"},
		{"line separator", func(w *whole) { w.Dir = "/d\u2028x" }, both, "U+2028"},
		{"right-to-left override", func(w *whole) { w.Dir = "/d\u202ex" }, both, "U+202E"},
		{"not UTF-8", func(w *whole) { w.Dir = "/d\xff" }, both, "UTF-8"},
		{"long folder", func(w *whole) { w.Dir = "/" + strings.Repeat("d", 1024) }, both, "1025 bytes"},
		{"no shards", func(w *whole) { w.Shards = 0 }, both, "shards"},
		{"shards", func(w *whole) { w.Shards = -1 }, both, "-1 shards"},
		{"tasks", func(w *whole) { w.Tasks = -1 }, both, "-1 tasks"},
		{"more tasks than shards", func(w *whole) { w.Tasks = 5 }, both, "5 tasks"},
		{"more tasks than Slurm takes", func(w *whole) { w.Shards, w.Tasks = 5000, 1002 }, slurm, "1002 tasks"},
		{"more tasks than Kubernetes takes", func(w *whole) { w.Shards, w.Tasks = 500000, 100001 }, kubernetes, "100001 tasks"},
		{"parallel", func(w *whole) { w.Parallel = -1 }, both, "-1 tasks at a time"},
		{"minutes", func(w *whole) { w.ShardMinutes = -1 }, both, "-1 minutes"},
		{"CPUs", func(w *whole) { w.CPUs = -1 }, both, "-1 CPUs"},
		{"memory", func(w *whole) { w.Memory = -1 }, both, "-1 MiB"},
		{"user", func(w *whole) { w.User = -1 }, kubernetes, "-1 as the user"},
		{"no program", func(w *whole) { w.program = "" }, slurm, "advsweep"},
		{"relative program", func(w *whole) { w.program = "advsweep" }, slurm, "absolute"},
		{"line end in the program", func(w *whole) { w.program = "/p\nrm" }, slurm, "U+000A"},
		{"backslash in Slurm", func(w *whole) { w.Dir = `/d\x` }, slurm, `\`},
		{"hetjob in Slurm", func(w *whole) { w.Dir = "/d/my HetJobs" }, slurm, "hetjob"},
		{"colon in Kubernetes", func(w *whole) { w.Dir = "/d:x" }, kubernetes, "colon"},
		{"root in Kubernetes", func(w *whole) { w.Dir = "/." }, kubernetes, "root"},
		{"no image", func(w *whole) { w.Image = "" }, kubernetes, "image"},
		{"image", func(w *whole) { w.Image = "a b" }, kubernetes, "image"},
		{"line end in the image", func(w *whole) { w.Image = "a\n" }, kubernetes, "image"},
		{"no claim", func(w *whole) { w.Claim = "" }, kubernetes, "PersistentVolumeClaim"},
		{"claim", func(w *whole) { w.Claim = "A_b" }, kubernetes, "PersistentVolumeClaim"},
		{"line end in the claim", func(w *whole) { w.Claim = "a\n" }, kubernetes, "PersistentVolumeClaim"},
		{"namespace", func(w *whole) { w.Namespace = "a.b" }, kubernetes, "namespace"},
		{"line end in the namespace", func(w *whole) { w.Namespace = "a\n" }, kubernetes, "namespace"},
		{"folder outside the claim", func(w *whole) { w.SubPath = "a/../../b" }, kubernetes, "within"},
		{"absolute folder in the claim", func(w *whole) { w.SubPath = "/a" }, kubernetes, "within"},
		{"line end in the claim's folder", func(w *whole) { w.SubPath = "a\nb" }, kubernetes, "U+000A"},
	} {
		for i, w := range c.by {
			job := good
			c.change(&job)
			out, err := w(job)
			if err == nil || out != nil || !strings.HasPrefix(err.Error(), "submit: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s (%d): error %v, want one with %q, and no file", c.name, i, err, c.want)
			}
		}
	}
}

func TestCommands(t *testing.T) {
	for _, c := range [][2]string{
		{"job", "job"}, {"a b", "'a b'"}, {"-x", "./-x"}, {"it's", `'it'\''s'`}, {"", "''"}, {"a\nb", "'a\nb'"}, {"~x", "'~x'"}, {"$(x)", "'$(x)'"},
	} {
		if got, want := SlurmCommand(c[0]), "sbatch "+c[1]; got != want {
			t.Errorf("SlurmCommand(%q) = %s, want %s", c[0], got, want)
		}
		if got, want := KubernetesCommand(c[0]), "kubectl apply -f "+c[1]; got != want {
			t.Errorf("KubernetesCommand(%q) = %s, want %s", c[0], got, want)
		}
	}
}

var hostile = []string{
	"", "study", "Study", "two words", "it's", `say "so"`, "a\nb", "a\r\nb", "$(touch /tmp/x)", "`x`", "$HOME", "a;b", "a&b|c", "a#b", " #b", "# b", "%A", "%%", `a\b`, `a\`,
	"a: b", "{{.Name}}", "{a: b}", "- x", "---", "*", "~", "é", "日本", "ﬀ", strings.Repeat("x", 70), strings.Repeat("é", 80), "-", "--", "a-", "-a", "$$", "$(HOME)", "\x00", "\xff",
	"\u2028", "\ufeff", "\U0001f600", "true", "1e3", "null", "a\tb", "!x", "'", "''", `"`,
}

func TestLabel(t *testing.T) {
	seen := map[string]string{}
	for _, name := range hostile {
		checkLabel(t, name)
		got := label(name, 63)
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q are both %q", name, other, got)
		}
		seen[got] = name
	}
	if got := label("a-1", 63); got != "a-1" {
		t.Errorf("label of a label: %q", got)
	}
}

func checkLabel(t *testing.T, name string) {
	t.Helper()
	for _, limit := range []int{17, 57, 63} {
		if got := label(name, limit); !dnsLabel.MatchString(got) || len(got) > limit {
			t.Errorf("label(%q, %d) = %q, which is none", name, limit, got)
		}
	}
}

func FuzzSlurm(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, "/data/"+s)
	}
	f.Fuzz(checkSlurm)
}

// checkSlurm runs the script with a program that shows its arguments, and reads the directives as
// sbatch does.
func checkSlurm(t *testing.T, name, dir string) {
	checkLabel(t, name)
	if !strings.HasPrefix(dir, "/") {
		return
	}
	// What the program is called is as hostile as the folder, where a file can be called so.
	program := path.Join(filepath.ToSlash(t.TempDir()), "x"+path.Base(dir))
	script, err := Slurm(Array{Name: name, Dir: dir, Shards: 3, Parallel: 2}, program)
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSuffix(string(script), "\n"), "\n")
	plain, err := Slurm(Array{Name: "x", Dir: "/x", Shards: 3, Parallel: 2}, "/x")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(string(plain), "\n"), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), script)
	}
	output := ""
	for i, line := range lines {
		switch {
		case strings.HasPrefix(line, "#SBATCH --job-name="):
			if !dnsLabel.MatchString(strings.TrimPrefix(line, "#SBATCH --job-name=")) {
				t.Errorf("line %q is no name of a job", line)
			}
		case strings.HasPrefix(line, "#SBATCH --output="):
			words := sbatchWords(t, strings.TrimPrefix(line, "#SBATCH "))
			if len(words) != 1 {
				t.Fatalf("line %q is %d words to sbatch: %q", line, len(words), words)
			}
			output = strings.TrimPrefix(words[0], "--output=")
		case !strings.HasPrefix(line, "exec ") && line != want[i]:
			t.Errorf("line %d is %q, want %q", i, line, want[i])
		}
	}
	log := strings.NewReplacer("%%", "%", "%A", "12", "%a", "3").Replace(output)
	if want := path.Clean(dir) + "/logs/12_3.log"; log != want {
		t.Errorf("the log is %q, want %q", log, want)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.WriteFile(program, []byte("#!/bin/sh\nprintf '%s\\0' \"$@\"\n"), 0o700); err != nil {
		return // a name too long for a file
	}
	// A file that was open for writing while another test forked cannot run yet; sh reads it
	// instead.
	out, err := exec.Command("sh", "-c", strings.Replace(string(script), "\nexec ", "\nexec sh ", 1)).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("%v\n%s", err, script)
	}
	if diff := cmp.Diff([]string{"run-shard", path.Clean(dir), "--tasks", "3", ""}, strings.Split(string(out), "\x00")); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
}

// sbatchWords splits a line as sbatch does: quotes of both kinds, a backslash before any character,
// which keeps a quote from its work but no space, and # starts a comment.
func sbatchWords(t *testing.T, line string) (words []string) {
	var word []rune
	quote, escaped, in := rune(0), false, false
	for _, r := range line {
		switch {
		case quote == 0 && strings.ContainsRune(" \t\n\v\f\r", r):
			if in {
				words = append(words, string(word))
			}
			word, in, escaped = nil, false, false
		case escaped:
			word, escaped = append(word, r), false
		case r == '\\':
			escaped, in = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, in = r, true
		case quote == 0 && r == '#':
			t.Fatalf("a comment in %q", line)
		default:
			word, in = append(word, r), true
		}
	}
	if escaped || quote != 0 {
		t.Fatalf("an open quote in %q", line)
	}
	if in {
		words = append(words, string(word))
	}
	return words
}

func FuzzKubernetes(f *testing.F) {
	for _, s := range hostile {
		f.Add(s, "/data/"+s, s, s, s, s)
	}
	f.Add("a", "/a", "a/b:1@sha256:c", "a.b", "a", "a/b")
	f.Fuzz(func(t *testing.T, name, dir, image, claim, namespace, sub string) {
		checkKubernetes(t, name, dir, image, claim, namespace, sub)
		// So that one bad value does not hide what another does.
		checkKubernetes(t, name, dir, "i", "c", "n", sub)
		checkKubernetes(t, name, "/d", image, "c", "n", "s")
		checkKubernetes(t, name, "/d", "i", claim, "n", "s")
		checkKubernetes(t, name, "/d", "i", "c", namespace, "s")
	})
}

var quoted = regexp.MustCompile(`^([^"]*)(".*")$`)

// checkKubernetes wants every value alone in a string of JSON, which YAML reads as JSON does, and
// all else as it is with plain values. submit/kubernetes, a module of its own, reads such files
// with Kubernetes' parser.
func checkKubernetes(t *testing.T, name, dir, image, claim, namespace, sub string) {
	t.Helper()
	got, err := Kubernetes(Array{Name: name, Dir: dir, Shards: 3}, Pod{Image: image, Claim: claim, Namespace: namespace, SubPath: sub})
	if err != nil {
		return
	}
	set := func(s, plain string) string {
		if s == "" {
			return ""
		}
		return plain
	}
	sub = path.Clean(sub)
	if sub == "." {
		sub = ""
	}
	plain, err := Kubernetes(Array{Name: "x", Dir: "/x", Shards: 3}, Pod{Image: "x", Claim: "x", Namespace: set(namespace, "x"), SubPath: set(sub, "x")})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{
		"name": label(name, 61), "namespace": namespace, "image": image, "-": strings.ReplaceAll(path.Clean(dir), "$", "$$"),
		"mountPath": path.Clean(dir), "subPath": sub, "claimName": claim,
	}
	lines, want := bytes.Split(got, []byte("\n")), bytes.Split(plain, []byte("\n"))
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), got)
	}
	for i, line := range lines {
		if bytes.Equal(line, want[i]) {
			continue
		}
		g, w := quoted.FindSubmatch(line), quoted.FindSubmatch(want[i])
		if g == nil || w == nil || !bytes.Equal(g[1], w[1]) {
			t.Fatalf("line %d is %q, want one like %q", i, line, want[i])
		}
		var value string
		if err := json.Unmarshal(g[2], &value); err != nil {
			t.Fatalf("line %d, %q: %v", i, line, err)
		}
		key := strings.Trim(string(g[1]), " :")
		if wantValue, ok := values[key]; !ok || value != wantValue {
			t.Errorf("%s is %q, want %q", key, value, wantValue)
		}
	}
}
