package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"advsweep/attack"
	"advsweep/certify"
	"advsweep/internal/ref"
	"advsweep/internal/words"
	"advsweep/pipeline"

	"github.com/spf13/cobra"
)

// certifyFlag is --certify: the method of certificates, or "".
func addCertify(c *cobra.Command, method *string) {
	c.Flags().StringVar(method, "certify", "", "also prove at which eps, in linf, each image is right whatever the perturbation: `METHOD` "+words.Or(certify.Methods())+";\nsee docs/certify.md")
}

// prover returns what proves margins of the model by a method, nil if that is "".
func (in *inputs) prover(method string) (pipeline.Prover, error) {
	if method == "" {
		return nil, nil
	}
	m, err := certify.ParseMethod(method)
	if err != nil {
		return nil, asUsage("certify", err)
	}
	return certify.New(in.model, m)
}

// A faultError says that an image is certified and misread: the program computes wrong.
type faultError struct {
	pipeline.Contradiction
	index  int     // in the data set
	margin float64 // of the perturbed image, in float64
	class  int
	label  int
}

func (e *faultError) Error() string {
	return fmt.Sprintf("image %d is %v: in float64 the perturbed image, within the ball, is class %d and not %d, margin %.6g. This is a fault of the program: please report it with the command and the files of --out",
		e.index, e.Contradiction, e.class, e.label, e.margin)
}

// confirm makes the perturbed image of each contradiction of res again, and asks the model of it in
// float64. It returns a *faultError if an image is misread there. Otherwise rounding to float32
// made the difference, which it says on w.
func (in *inputs) confirm(ctx context.Context, w io.Writer, s pipeline.Sweep, res *pipeline.Result) error {
	var turned []string
	for _, found := range res.Contradictions() {
		one, err := in.set.Slice(found.Image, 1)
		if err != nil {
			return err
		}
		made, err := pipeline.Craft(ctx, in.backend, one, found.Attack, found.Eps, s.Bounds)
		if err != nil {
			return err
		}
		lo, hi := s.Ball(ref.Float64s(made.Clean), found.Eps)
		x := ref.Float64s(made.Perturbed)
		for i := range x {
			x[i] = min(max(x[i], lo[i]), hi[i])
		}
		logits, _ := ref.Forward(in.model, x)
		class, margin, ok := attack.Judge(logits, made.Label)
		if !ok || class != made.Label {
			return &faultError{found, made.Index, margin, class, made.Label}
		}
		turned = append(turned, fmt.Sprint(made.Index))
	}
	if len(turned) > 0 {
		fmt.Fprintf(w, "advsweep: images that are certified and misread all the same: %s; in float64 they are right, so that the backend's rounding turned a margin near 0\n", strings.Join(turned, ", "))
	}
	return nil
}
