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
// the study's claim mounted at a.Dir. If tasks are to run on several nodes the claim must be
// ReadWriteMany.
//
// A task that fails is run again up to p.Retries times, alone; one whose node is drained or lost
// does not count. The job ends early when more than a tenth of the tasks, and more than ten, have
// failed. Deleted and applied again, it does what is missing.
func Kubernetes(a Array, p Pod) ([]byte, error) {
	a, err := a.filled(KubernetesTasks)
	if err == nil {
		p, err = p.filled()
	}
	if err != nil {
		return nil, err
	}
	if a.Parallel == 0 {
		a.Parallel = min(a.Tasks, 100)
	}
	switch {
	case strings.Contains(a.Dir, ":"):
		return nil, fmt.Errorf("submit: folder of the study %q: Kubernetes mounts nothing at a path with a colon", a.Dir)
	case a.Dir == "/":
		return nil, fmt.Errorf("submit: folder of the study is /, want one that is not the root of the image")
	}
	var b bytes.Buffer
	err = jobTemplate.Execute(&b, map[string]any{
		"Array": a,
		"Pod":   p,
		// Pods are called NAME-INDEX, and that must be a label too.
		"Name":      label(a.Name, 63-1-len(strconv.Itoa(a.Tasks-1))),
		"MaxFailed": min(a.Tasks, max(10, a.Tasks/10)),
		"Seconds":   60 * a.minutes(),
		// $(NAME) would be a variable's value
		"DirAsArgument": strings.ReplaceAll(a.Dir, "$", "$$"),
		"TasksAsText":   strconv.Itoa(a.Tasks),
		"CPUsAsText":    strconv.Itoa(a.CPUs),
		"MemoryAsText":  strconv.Itoa(a.Memory) + "Mi",
		"HasSubPath":    p.SubPath != "" && p.SubPath != ".",
	})
	return b.Bytes(), err
}

// filled returns p with what was left zero, or an error that names what is wrong.
func (p Pod) filled() (Pod, error) {
	var err error
	setter(&err)("as the user", &p.User, 65532, 1<<31-1)
	if p.Retries == 0 {
		p.Retries = 3
	}
	p.Retries = min(max(0, p.Retries), 1000)
	switch {
	case err != nil:
		return p, err
	case len(p.Image) > 1024 || !image.MatchString(p.Image):
		return p, fmt.Errorf("submit: image %q, want one like registry/name:tag", p.Image)
	case len(p.Claim) > 253 || !dnsSubdomain.MatchString(p.Claim):
		return p, fmt.Errorf("submit: PersistentVolumeClaim %q, want the name of one: lower-case letters, digits, hyphens and dots", p.Claim)
	case p.Namespace != "" && !dnsLabel.MatchString(p.Namespace):
		return p, fmt.Errorf("submit: namespace %q, want lower-case letters, digits and hyphens, at most 63", p.Namespace)
	case p.SubPath != "":
		if clean := path.Clean(p.SubPath); path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") || len(clean) > 1024 {
			return p, fmt.Errorf("submit: folder in the claim %q, want a path within it, of at most 1024 bytes", p.SubPath)
		}
		p.SubPath = path.Clean(p.SubPath)
		return p, printable("folder in the claim", p.SubPath)
	}
	return p, nil
}

// KubernetesCommand is the line for a shell that submits the job.
func KubernetesCommand(file string) string { return "kubectl apply -f " + fileArgument(file) }
