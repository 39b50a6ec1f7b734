package verdict

import (
	"fmt"
	"strings"
)

// String says f as check does, in one line.
func (f Finding) String() string {
	switch f.What {
	case CleanAccuracy:
		return f.clean()
	case EpsUnits:
		return fmt.Sprintf("eps %v is more than any image is from any other, %.4g in %s with pixels from %.4g to %.4g", f.Eps, f.Want, f.Attack.Norm, f.Bounds.Lo, f.Bounds.Hi)
	case BoundsUnits:
		return fmt.Sprintf("bounds %s hold nothing back: pixels lie from %.4g to %.4g", f.Bounds, f.Excess[0], f.Excess[1])
	case Finite:
		if f.Err != nil {
			return f.Err.Error()
		}
		return "every logit and gradient is a finite number"
	case AtZero:
		if f.Level == Pass {
			return "at eps 0 every attack leaves every image and its logits as they are"
		}
		return fmt.Sprintf("at eps 0 %d images are moved or judged otherwise", f.Only[0])
	case Ball:
		if f.Level == Pass {
			return fmt.Sprintf("at eps %.4g every perturbed image lies in its ball and within bounds %s", f.Eps, f.Bounds)
		}
		return fmt.Sprintf("at eps %.4g %d images leave the ball, by up to %.3g, or bounds %s, by up to %.3g",
			f.Eps, f.Only[0], f.Excess[0], f.Bounds, f.Excess[1])
	case BlackBox:
		return f.blackBox()
	case Iterated, Noise, OtherLoss:
		if f.Level == Pass {
			return fmt.Sprintf("%s fools at least as many images as %s at every eps", f.Attack.Label(), f.Other.Label())
		}
		s := fmt.Sprintf("at eps %.4g %d images are fooled by %s alone and %d by %s alone (chance of that %.2g)",
			f.Eps, f.Only[1], f.Other.Label(), f.Only[0], f.Attack.Label(), f.P)
		if f.Level == Warn {
			s += "; few enough to be chance"
		}
		return s
	case BetterThanNoise:
		s := fmt.Sprintf("at eps %.4g %d images withstand random signs and %d the attack", f.Eps, f.Right[1], f.Right[0])
		switch {
		case f.Level == Pass:
			return s
		case f.Only[0] == 0:
			return "no image is right as it is: there is nothing to attack"
		case f.Level == Warn:
			return s + fmt.Sprintf(": %d images that are right as they are are too few to tell", f.Only[0])
		}
		return s + ": nowhere is the attack better than chance"
	case AtFar:
		s := fmt.Sprintf("at eps %.4g %d of %d images are right under %s; chance is %.3g",
			f.Eps, f.Right[0], f.N, f.Attack.Label(), f.Want)
		if f.Level == Fail {
			s += ": gradients do not lead where any image could be reached"
		}
		return s
	case ZeroGradient:
		if f.Level == Pass {
			return "no image is right since its gradient is zero in every pixel"
		}
		return fmt.Sprintf("%d of %d images are right where their gradient is zero in every pixel, so that no step moves them: they were not attacked", f.Only[0], f.N)
	case Saturated:
		s := fmt.Sprintf("%d of %d images have a margin of logits above %.4g, where 1 - p is 0 in float32", f.Only[0], f.N, saturation)
		if f.Level == Warn {
			s += ": programs that differentiate softmax as it is written see no gradient there; advsweep does"
		}
		return s
	case Converged:
		s := fmt.Sprintf("twice the steps fool at most %d of %d images more, at eps %.4g", f.Only[0], f.N, f.Eps)
		if f.Level == Warn {
			s += ": more steps would find more"
		}
		return s
	case Monotone:
		if f.Level == Pass {
			return "no curve of an iterated attack rises with eps"
		}
		return fmt.Sprintf("%s: from eps %.4g to %.4g %d images become right and %d wrong (chance of that %.2g)",
			f.Attack.Label(), f.From, f.Eps, f.Only[0], f.Only[1], f.P)
	case MinAccuracy:
		return fmt.Sprintf("accuracy %.4g (%d of %d) at eps %.4g under the worst of all attacks, want at least %.4g",
			float64(f.Right[0])/float64(f.N), f.Right[0], f.N, f.Eps, f.Want)
	case MinCertified:
		return fmt.Sprintf("%.4g (%d of %d) certified at eps %.4g, want at least %.4g", float64(f.Right[0])/float64(f.N), f.Right[0], f.N, f.Eps, f.Want)
	default:
		return fmt.Sprintf("%s: check has no words for this question", f.What)
	}
}

// blackBox says f, of BlackBox.
func (f Finding) blackBox() string {
	other := f.Other.Label()
	if f.Level == Pass {
		return fmt.Sprintf("attacks along gradients fool every image that %s fools, at every eps", other)
	}
	s := fmt.Sprintf("at eps %.4g %s, which asks for no gradient, fools %d of %d images that no attack along gradients does, %s being the strongest of them",
		f.Eps, other, f.Only[1], f.N, f.Attack.Label())
	if f.P < 1 {
		s += fmt.Sprintf("; they alone fool %d (chance of that %.2g)", f.Only[0], f.P)
	}
	if f.Level == Fail {
		return s + ": gradients are masked"
	}
	return s + ": too few to say that gradients are masked, but these images are not as safe as gradients say"
}

// clean says f, of CleanAccuracy, with its causes.
func (f Finding) clean() string {
	s := fmt.Sprintf("%d of %d clean images are right; always the same answer gives %d", f.Right[0], f.N, f.Guess)
	switch {
	case f.Level == Fail:
		s = fmt.Sprintf("%d of %d clean images are right, no better than chance: always the same answer gives %d (chance of so many %.2g); nothing else here tells of the model", f.Right[0], f.N, f.Guess, f.P)
	case f.Level == Warn && f.P >= sure:
		s = fmt.Sprintf("%d of %d clean images are right, and always the same answer gives %d: more images, or of more labels, would tell the two apart", f.Right[0], f.N, f.Guess)
	}
	var why []string
	for _, c := range f.Causes {
		why = append(why, c.String())
	}
	if len(why) > 0 {
		s += "; likely cause: " + strings.Join(why, "; ")
	}
	return s
}

// String says what c is and what speaks for it.
func (c Cause) String() string {
	right := fmt.Sprintf("%d of %d are right", c.Right, c.N)
	switch c.Reason {
	case Shifted:
		return fmt.Sprintf("labels are shifted: with classes moved by %+d %s", c.Shift, right)
	case Permuted:
		return fmt.Sprintf("labels have another order than the model's classes: with the best order %s", right)
	case OneClass:
		return fmt.Sprintf("the model gives %d of %d images class %d", c.Right, c.N, c.Class)
	case PixelRange:
		return fmt.Sprintf("with pixels from %.6g to %.6g %s", c.Lo, c.Hi, right)
	case Divided:
		return "with pixels divided by 255 " + right
	case Rescaled:
		return "with the least pixel as 0 and the largest as 1 " + right
	case Normalised:
		return fmt.Sprintf("with pixels normalised by the mean and std of %s %s", c.Name, right)
	case Reversed:
		return "with channels in the order BGR " + right
	case CaffeOrder:
		return "with channels in the order BGR, from 0 to 255 and less the mean of Caffe's networks, " + right
	case Inverted:
		return "with black and white swapped " + right
	case Transposed:
		return "with rows and columns swapped " + right
	case ChannelsLast:
		return "with the channels of a pixel side by side (NHWC) " + right
	case Activation:
		return fmt.Sprintf("with %s between the layers %s", c.Name, right)
	default:
		return fmt.Sprintf("%s: check has no words for this cause", c.Reason)
	}
}
