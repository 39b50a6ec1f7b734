package vnnlib

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"advsweep/internal/plain"
)

// A SyntaxError says what is wrong at a place of a file. Line and Column are counted from 1,
// columns in characters.
type SyntaxError struct {
	Line, Column int
	Err          error
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}

func (e *SyntaxError) Unwrap() error { return e.Err }

// A node is a word, or a list of nodes in brackets.
type node struct {
	word string // "" of a list
	list []*node
	at   int // where it begins, in bytes
}

// maxDepth bounds how deep lists lie in lists.
const maxDepth = 1000

// quoted is text of a file as a message shows it.
func quoted(s string) string { return fmt.Sprintf("%q", plain.Line(s, plain.Name)) }

// String names the node in a message: a word, or a list by its first word.
func (n *node) String() string {
	switch {
	case n.word != "":
		return quoted(n.word)
	case len(n.list) > 0 && n.list[0].word != "":
		return quoted("(" + n.list[0].word + " …)")
	}
	return `"()"`
}

// head is the first word of a list, "" if there is none.
func (n *node) head() string {
	if len(n.list) == 0 {
		return ""
	}
	return n.list[0].word
}

// A source is a file's text.
type source struct{ text string }

// errorf is a *SyntaxError at a byte of the text.
func (s *source) errorf(at int, format string, args ...any) error {
	before := s.text[:min(at, len(s.text))]
	line := strings.LastIndexByte(before, '\n')
	return &SyntaxError{Line: 1 + strings.Count(before, "\n"), Column: 1 + utf8.RuneCountInString(before[line+1:]), Err: fmt.Errorf(format, args...)}
}

// lists reads the text as lists, one after another. A semicolon begins a comment, to the end of the
// line. Indices in square brackets belong to the word before them: "X [0, 1]" is the word "X[0,1]".
func (s *source) lists() (all []*node, err error) {
	var open []*node // lists that are not closed yet, the outermost first
	put := func(n *node) error {
		if len(open) == 0 {
			if n.word != "" {
				return s.errorf(n.at, "%v stands outside of brackets, want a command as (assert …)", n)
			}
			all = append(all, n)
			return nil
		}
		in := open[len(open)-1]
		in.list = append(in.list, n)
		return nil
	}
	for at := 0; at < len(s.text); {
		switch c := s.text[at]; {
		case blank(c):
			at++
		case c == ';':
			at = s.until(at, "\n")
		case c == '(':
			if len(open) == maxDepth {
				return nil, s.errorf(at, "brackets lie more than %d deep in each other", maxDepth)
			}
			n := &node{at: at}
			if err := put(n); err != nil {
				return nil, err
			}
			open = append(open, n)
			at++
		case c == ')':
			if len(open) == 0 {
				return nil, s.errorf(at, "a bracket is closed that was never opened: look for one too many before it")
			}
			open = open[:len(open)-1]
			at++
		case c == '[':
			if at, err = s.indices(open, at); err != nil {
				return nil, err
			}
		default:
			end := s.word(at)
			if err := put(&node{word: s.text[at:end], at: at}); err != nil {
				return nil, err
			}
			at = end
		}
	}
	if len(open) > 0 {
		return nil, s.errorf(open[0].at, "the bracket that opens here is never closed: is the file whole?")
	}
	return all, nil
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// until is where the next of some bytes lies, or the end of the text.
func (s *source) until(at int, stops string) int {
	if k := strings.IndexAny(s.text[at:], stops); k >= 0 {
		return at + k
	}
	return len(s.text)
}

// word is where the word that begins at a byte ends. One in double quotes may hold anything.
func (s *source) word(at int) int {
	if s.text[at] == '"' {
		return min(s.until(at+1, `"`)+1, len(s.text))
	}
	return s.until(at, " \t\n\r()[;\"")
}

// indices adds what stands in square brackets from at on to the word before, and returns where it
// ends. A shape may follow a word of its own: in (declare-input X Real [3]) it is added to "Real".
func (s *source) indices(open []*node, at int) (int, error) {
	end := s.until(at, "]();")
	if end == len(s.text) || s.text[end] != ']' {
		return 0, s.errorf(at, "the square bracket that opens here is not closed")
	}
	if len(open) == 0 || len(open[len(open)-1].list) == 0 || open[len(open)-1].list[len(open[len(open)-1].list)-1].word == "" {
		return 0, s.errorf(at, "square brackets stand for themselves, want the name of a variable before them, as in X[0,1]")
	}
	list := open[len(open)-1].list
	list[len(list)-1].word += strings.Join(strings.Fields(s.text[at:end+1]), "")
	return end + 1, nil
}
