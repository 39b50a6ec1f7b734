package vnnlib

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
)

// WriteWitness writes a counterexample as the competition takes it: "sat", and then each input of x
// and output of y with its number, as in ((X_0 0.5) (Y_0 1)), a line for each. Numbers are written
// so that they are read back to the bit.
func WriteWitness(w io.Writer, x, y []float64) error {
	b := bufio.NewWriter(w)
	open := "sat\n(("
	for k, side := range [][]float64{x, y} {
		letter := sides[k == 1].letter
		for i, v := range side {
			fmt.Fprintf(b, "%s%s_%d %s)", open, letter, i, strconv.FormatFloat(v, 'g', -1, 64))
			open = "\n("
		}
	}
	b.WriteString(")\n")
	return b.Flush()
}
