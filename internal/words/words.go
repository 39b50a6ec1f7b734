// Package words joins names for people to read.
package words

import "strings"

// And joins names as in "a, b and c".
func And(names []string) string { return join(names, " and ") }

// Or joins names as in "a, b or c".
func Or(names []string) string { return join(names, " or ") }

func join(names []string, last string) string {
	n := len(names)
	if n < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:n-1], ", ") + last + names[n-1]
}
