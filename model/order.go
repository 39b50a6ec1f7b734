package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"advsweep/model/internal/formats"
)

// A width is a Linear layer as far as its order goes.
type width struct {
	name    string
	in, out int
}

// order returns the layers in the order in which they are applied. Layers whose names differ in
// numbers alone (fc1 and fc2, net.0 and net.2) follow each other by those numbers; such groups
// follow each other as their shapes chain, the outputs of one being the inputs of the next. If
// groups do not chain, single layers do by shape alone. Where shapes allow more than one order,
// words in the names may tell, see byWords: how says so then. It is an error if there is no order
// or if nothing tells: other words have none, and a guess would be another model.
func order(layers []width) (sorted []width, how string, err error) {
	byName := slices.Clone(layers)
	slices.SortFunc(byName, func(a, b width) int { return compareNatural(a.name, b.name) })
	groups := make(map[string][]width)
	for _, l := range byName {
		p := pattern(l.name)
		groups[p] = append(groups[p], l)
	}
	var ends []width // of each group, under its pattern
	whole := true
	for _, p := range slices.Sorted(maps.Keys(groups)) {
		g := groups[p]
		whole = whole && chains(g)
		ends = append(ends, width{p, g[0].in, g[len(g)-1].out})
	}
	// Searching takes the square of their number.
	if len(ends) > 1000 || !whole && len(layers) > 1000 {
		return nil, "", fmt.Errorf("%d layers do not follow each other by name: %s", len(layers), list(byName))
	}
	n := 0
	if whole {
		sorted, n = orderByShape(ends)
		if n == 2 {
			if words, ok := byWords(ends); ok {
				sorted, n, how = words, 1, "the order of the layers is that of words in their names: "+namesOf(words)
			}
		}
		if n == 1 {
			var out []width
			for _, e := range sorted {
				out = append(out, groups[e.name]...)
			}
			return out, how, nil
		}
	}
	if n == 0 {
		sorted, n = orderByShape(byName)
	}
	if n == 1 {
		return sorted, "", nil
	}
	if twice := copies(byName); twice != nil {
		return nil, "", fmt.Errorf("the same layers are there twice, %s and %s, such as weights and their average: keep one of the two in the file: %s",
			under(twice[0]), under(twice[1]), list(byName))
	}
	if n == 0 {
		return nil, "", fmt.Errorf("the layers do not follow each other in any order (outputs of one = inputs of the next): %s", list(byName))
	}
	return nil, "", fmt.Errorf("the layers follow each other in several orders, and their names do not tell which; number them as in fc1, fc2: %s", list(byName))
}

func under(prefix string) string {
	if prefix == "" {
		return "with no prefix"
	}
	return "under " + formats.Quote(strings.TrimSuffix(prefix, "."))
}

// namesOf joins the names of layers, the first few.
func namesOf(layers []width) string {
	var all []string
	for _, l := range layers[:min(len(layers), 8)] {
		all = append(all, formats.Quote(l.name))
	}
	return strings.Join(all, ", ")
}

// pattern is name with each run of digits replaced by #.
func pattern(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if !digit(name[i]) {
			b.WriteByte(name[i])
		} else if i == 0 || !digit(name[i-1]) {
			b.WriteByte('#')
		}
	}
	return b.String()
}

func chains(layers []width) bool {
	for i := 1; i < len(layers); i++ {
		if layers[i-1].out != layers[i].in {
			return false
		}
	}
	return true
}

// list is for messages: "fc1 [10, 784], …", weights' shapes, the first few.
func list(layers []width) string {
	var b strings.Builder
	for i, l := range layers {
		if i == 8 {
			fmt.Fprintf(&b, " and %d more", len(layers)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s [%d, %d]", formats.Quote(weightName(l.name)), l.out, l.in)
	}
	return b.String()
}

// orderByShape returns an order in which the layers chain, and how many such
// orders there are, where 2 stands for all larger numbers.
//
// With widths as points and layers as arrows between them, such an order is a
// walk along every arrow once, an Eulerian trail. It starts where more arrows
// leave than arrive, or anywhere if there is no such point. At each point an
// arrow can be taken if the rest can still be walked from its end, which is so
// if all the rest can be reached from there; where two can be taken, there are
// two orders (Fleury 1883).
func orderByShape(layers []width) ([]width, int) {
	surplus := make(map[int]int) // arrows that leave, less those that arrive
	for _, l := range layers {
		surplus[l.in]++
		surplus[l.out]--
	}
	starts := make(map[int]bool)
	unbalanced := 0
	for at, s := range surplus {
		switch {
		case s == 1:
			starts[at] = true
			unbalanced++
		case s == -1:
			unbalanced++
		case s != 0:
			return nil, 0
		}
	}
	if unbalanced > 2 {
		return nil, 0
	}
	rest := slices.Clone(layers)
	trail := make([]width, 0, len(layers))
	for len(rest) > 0 {
		next := -1
		for i, l := range rest {
			if len(trail) == 0 {
				if unbalanced > 0 && !starts[l.in] {
					continue
				}
			} else if l.in != trail[len(trail)-1].out {
				continue
			}
			if !reachable(l.out, rest, i) {
				continue
			}
			if next >= 0 {
				return nil, 2
			}
			next = i
		}
		if next < 0 {
			return nil, 0
		}
		trail = append(trail, rest[next])
		rest = slices.Delete(rest, next, next+1)
	}
	return trail, 1
}

// reachable reports whether every layer but layers[except] can be reached from
// the given width along those layers.
func reachable(from int, layers []width, except int) bool {
	leaving := make(map[int][]int)
	for i, l := range layers {
		if i != except {
			leaving[l.in] = append(leaving[l.in], l.out)
		}
	}
	reached := 0
	for queue := []int{from}; len(queue) > 0; {
		at := queue[len(queue)-1]
		queue = append(queue[:len(queue)-1], leaving[at]...)
		reached += len(leaving[at])
		delete(leaving, at)
	}
	return reached == len(layers)-1
}

// compareNatural compares a and b byte by byte, but runs of digits as numbers:
// layers.2 < layers.10. Names that differ only in leading zeros are compared
// as strings.
func compareNatural(a, b string) int {
	x, y := a, b
	for x != "" && y != "" {
		if !digit(x[0]) || !digit(y[0]) {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		var m, n string
		m, x = number(x)
		n, y = number(y)
		if c := cmp.Or(cmp.Compare(len(m), len(n)), cmp.Compare(m, n)); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(a, b))
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// number cuts the digits at the start of s off and drops their leading zeros.
func number(s string) (digits, rest string) {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return strings.TrimLeft(s[:n], "0"), s[n:]
}
