// Command reliability writes the table of docs/reliability.md from lines of internal/counts.
//
//	reliability COUNTS COMMIT <old >new
//
// It takes the file from standard input, and writes it with what stands between its two marks made
// anew. A line of a kind that is not known, or that cannot be read, is an error.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"advsweep/internal/counts"
)

// What is made stands between these lines.
const (
	begin = "<!-- made by make reliability -->"
	end   = "<!-- until here -->"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "reliability:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("%d arguments, want COUNTS COMMIT", len(args))
	}
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	lines, err := read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, both := strings.Cut(rest, end)
	if !ok || !both {
		return fmt.Errorf("the page lacks %q and %q", begin, end)
	}
	_, err = fmt.Fprintf(out, "%s%s\n%s%s%s", head, begin, table(lines, when(args[1])), end, tail)
	return err
}

// when says on what and of what the numbers are.
func when(commit string) string {
	return fmt.Sprintf("%s, commit %s, %s/%s, %d processors (%s), %s",
		time.Now().UTC().Format(time.DateOnly), commit, runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), processor(), runtime.Version())
}

// processor is the name that the processor gives itself, where Linux tells it.
func processor() string {
	data, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "not known which"
	}
	for line := range strings.Lines(string(data)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "not known which"
}

func read(in io.Reader) (lines []counts.Line, err error) {
	s := bufio.NewScanner(in)
	for k := 1; s.Scan(); k++ {
		var l counts.Line
		d := json.NewDecoder(bytes.NewReader(s.Bytes()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			return nil, fmt.Errorf("line %d: %w", k, err)
		}
		if !counts.Known(l.Kind) {
			return nil, fmt.Errorf("line %d: kind %q is not in counts.Kinds", k, l.Kind)
		}
		lines = append(lines, l)
	}
	return lines, s.Err()
}

// table has a row for each kind. One that was not tried says so.
func table(lines []counts.Line, when string) string {
	var b strings.Builder
	b.WriteString("| tried | how often | failed | what must come of it | by |\n|---|---|---|---|---|\n")
	for _, k := range counts.Kinds {
		var tried, failed int64
		var by []string
		for _, l := range lines {
			if l.Kind != k.Name {
				continue
			}
			tried, failed = tried+l.Tried, failed+l.Failed
			if name, _, _ := strings.Cut(l.By, "/"); len(by) == 0 || by[len(by)-1] != name {
				by = append(by, name)
			}
		}
		if len(by) == 0 {
			fmt.Fprintf(&b, "| %s | not tried here | | %s | |\n", k.What, k.Want)
			continue
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %s |\n", k.What, tried, failed, k.Want, strings.Join(by, ", "))
	}
	fmt.Fprintf(&b, "\n%s.\n", when)
	return b.String()
}
