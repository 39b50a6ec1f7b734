package onnx

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"advsweep/internal/remedy"
	"advsweep/model"
	"advsweep/model/internal/formats"
	"advsweep/model/onnx/internal/pb"
)

// An output is what of the graph is taken for the logits.
type output struct {
	name    string
	softmax *pb.NodeProto // that was taken off
	// squashed is the function of each score that was taken off, and half the score that it gives
	// for a logit of 0.
	squashed, half string
	notes          []string
}

// maxOutputs bounds how often a graph is walked through from its end.
const maxOutputs = 64

// squashers are functions that classifiers of one or several labels end with, with what they give
// for 0. Kept, they would make gradients small, and attacks look weak.
var squashers = map[string]string{"Sigmoid": "1/2", "Tanh": "0"}

// chooseOutput returns the value that holds the logits: what the only output of scores, or the one
// called ask.Output, is made from by softmax and the like. With ask.AsIs it is that output itself.
func chooseOutput(g *pb.GraphProto, ask model.Ask) (output, error) {
	want := ask.Output
	made := make(map[string]*pb.NodeProto)
	for _, n := range g.GetNode() {
		for _, o := range n.GetOutput() {
			made[o] = n
		}
	}
	if len(g.GetOutput()) == 0 {
		return output{}, errors.New("no outputs")
	}
	if n := len(g.GetOutput()); n > maxOutputs {
		return output{}, fmt.Errorf("%d outputs, want at most %d", n, maxOutputs)
	}
	var found, labels []output
	var names []string
	for _, o := range g.GetOutput() {
		names = append(names, formats.Quote(o.GetName()))
		if want != "" && o.GetName() != want {
			continue
		}
		t, classes := output{name: o.GetName()}, false
		if !ask.AsIs {
			t, classes = tailOf(made, o.GetName(), len(g.GetNode()))
		}
		to := &found
		if classes {
			to = &labels
		}
		if !slices.ContainsFunc(*to, func(o output) bool { return o.name == t.name }) {
			*to = append(*to, t)
		}
	}
	all := strings.Join(names[:min(len(names), 8)], ", ")
	if want != "" {
		if found = append(found, labels...); len(found) == 0 {
			return output{}, remedy.Want(remedy.Output, fmt.Errorf("no output %s, want one of %s", formats.Quote(want), all))
		}
		return found[0], nil
	}
	if len(found) == 0 {
		found = labels
	}
	if len(found) > 1 {
		return output{}, remedy.Want(remedy.Output, fmt.Errorf("outputs %s, and which is the logits cannot be told: name one, or export the model with one", all))
	}
	if len(names) > 1 {
		found[0].notes = append(found[0].notes, fmt.Sprintf("of the outputs %s the logits are those that %s is made of", all, formats.Quote(found[0].name)))
	}
	return found[0], nil
}

// tailOf walks back from an output over what follows the logits. classes says that the output is a
// class, and not scores.
func tailOf(made map[string]*pb.NodeProto, name string, most int) (o output, classes bool) {
	o.name = name
	class := name // walks on through what follows the choice of a class
	for range most {
		n := made[class]
		if n == nil || len(n.GetInput()) == 0 {
			break
		}
		next := n.GetInput()[0]
		switch n.GetOpType() {
		case "ArgMax":
			o.name, classes = next, true
			o.notes = append(o.notes, "ArgMax at the end is left out")
		case "LinearClassifier": // the first output is the class, the second the scores
			if class == n.GetOutput()[0] && len(n.GetOutput()) > 1 {
				o.name, classes = n.GetOutput()[1], true
			}
			next = ""
		case "ArrayFeatureExtractor": // sklearn's label of a class
			if len(n.GetInput()) < 2 {
				return o, classes
			}
			next = n.GetInput()[1]
		case "Cast", "Reshape", "Squeeze", "LabelEncoder":
		default:
			next = ""
		}
		if class = next; classes || class == "" {
			break
		}
	}
	for range most {
		n := made[o.name]
		if n == nil || len(n.GetInput()) == 0 || o.name != n.GetOutput()[0] {
			break
		}
		op := n.GetOpType()
		half, squashes := squashers[op]
		switch {
		case op == "Softmax" || op == "LogSoftmax":
			o.softmax = n
			o.notes = append(o.notes, op+" at the end is left out")
		case squashes:
			o.squashed, o.half = op, half
			o.notes = append(o.notes, op+" at the end is left out")
		case op == "ZipMap" || op == "Normalizer" && strings.HasPrefix(n.GetDomain(), "ai.onnx.ml"):
			o.notes = append(o.notes, op+" at the end is left out")
		case op == "Identity" || op == "Cast":
		default:
			return o, classes
		}
		o.name = n.GetInput()[0]
		if o.softmax != nil || squashes {
			return o, classes
		}
	}
	return o, classes
}
