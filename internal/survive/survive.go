// Package survive lets a caller outlive the bugs of a reader. Files come from anybody, and one that
// nobody thought of must cost an error, and not the results of the whole program.
package survive

import (
	"fmt"
	"path"
	"runtime"
	"strings"
)

// A Bug is the panic of a reader as an error.
type Bug struct {
	Value any    // of the panic
	Where string // the function that panicked, and its line: "onnx.(*graph).lay (value.go:540)"
}

func (b *Bug) Error() string {
	// A value may hold parts of the file.
	value := fmt.Sprintf("%.200q", fmt.Sprint(b.Value))
	return fmt.Sprintf("a bug in advsweep, which cannot read it: %s in %s: please report it, with the file", value[1:len(value)-1], b.Where)
}

// Unwrap returns the error that the panic was of, if it was one.
func (b *Bug) Unwrap() error {
	err, _ := b.Value.(error)
	return err
}

// Do returns what read returns, or a *Bug if it panics. What the runtime ends a process for, as
// want of memory, ends it all the same, and so does a panic of another goroutine.
func Do(read func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Bug{v, where()}
		}
	}()
	return read()
}

// where names the function whose panic is being recovered.
func where() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs)])
	panicked := false
	for {
		f, more := frames.Next()
		own := !strings.HasPrefix(f.Function, "runtime.")
		if panicked && own {
			// Folders of the machine that compiled the program are nobody's concern.
			return fmt.Sprintf("%s (%s:%d)", path.Base(f.Function), path.Base(f.File), f.Line)
		}
		panicked = panicked || f.Function == "runtime.gopanic"
		if !more {
			return "a function that is not known"
		}
	}
}
