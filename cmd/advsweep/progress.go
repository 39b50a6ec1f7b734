package main

import (
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows how far long work is: a bar on a terminal, a plain line now and then
// elsewhere, nothing if quiet.
type progress struct {
	w     io.Writer
	label string
	bar   *progressbar.ProgressBar
	start time.Time // of the first update
	// begun is what the first update said was done: that an earlier run did it, so it says nothing
	// of the time left.
	begun int
	next  time.Time // of the next plain line
	note  string
}

// every is the time between plain lines.
const every = 5 * time.Second

func newProgress(w io.Writer, quiet bool, label string) *progress {
	p := &progress{w: w, label: label, next: time.Now().Add(every)}
	if quiet {
		p.w = nil
	} else if f, ok := fileOf(w); ok && term.IsTerminal(int(f.Fd())) {
		p.bar = progressbar.NewOptions(1,
			progressbar.OptionSetWriter(f),
			progressbar.OptionSetDescription(label),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	return p
}

// update says that done of total units of work are done.
func (p *progress) update(done, total int) {
	if p.start.IsZero() {
		p.start, p.begun = time.Now(), done
	}
	switch {
	case p.w == nil:
	case p.bar != nil:
		// Errors of the terminal are no reason to stop the work.
		p.bar.ChangeMax(total)
		if p.note != "" {
			p.bar.Describe(p.label + ", " + p.note)
		}
		_ = p.bar.Set(done)
	case time.Now().After(p.next) && done < total:
		p.next = time.Now().Add(every)
		s := fmt.Sprintf("%s: %d %%", p.label, 100*done/total)
		if done > p.begun {
			s += ", " + about(time.Since(p.start).Seconds()/float64(done-p.begun)*float64(total-done)) + " left"
		}
		if p.note != "" {
			s += ", " + p.note
		}
		fmt.Fprintln(p.w, s)
	}
}

// finish removes the bar.
func (p *progress) finish() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
