package rundir

import (
	"fmt"

	"advsweep/pipeline"
	"advsweep/record"
)

// A MismatchError says that two finished runs cannot be compared.
type MismatchError struct {
	A, B string // their folders
	Err  error  // in what they differ
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s and %s do not fit: %v", e.A, e.B, e.Err)
}

func (e *MismatchError) Unwrap() error { return e.Err }

// A Pair is two finished runs on the same images, compared where both have something.
type Pair struct {
	A, B  *record.Manifest
	Found *pipeline.Comparison
	Left  []string // what only one of them has, as pipeline.Common says it
}

// Compare reads the finished runs in dirA and dirB, and compares the attacks and eps that both
// have. Nothing is computed anew. It returns a *MismatchError if they are not of the same images.
func Compare(dirA, dirB string) (*Pair, error) {
	mA, foundA, err := Read(dirA)
	if err != nil {
		return nil, err
	}
	mB, foundB, err := Read(dirB)
	if err != nil {
		return nil, err
	}
	mismatch := func(format string, x, y any) error {
		return &MismatchError{dirA, dirB, fmt.Errorf(format, x, y)}
	}
	switch a, b := mA.Data, mB.Data; {
	case a.Offset != b.Offset:
		return nil, mismatch("images from index %v and from %v", a.Offset, b.Offset)
	case a.N != b.N:
		return nil, mismatch("%v images and %v", a.N, b.N)
	case a.SHA256 != b.SHA256:
		return nil, mismatch("other images or labels, sha256 %.12s and %.12s", a.SHA256, b.SHA256)
	case mA.Classes != mB.Classes:
		return nil, mismatch("a model of %v classes and one of %v", mA.Classes, mB.Classes)
	}
	x, y, left, err := pipeline.Common(foundA, foundB)
	if err != nil {
		return nil, &MismatchError{dirA, dirB, err}
	}
	found, err := pipeline.NewComparison(x, y)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", dirA, dirB, err)
	}
	return &Pair{mA, mB, found, left}, nil
}
