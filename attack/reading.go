package attack

// A Reading is what is read off the walk of one image at each of a list of eps [E], besides the
// walk. What it does not tell, as rounding might decide, is open: a forward pass has to tell.
type Reading struct {
	Walk
	Margin float32 // of the clean image: z_label - max_{j≠label} z_j
	Lowest int32   // the class with the smallest logit but the label, the first one on a tie
	// Classes [E] are what the model gives the perturbed image, or Open.
	Classes []int32
	// Rounded [E] is 1 where the image is given its label once its pixels are rounded to 8 bits,
	// see backend.Rounding, 0 where it is not, or Open; nil if not asked.
	Rounded []int8
	// Least is the least margin at any eps of the list, and At its place in the list, the first one
	// on a tie. At is Open where all classes are.
	Least float32
	At    int
	Norms []Norms // [E], of the perturbation; nil where all is open
}

// Open stands for what a Reading leaves open.
const Open = -1
