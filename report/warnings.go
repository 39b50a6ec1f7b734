package report

import (
	"fmt"
	"strconv"
	"strings"

	"advsweep/pipeline"
	"advsweep/verdict"
)

// Warnings says in plain words what a reader of r should know before believing it, as
// verdict.Warnings finds it: each is a sentence or two. r is of curves that are Known.
func Warnings(r *pipeline.Result) []string {
	var out []string
	for _, f := range verdict.Warnings(r) {
		out = append(out, sentence(f, r.Classes))
	}
	return out
}

// sentence says f, of a sweep with so many classes.
func sentence(f verdict.Finding, classes int) string {
	name, eps := "", short(f.Eps)
	if f.Attack.Kind != "" {
		name = f.Attack.Label()
	}
	switch f.What {
	case verdict.CleanAccuracy:
		s := fmt.Sprintf("The model is no better than chance on the clean images: %d of %d are right, and always the same answer gives %d. Its robustness says nothing.",
			f.Right[0], f.N, f.Guess)
		for _, c := range f.Causes {
			s += " Likely cause: " + c.String() + "."
		}
		return s + " 'advsweep check' looks for causes."
	case verdict.AtZero:
		if f.Right[0] == f.Right[1] {
			return fmt.Sprintf("%s: at eps 0, where nothing may move, %s moved or judged otherwise.", name, plural(f.Only[0], "image is", "images are"))
		}
		return fmt.Sprintf("%s: at eps 0, where nothing may move, %d images are right instead of %d.", name, f.Right[0], f.Right[1])
	case verdict.Monotone:
		return fmt.Sprintf("%s: accuracy rises from %d of %d at eps %s to %d at eps %s. A larger eps allows all that a smaller one does, so the attack is at fault, not the model: trust the curve within eps.",
			name, f.Right[0], f.N, short(f.From), f.Right[1], eps)
	case verdict.ShortSteps:
		return fmt.Sprintf("%s: %s of %s %s not reach eps %s: the model looks stronger than it is.", name, plural(f.Attack.Steps, "step", "steps"), f.Attack.StepSize(),
			map[bool]string{true: "does", false: "do"}[f.Attack.Steps == 1], eps)
	case verdict.ZeroGradient:
		return fmt.Sprintf("%s: %s right where the gradient is zero in every pixel, so that no step moves them: they were not attacked, and being right says nothing of them.",
			name, plural(f.Only[0], "image is", "images are"))
	case verdict.ExactEnds:
		return fmt.Sprintf("%s: %d of %d ends of the exact curve disagree with a forward pass beside them: do not trust it.", name, f.Only[0], f.N)
	case verdict.Noise:
		return fmt.Sprintf("%s is weaker than %s at eps %s: %d images are right under the attack and %d under the control. It has found nothing that chance does not find: the gradient may be masked, which 'advsweep check' looks into.",
			name, f.Other.Label(), eps, f.Right[0], f.Right[1])
	case verdict.Iterated:
		return fmt.Sprintf("%s is weaker than one step of %s at eps %s (%d against %d images are right), which an iterated attack should not be: the gradient may be masked, which 'advsweep check' looks into, or the steps too few.",
			name, f.Other.Label(), eps, f.Right[0], f.Right[1])
	case verdict.BlackBox:
		var images []string
		for _, i := range f.Images {
			images = append(images, strconv.Itoa(i))
		}
		return fmt.Sprintf("%s, which asks for no gradient, fools %s at eps %s that no attack along gradients does, %s being the strongest of them. The gradient is masked, and accuracy under those attacks says too much. The images: %s.",
			f.Other.Label(), plural(f.Only[1], "image", "images"), eps, name, list(images, 12))
	case verdict.NoAttack:
		return "No attack looks at the model: random noise alone says nothing of an adversary."
	case verdict.NoControl:
		return "There is no noise to compare with: with noise in the list of attacks one sees what they find beyond chance."
	case verdict.AboveChance:
		return fmt.Sprintf("At the largest eps, %s, the strongest attack, %s, leaves %d of %d images right, above chance. A larger eps would show whether it can fool the rest.",
			eps, name, f.Right[0], f.N)
	default: // what check says is true on a page too
		return f.String()
	}
}

// list names things up to a number of them: "3, 17 and 5 more".
func list(items []string, most int) string {
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}
