//go:build ignore

// Command gen writes table.json, texts and THIRD_PARTY_LICENSES: see package licenses. It asks the
// go command which modules a build links, takes the texts from them, and has them classified by
// licensecheck, which pkg.go.dev uses too. It fails where a module has no licence that is known
// and allowed.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"advsweep/internal/licenses"

	"github.com/google/licensecheck"
)

// targets are the builds whose modules are listed, as GOOS/GOARCH and tags. A build with CUDA uses
// cgo.
var targets = [][2]string{
	{"linux/amd64", ""}, {"linux/arm64", ""}, {"darwin/arm64", ""}, {"windows/amd64", ""},
	{"linux/amd64", "cuda"}, {"windows/amd64", "cuda"},
}

// named are the names of files that say something of a licence, in folders of linked packages and
// above them.
var named = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents|copyright)([-_.].*)?$`)

// folders are the folders of a module whose files all are licences.
var folders = []string{"licenses", "THIRD_PARTY_LICENSES"}

// testdata are files in such folders that are about what no build contains.
var testdata = []string{"W3C-TestSuite-LICENSE"}

// told are the licences of modules that the texts alone do not tell, and why.
var told = map[string]string{
	// The others in its LICENSE.txt are of libraries in C++, which the Go module does not have.
	"github.com/apache/arrow/go/arrow": "Apache-2.0",
	// Its LICENSE leaves the choice between the two in its folder licenses.
	"github.com/golang/freetype": "FTL OR GPL-2.0-or-later",
}

// allowed are the licences that a program under the MIT licence may contain and be given away
// with. A person must look at any other first.
var allowed = []string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "OFL-1.1", "BSL-1.0", "CC-BY-4.0"}

// added are texts that come with a licence and only give more.
var added = []string{"GooglePatentsFile"}

// others are what a build contains beside modules.
var others = []licenses.Part{
	{Name: "Go", About: "The standard library and the runtime, by the Go authors.", Licenses: "BSD-3-Clause"},
	{Name: "MNIST images", About: "The first 1,000 images of the MNIST test set, unchanged, with their labels, by Yann LeCun,\n" +
		"Corinna Cortes and Christopher J. C. Burges, http://yann.lecun.com/exdb/mnist/. They are under\n" +
		"https://creativecommons.org/licenses/by-sa/3.0/. What was cut away is told in dataset/mnist/README.md. The models\n" +
		"inside were trained on the 60,000 training images by this project.", Licenses: "CC-BY-SA-3.0"},
	{Name: "ONNX schema", About: "The schema of ONNX files, unchanged, and the Go code that protoc-gen-go makes of it, by the ONNX\n" +
		"project's contributors, from the Python package onnx 1.23.2. The text of the licence stands at\n" +
		"https://www.apache.org/licenses/LICENSE-2.0, and below with modules that are under it.", Licenses: "Apache-2.0"},
	{Name: "CUDA kernels", About: "Builds with CUDA contain kernels of this project as PTX, which NVIDIA's nvcc makes of them, and\n" +
		"nothing of NVIDIA's. They load the driver library of the machine where they run.", Licenses: "MIT"},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("licenses: ")
	t := &licenses.Table{Texts: map[string]string{}}
	for _, m := range linked() {
		t.Parts = append(t.Parts, m.part(t.Texts))
	}
	goroot := strings.TrimSpace(string(run(nil, "env", "GOROOT")))
	for _, o := range others {
		if o.Name == "Go" {
			for _, name := range []string{"LICENSE", "PATENTS"} {
				o.Files = append(o.Files, keep(t.Texts, name, filepath.Join(goroot, name)))
			}
		}
		if o.Files == nil {
			o.Files = []licenses.File{}
		}
		t.Parts = append(t.Parts, o)
	}
	licenses.Sort(t.Parts)

	var table bytes.Buffer
	e := json.NewEncoder(&table)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	check(e.Encode(t.Parts))
	check(os.WriteFile("table.json", table.Bytes(), 0o644))
	check(os.RemoveAll("texts"))
	check(os.Mkdir("texts", 0o755))
	for name, text := range t.Texts {
		check(os.WriteFile(filepath.Join("texts", name), []byte(text), 0o644))
	}
	var full bytes.Buffer
	check(t.Full(&full))
	check(os.WriteFile("../../THIRD_PARTY_LICENSES", full.Bytes(), 0o644))
	fmt.Printf("%d modules, %d texts, %d bytes\n", len(t.Parts)-len(others), len(t.Texts), full.Len())
}

// A module is one that a build links.
type module struct {
	path, version, dir string
	packages           map[string]bool // the folders of those that are linked
}

// linked returns the modules that any build links, sorted by path.
func linked() []*module {
	found := map[string]*module{}
	for _, target := range targets {
		system, processor, _ := strings.Cut(target[0], "/")
		cgo := "0"
		if target[1] != "" {
			cgo = "1"
		}
		const form = "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}\t{{end}}{{end}}{{.Dir}}"
		list := run([]string{"GOOS=" + system, "GOARCH=" + processor, "CGO_ENABLED=" + cgo}, "list", "-deps", "-tags", target[1], "-f", form, "../../cmd/advsweep")
		for line := range strings.Lines(string(list)) {
			f := strings.Split(strings.TrimSpace(line), "\t")
			if len(f) != 4 {
				continue // of Go or of this project
			}
			m := found[f[0]]
			if m == nil {
				m = &module{f[0], f[1], f[2], map[string]bool{}}
				found[f[0]] = m
			}
			m.packages[f[3]] = true
		}
	}
	if len(found) == 0 {
		log.Fatal("go list names no module")
	}
	return slices.SortedFunc(maps.Values(found), func(a, b *module) int { return strings.Compare(a.path, b.path) })
}

// part reads the licences of m, and puts their texts into texts.
func (m *module) part(texts map[string]string) licenses.Part {
	looked := map[string]bool{}
	var files []string
	look := func(dir string, all bool) {
		entries, err := os.ReadDir(dir)
		check(err)
		for _, e := range entries {
			if e.Type().IsRegular() && (all || named.MatchString(e.Name())) && !slices.Contains(testdata, e.Name()) {
				name, err := filepath.Rel(m.dir, filepath.Join(dir, e.Name()))
				check(err)
				files = append(files, filepath.ToSlash(name))
			}
		}
	}
	for dir := range m.packages {
		for ; !looked[dir]; dir = filepath.Dir(dir) {
			looked[dir] = true
			look(dir, false)
			if dir == m.dir {
				break
			}
		}
	}
	for _, name := range folders {
		if info, err := os.Stat(filepath.Join(m.dir, name)); err == nil && info.IsDir() {
			look(filepath.Join(m.dir, name), true)
		}
	}
	slices.Sort(files)
	p := licenses.Part{Name: m.path, Version: m.version}
	var ids []string
	for _, name := range files {
		f := keep(texts, name, filepath.Join(m.dir, name))
		p.Files = append(p.Files, f)
		for _, match := range licensecheck.Scan([]byte(texts[f.Text])).Match {
			switch {
			case told[m.path] != "" || match.IsURL || slices.Contains(added, match.ID) || slices.Contains(ids, match.ID):
			case slices.Contains(allowed, match.ID):
				ids = append(ids, match.ID)
			default:
				log.Fatalf("%s %s: %s is under %s, want one of %q, or an entry in told", m.path, m.version, name, match.ID, allowed)
			}
		}
	}
	slices.Sort(ids)
	p.Licenses = strings.Join(ids, " AND ")
	if told[m.path] != "" && len(files) > 0 {
		p.Licenses = told[m.path]
	}
	if p.Licenses == "" {
		log.Fatalf("%s %s: no licence that is known in %q", m.path, m.version, files)
	}
	return p
}

// keep puts the text of the file at path into texts, and returns it as a file of the name.
func keep(texts map[string]string, name, path string) licenses.File {
	data, err := os.ReadFile(path)
	check(err)
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	sum := sha256.Sum256([]byte(text))
	id := hex.EncodeToString(sum[:6]) + ".txt"
	texts[id] = text
	return licenses.File{Name: name, Text: id}
}

// run runs the go command with the project's own modules, not those of the tools.
func run(env []string, args ...string) []byte {
	c := exec.Command(filepath.Join(runtime.GOROOT(), "bin", "go"), args...)
	c.Env = append(os.Environ(), env...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	check(err)
	return out
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
