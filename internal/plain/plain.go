// Package plain makes text that comes from elsewhere fit to be shown: names of workers, messages of
// other machines, names inside files. Such text may hold sequences that a terminal obeys, characters
// that reorder or hide others, and megabytes.
package plain

import "unicode"

// How many characters of a name, of a message and of an error with all that it tells are shown,
// where nothing asks for fewer.
const (
	Name    = 100
	Message = 1000
	Error   = 10_000
)

// Line returns s as one line of at most most characters, of which the last is "…" where s has more.
// Line breaks and tabs become a space, or nothing at the ends. What has no shape of its own on a
// screen becomes U+FFFD, so that one sees that something was there: control characters (C0, DEL,
// C1), those that set the direction of text, those of no width, and bytes that are no UTF-8.
//
// Line of what it returned is the same again.
func Line(s string, most int) string { return clean(s, most, false) }

// Text is Line of a text of several lines: it keeps "\n" and tabs.
func Text(s string, most int) string { return clean(s, most, true) }

func clean(s string, most int, lines bool) string {
	if most < 1 {
		return ""
	}
	out := make([]rune, 0, min(most, len(s)))
	gap := false // a space is due before what comes next
	add := func(r rune) (whole bool) {
		if len(out) == most {
			out[most-1] = '…'
			return false
		}
		out = append(out, r)
		return true
	}
	for _, r := range s { // bytes that are no UTF-8 come as U+FFFD
		kept := lines && (r == '\n' || r == '\t')
		switch {
		case breaks(r) && !kept:
			gap = len(out) > 0
			continue
		case !kept && !shown(r):
			r = unicode.ReplacementChar
		}
		if gap && r != '\n' && !add(' ') || !add(r) {
			break
		}
		gap = false
	}
	return string(out)
}

// breaks reports whether r ends a line or moves to a column.
func breaks(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}

// shown reports whether r has a shape or is a space.
func shown(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}
