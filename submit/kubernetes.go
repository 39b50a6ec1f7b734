package submit

import (
	"bytes"
	_ "embed"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

//go:embed job.yaml.tmpl
var jobText string

// yaml is %q: of text that can all be seen, it escapes " and \ only, as YAML and JSON do.
var jobTemplate = template.Must(template.New("").Funcs(template.FuncMap{"yaml": strconv.Quote}).Parse(jobText))

var (
	dnsLabel     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
	image        = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)
)

// Kubernetes returns an Indexed Job (batch/v1, Kubernetes 1.33 or later) that runs the study, with
// the study's claim mounted at o.Dir. If tasks are to run on several nodes the claim must be
// ReadWriteMany.
//
// A task that fails is run again up to o.Retries times, alone; one whose node is drained or lost
// does not count. The job ends early when more than a tenth of the tasks, and more than ten, have
// failed. Deleted and applied again, it does what is missing.
func Kubernetes(o Options) ([]byte, error) {
	o, err := o.filled(KubernetesTasks)
	if err != nil {
		return nil, err
	}
	if o.Parallel == 0 {
		o.Parallel = min(o.Tasks, 100)
	}
	switch {
	case strings.Contains(o.Dir, ":"):
		return nil, fmt.Errorf("submit: folder of the study %q: Kubernetes mounts nothing at a path with a colon", o.Dir)
	case o.Dir == "/":
		return nil, fmt.Errorf("submit: folder of the study is /, want one that is not the root of the image")
	case len(o.Image) > 1024 || !image.MatchString(o.Image):
		return nil, fmt.Errorf("submit: image %q, want one like registry/name:tag", o.Image)
	case len(o.Claim) > 253 || !dnsSubdomain.MatchString(o.Claim):
		return nil, fmt.Errorf("submit: PersistentVolumeClaim %q, want the name of one: lower-case letters, digits, hyphens and dots", o.Claim)
	case o.Namespace != "" && !dnsLabel.MatchString(o.Namespace):
		return nil, fmt.Errorf("submit: namespace %q, want lower-case letters, digits and hyphens, at most 63", o.Namespace)
	case o.SubPath != "":
		if clean := path.Clean(o.SubPath); path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || len(clean) > 1024 {
			return nil, fmt.Errorf("submit: folder in the claim %q, want a path within it, of at most 1024 bytes", o.SubPath)
		}
		o.SubPath = path.Clean(o.SubPath)
		if err := printable("folder in the claim", o.SubPath); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	err = jobTemplate.Execute(&b, map[string]any{
		"Options": o,
		// Pods are called NAME-INDEX, and that must be a label too.
		"Name":      label(o.Name, 63-1-len(strconv.Itoa(o.Tasks-1))),
		"MaxFailed": min(o.Tasks, max(10, o.Tasks/10)),
		"Seconds":   60 * o.minutes(),
		// $(NAME) would be a variable's value
		"DirAsArgument": strings.ReplaceAll(o.Dir, "$", "$$"),
		"TasksAsText":   strconv.Itoa(o.Tasks),
		"CPUsAsText":    strconv.Itoa(o.CPUs),
		"MemoryAsText":  strconv.Itoa(o.Memory) + "Mi",
		"HasSubPath":    o.SubPath != "" && o.SubPath != ".",
	})
	return b.Bytes(), err
}

// KubernetesCommand is the line for a shell that submits the job.
func KubernetesCommand(file string) string { return "kubectl apply -f " + fileArgument(file) }
