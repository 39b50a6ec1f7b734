package chunklog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const instead = "choose another folder"

// A LockedError says that another process, or another Log of this one, appends to the folder.
type LockedError struct {
	Dir string
	PID int // of that process; 0 if not known
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("chunklog: %s is in use by %s: wait for it to end or %s", e.Dir, who, instead)
}

// An OtherRunError says that the folder holds a run with another manifest.
type OtherRunError struct {
	Dir  string
	Than string // what it was compared with: "here", the caller's manifest, or another folder
	// Fields are those that differ, by name. It is nil if manifest.json is no JSON object, or if it
	// differs in spaces only.
	Fields []Field
}

// A Field is a value of the manifest that differs, both as JSON without outer brackets, or
// "none" where there is no such field.
type Field struct {
	Name      string // with the names of the objects around it: "attacks[1].steps"
	Got, Want string // in Dir, and in Than
}

func (e *OtherRunError) Error() string {
	const show = 8
	what := "its " + manifestName + " differs"
	if len(e.Fields) > 0 {
		var parts []string
		for _, f := range e.Fields[:min(show, len(e.Fields))] {
			parts = append(parts, fmt.Sprintf("%s: %s, %s %s", f.Name, shorten(f.Got), e.Than, shorten(f.Want)))
		}
		if n := len(e.Fields) - show; n > 0 {
			parts = append(parts, fmt.Sprintf("and %d more", n))
		}
		what = strings.Join(parts, "; ")
	}
	todo := "give the settings of that run or " + instead
	if e.Than != "here" {
		todo = "merge folders of one run"
	}
	return fmt.Sprintf("chunklog: %s holds another run: %s: %s", e.Dir, what, todo)
}

// A VersionError says that the folder was written in another format.
type VersionError struct {
	File      string
	Got, Want int64
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("chunklog: %s: format version %d, want %d: use the advsweep that wrote it or %s", e.File, e.Got, e.Want, instead)
}

// A CorruptError says that a file is not what was written.
type CorruptError struct {
	File   string
	Chunk  int   // -1: of no chunk, or the damage hides of which
	Offset int64 // in bytes, where the damaged part begins
	Reason string
}

func (e *CorruptError) Error() string {
	what := "an unknown chunk"
	if e.Chunk >= 0 {
		what = fmt.Sprintf("chunk %d", e.Chunk)
	} else if e.Offset == 0 {
		what = "the file"
	}
	return fmt.Sprintf("chunklog: %s: %s at byte %d: %s: restore the file from a copy, or delete the folder and run again", e.File, what, e.Offset, e.Reason)
}

func (l *Log) corrupt(chunk int, offset int64, reason string) error {
	return &CorruptError{File: l.path(), Chunk: chunk, Offset: offset, Reason: reason}
}

func changedManifest(dir string) error {
	return &CorruptError{File: filepath.Join(dir, manifestName), Chunk: -1, Reason: "changed since " + logName + " was begun"}
}

func missingManifest(dir string) error {
	return &CorruptError{File: filepath.Join(dir, manifestName), Chunk: -1, Reason: "missing beside " + logName}
}

// otherRun says how the manifest got, of the folder dir, differs from want.
func otherRun(dir string, got []byte, than string, want []byte) error {
	e := &OtherRunError{Dir: dir, Than: than}
	a, okA := object(got)
	b, okB := object(want)
	if okA && okB {
		e.Fields = differences(nil, "", a, b)
	}
	return e
}

func object(data []byte) (map[string]any, bool) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber() // 1e-3 is to be shown as it is written
	var m map[string]any
	err := d.Decode(&m)
	return m, err == nil && m != nil
}

// differences appends to fields where a and b differ, below the field called name.
func differences(fields []Field, name string, a, b any) []Field {
	objA, okA := a.(map[string]any)
	objB, okB := b.(map[string]any)
	if okA && okB {
		all := maps.Clone(objA)
		maps.Copy(all, objB)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			below := key
			if name != "" {
				below = name + "." + key
			}
			va, okA := objA[key]
			vb, okB := objB[key]
			if okA && okB {
				fields = differences(fields, below, va, vb)
			} else {
				fields = append(fields, Field{below, text(va, okA), text(vb, okB)})
			}
		}
		return fields
	}
	listA, okA := a.([]any)
	listB, okB := b.([]any)
	if okA && okB && len(listA) == len(listB) && slices.ContainsFunc(listA, isObject) {
		for i := range listA {
			fields = differences(fields, name+"["+strconv.Itoa(i)+"]", listA[i], listB[i])
		}
		return fields
	}
	if va, vb := text(a, true), text(b, true); va != vb {
		fields = append(fields, Field{name, va, vb})
	}
	return fields
}

func isObject(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// text gives a JSON value on one line, a list without its brackets.
func text(v any, ok bool) string {
	if !ok {
		return "none"
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	s := strings.TrimSpace(b.String())
	if list, ok := v.([]any); ok && len(list) > 0 {
		s = s[1 : len(s)-1]
	}
	return s
}

// shorten keeps a long value, such as a list of a thousand eps, from filling the screen.
func shorten(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "..."
}
