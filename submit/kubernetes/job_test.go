package kubernetes

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"advsweep/submit"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// read does with one document what the API server does with a job that is to be created, with
// unknown and repeated fields refused as kubectl wants them: decode it, fill in defaults and the
// selector, and validate it.
func read(text []byte) (*batch.Job, error) {
	// The decoder would leave out a second one.
	if bytes.Contains(text, []byte("\n---")) {
		return nil, errors.New("more than one document")
	}
	object, _, err := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDecoder(batch.SchemeGroupVersion).Decode(text, nil, nil)
	if err != nil {
		return nil, err
	}
	job, ok := object.(*batch.Job)
	if !ok {
		return nil, fmt.Errorf("a %T, want a Job", object)
	}
	if job.Namespace == "" {
		job.Namespace = "default"
	}
	// As pkg/registry/batch/job does, which needs the server's storage too.
	job.UID = "0"
	job.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batch.ControllerUidLabel: "0"}}
	if job.Spec.Template.Labels == nil {
		job.Spec.Template.Labels = map[string]string{}
	}
	maps.Copy(job.Spec.Template.Labels, map[string]string{
		batch.ControllerUidLabel: "0", batch.LegacyControllerUidLabel: "0", batch.JobNameLabel: job.Name, batch.LegacyJobNameLabel: job.Name,
	})
	o := validation.JobValidationOptions{PodValidationOptions: pod.GetValidationOptionsFromPodTemplate(&job.Spec.Template, nil), RequirePrefixedLabels: true}
	return job, validation.ValidateJob(job, o).ToAggregate()
}

// TestGolden reads the files that submit's own tests compare with, and those that $JOBS names, one
// a line.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("../testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range append(files, strings.FieldsFunc(os.Getenv("JOBS"), func(r rune) bool { return r == '\n' })...) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		job, err := read(text)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		t.Logf("%s: Job %s, %d tasks: valid", name, job.Name, *job.Spec.Completions)
	}
}

// TestPlanted wants every mistake found.
func TestPlanted(t *testing.T) {
	text, err := os.ReadFile("../testdata/cuda.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(text); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"  parallelism:", "  paralelism:", `unknown field "spec.paralelism"`},
		{"  completions: 7", "  completions: seven", "cannot unmarshal string"},
		{"  completions: 7", "  completions: 7\n  completions: 7", `"completions" already set`},
		{"completionMode: Indexed", "completionMode: Numbered", "spec.completionMode"},
		{"completionMode: Indexed", "completionMode: NonIndexed", "spec.backoffLimitPerIndex"},
		{"maxFailedIndexes: 7", "maxFailedIndexes: 8", "spec.maxFailedIndexes"},
		{"restartPolicy: Never", "restartPolicy: OnFailure", "restartPolicy"},
		{"action: Ignore", "action: Forget", "podFailurePolicy.rules[0].action"},
		{"operator: Exists", "operator: Exist", "tolerations[0].operator"},
		{`memory: "16384Mi"`, `memory: "16384MB"`, "quantities must match"},
		{"nvidia.com/gpu: 1", "nvidia.com/gpu: 0.5", "nvidia.com/gpu"},
		{"name: study\n              mountPath", "name: data\n              mountPath", "volumeMounts[0].name"},
		{"claimName:", "claim:", "unknown field"},
		{`subPath: "2026/imagenet"`, `subPath: "../x"`, "subPath"},
		{`name: "imagenet"`, `name: "Imagenet"`, "metadata.name"},
		{`name: "imagenet"`, `name: "` + strings.Repeat("x", 62) + `"`, "metadata.name"},
		{"activeDeadlineSeconds: 600", "activeDeadlineSeconds: 0", "activeDeadlineSeconds"},
		{"runAsUser: 1000", "runAsUser: -1", "runAsUser"},
		{"batch/v1", "batch/v2", "batch/v2"},
		{"kind: Job", "kind: Pod", "Pod"},
		{"spec:\n  completionMode", "---\nspec:\n  completionMode", "document"},
	} {
		if n := bytes.Count(text, []byte(c.old)); n == 0 {
			t.Fatalf("%q is not in the file", c.old)
		}
		_, err := read(bytes.Replace(text, []byte(c.old), []byte(c.new), 1))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: error %v, want one with %q", c.new, c.old, err, c.want)
		}
	}
}

var hostile = []string{
	"study", "two words", "it's", `say "so"`, "$(HOME)", "$$(HOME)", "$", "a$", "`x`", "a;b", "a#b", "a #b", "a: b", "{{.Name}}", "{a: b}", "[a]", "- x", "---", "*x", "&x", "!x",
	"~", "é", "日本", "\U0001f600", "\u00ad", "true", "1e3", "null", "0x10", `a\b`, `\n`, `\u0022`, "%A", "@x", "'", `"`, "a\nb", "a\n---\nb", "\u2028", "\ufeff", "\x00", "\xff",
	"\u0085", strings.Repeat("x", 200), strings.Repeat("-", 80),
}

// TestHostile wants the server to read what was meant, or submit to refuse it.
func TestHostile(t *testing.T) {
	written := 0
	for i, s := range hostile {
		for k, tasks := range []int{1, 10, 11, 1000, submit.KubernetesTasks} {
			a := submit.Array{Name: s, Dir: "/data/" + s, Shards: tasks + k, Tasks: tasks, Accelerator: k%2 == 1}
			p := submit.Pod{Image: "x/advsweep:1", Claim: "c", SubPath: "runs/" + s, User: 1 + i}
			text, err := submit.Kubernetes(a, p)
			if err != nil {
				continue
			}
			written++
			job, err := read(text)
			if err != nil {
				t.Errorf("%q, %d tasks: %v", s, tasks, err)
				continue
			}
			c := job.Spec.Template.Spec.Containers[0]
			gpus := c.Resources.Limits["nvidia.com/gpu"]
			// As kubelet does.
			for i, arg := range c.Args {
				c.Args[i] = expansion.Expand(arg, func(name string) string { return "value of " + name })
			}
			got := []any{c.Args, c.VolumeMounts[0].MountPath, c.VolumeMounts[0].SubPath, int(*job.Spec.Completions), int(gpus.Value()),
				int(*job.Spec.Template.Spec.SecurityContext.RunAsUser)}
			want := []any{[]string{"run-shard", a.Dir, "--tasks", fmt.Sprint(tasks)}, a.Dir, p.SubPath, tasks, k % 2, p.User}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", s, diff)
			}
		}
	}
	if written < len(hostile) {
		t.Errorf("%d jobs, too few", written)
	}
}
