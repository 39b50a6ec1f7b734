package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"advsweep/attack"
)

// Help texts about attacks are made of attack.Methods, so that a new one stands in them.

// otherNames ends the help of a list of attacks: what else an attack may be called.
const otherNames = ";\nnames of Foolbox, torchattacks, ART and papers are understood too, in any case: FGSM, I-FGSM, PGDL2"

// madeOf says what composites are: "worst: of each image the worst of …". It begins a line of the
// help of a list of attacks.
func madeOf() (s string) {
	for _, m := range attack.Methods {
		if f := m.Facts(); f.Composite {
			s += ";\n" + f.Name() + ": " + f.About
		}
	}
	return s
}

// takers names the attacks that take an option, kinds of one family by one word: "mifgsm and
// nifgsm".
func takers(option string) string {
	var names []string
	for _, m := range attack.Methods {
		if f := m.Facts(); f.Takes(option) {
			names = append(names, family(f))
		}
	}
	return both(slices.Compact(names))
}

// normTakers says which attacks have a norm that not all have: "; l1: apgd, fab and fmn".
func normTakers() (s string) {
	for _, n := range []attack.Norm{attack.L1, attack.L0} {
		var names []string
		for _, m := range attack.Methods {
			if f := m.Facts(); !f.Composite && f.Has(n) && !slices.Contains(names, family(f)) {
				names = append(names, family(f))
			}
		}
		s += fmt.Sprintf(";\n%v: %s", n, both(names))
	}
	return s
}

func family(f attack.Facts) string { return cmp.Or(f.Family, f.Name()) }

// both joins words as in "a, b and c".
func both(words []string) string {
	if n := len(words); n > 1 {
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
	return strings.Join(words, "")
}

// defaultSteps says what --steps is if it is not given: "bim 5, mifgsm and nifgsm 10, pgd 40, apgd
// 100".
func defaultSteps() string {
	names := map[int][]string{}
	var steps []int
	for _, m := range attack.Methods {
		f := m.Facts()
		if k := f.Default.Steps; f.Takes("steps") && !slices.Contains(names[k], family(f)) {
			names[k] = append(names[k], family(f))
			steps = append(steps, k)
		}
	}
	slices.Sort(steps)
	var all []string
	for _, k := range slices.Compact(steps) {
		all = append(all, fmt.Sprint(both(names[k]), " ", k))
	}
	return strings.Join(all, ", ")
}

// defaultSizes says what --step is if it is not given: "eps/k, pgd 2.5*eps/k; apgd adapts it".
func defaultSizes() string {
	sizes := []string{"eps/k"}
	var adapts []string
	for _, m := range attack.Methods {
		f := m.Facts()
		size := f.Default.StepSize()
		switch {
		case f.Takes("step") && size != "eps/k":
			sizes = append(sizes, family(f)+" "+size)
		case f.Default.Adaptive:
			adapts = append(adapts, family(f))
		}
	}
	s := strings.Join(sizes, ", ")
	if adapts = slices.Compact(adapts); len(adapts) > 0 {
		s += "; " + both(adapts) + " adapts it"
	}
	return s
}

// ownLosses names the attacks whose loss is no option: "eot and apgd".
func ownLosses() string {
	var names []string
	for _, m := range attack.Methods {
		if f := m.Facts(); f.OwnLoss {
			names = append(names, family(f))
		}
	}
	return both(slices.Compact(names))
}

// defaultLosses says what --loss is, if it is not given, of attacks for which it is not ce: "; mine
// cw", empty if there are none.
func defaultLosses() string {
	var s string
	for _, m := range attack.Methods {
		if f := m.Facts(); f.Takes("loss") && f.Default.Loss != attack.CrossEntropy {
			s += "; " + family(f) + " " + f.Default.Loss.String()
		}
	}
	return s
}
