package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"advsweep/attack"
)

// A form is how chunks of a sweep write down what they have found, and read it again. All numbers
// are little-endian; a count or a class is a uvarint unless it says otherwise.
//
//	look    for each image label, class, least likely class as uint32, margin as float32.
//	walk    for each image label, class, a byte that is 1 if its gradient is zero, the number of
//	        its intervals and their ends as float64, Ends, Within as float64, the number of those
//	        that disagreed and where as float64.
//	        With a reading, then least likely class, margin as float32, the least margin as float32
//	        and its place in eps, the classes as runs and, if the sweep rounds, whether it is right
//	        once rounded as runs of 0 and 1. A run is its length and its value; runs go on to the
//	        last eps. Behind all images stand the sums of the norms over the images, three float64
//	        for each eps.
//	strike  for each image a byte that is 1 if its norms follow from a count of pixels, and if so
//	        the count as uint32. Then bits that are 1 at each eps where a gradient was zero, filled
//	        up to whole bytes, and for each eps class, rounded class if the sweep rounds, margin as
//	        float32 and, unless they follow, the norms as two float32 and a uint32. A class takes
//	        one byte, two or four, as the model has classes. Under an attack in L1 that norm as float32
//	        stands behind them, under a staged attack the stage as a byte and the passes as uint32, and
//	        under an attack toward all other classes the number of those that were reached, and these,
//	        rising.
//	prove   for each image the largest eps that is proven as float64, or -1.
//
// Norms follow where an attack moves pixels by eps or not at all: without bounds along a ray.
// Neither a margin nor a norm that is not a number is read, nor a class that the model has not.
type form struct {
	Sweep
	classes int
	width   int // bytes of a class in a strike
}

func (s Sweep) formOf(classes int) form {
	f := form{s, classes, 4}
	switch {
	case classes <= 1<<8:
		f.width = 1
	case classes <= 1<<16:
		f.width = 2
	}
	return f
}

func (r *sweeping) form() form { return r.formOf(r.b.Info().Classes) }

// appendLook appends the record of a look at one image.
func appendLook(to []byte, im Clean) []byte {
	for _, v := range []uint32{uint32(im.Label), uint32(im.Class), uint32(im.Least), math.Float32bits(im.Margin)} {
		to = binary.LittleEndian.AppendUint32(to, v)
	}
	return to
}

func appendCount[N int | int32](to []byte, n N) []byte { return binary.AppendUvarint(to, uint64(n)) }

func appendFloat(to []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint64(to, math.Float64bits(v))
}

func appendFloat32(to []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(to, math.Float32bits(v))
}

// appendRuns appends values as runs.
func appendRuns[V int8 | int32](to []byte, values []V) []byte {
	for from := 0; from < len(values); {
		n := from + 1
		for n < len(values) && values[n] == values[from] {
			n++
		}
		to = appendCount(appendCount(to, n-from), int32(values[from]))
		from = n
	}
	return to
}

// appendWalk appends w but for what a reading has besides.
func appendWalk(to []byte, label int32, w *attack.Walk) []byte {
	to = appendCount(appendCount(to, label), w.Class)
	zero := byte(0)
	if w.Zero {
		zero = 1
	}
	to = appendCount(append(to, zero), len(w.Correct))
	for _, v := range w.Correct {
		to = appendFloat(appendFloat(to, v.Lo), v.Hi)
	}
	to = appendFloat(appendCount(to, w.Ends), w.Within)
	to = appendCount(to, len(w.Disagreed))
	for _, v := range w.Disagreed {
		to = appendFloat(to, v)
	}
	return to
}

// walk is the record of walks [n] of images with these labels.
func (f form) walk(labels []int32, walks []attack.Walk) (to []byte) {
	for i := range walks {
		to = appendWalk(to, labels[i], &walks[i])
	}
	return to
}

// reading is the record of readings [n] of images with these labels, of which nothing is open.
func (f form) reading(labels []int32, read []attack.Reading) (to []byte) {
	sums := make([]MeanNorms, len(f.Eps))
	for i := range read {
		v := &read[i]
		to = appendWalk(to, labels[i], &v.Walk)
		to = appendFloat32(appendCount(to, v.Lowest), v.Margin)
		to = appendCount(appendFloat32(to, v.Least), v.At)
		to = appendRuns(to, v.Classes)
		if f.Rounded {
			to = appendRuns(to, v.Rounded)
		}
		for e, n := range v.Norms {
			sums[e].add(n)
		}
	}
	for _, s := range sums {
		to = appendFloat(appendFloat(appendFloat(to, s.Linf), s.L2), s.L0)
	}
	return to
}

// strike is the record of outcomes [n, E] of c, with what was reached [n, E] toward all other
// classes; nil under another attack.
func (f form) strike(c Chunk, found []Outcome, reached [][]int32) (to []byte) {
	E, staged, inL1 := c.To-c.From, f.Attacks[c.Attack].Staged(), f.Attacks[c.Attack].Norm == attack.L1
	for ; len(found) > 0; found = found[E:] {
		row := found[:E]
		pixels, follows := f.pixels(c, row)
		if follows {
			to = binary.LittleEndian.AppendUint32(append(to, 1), uint32(pixels))
		} else {
			to = append(to, 0)
		}
		bits := make([]byte, (E+7)/8)
		for e := range row {
			if row[e].Zero {
				bits[e/8] |= 1 << (e % 8)
			}
		}
		to = append(to, bits...)
		for e, o := range row {
			to = f.appendClass(to, o.Class)
			if f.Rounded {
				to = f.appendClass(to, o.Rounded)
			}
			if to = appendFloat32(to, o.Margin); !follows {
				to = appendFloat32(appendFloat32(to, o.Linf), o.L2)
				to = binary.LittleEndian.AppendUint32(to, uint32(o.L0))
			}
			if inL1 {
				to = appendFloat32(to, o.L1)
			}
			if staged {
				to = binary.LittleEndian.AppendUint32(append(to, o.Stage), o.Passes)
			}
			if reached != nil {
				to = appendCount(to, len(reached[e]))
				for _, class := range reached[e] {
					to = f.appendClass(to, class)
				}
			}
		}
		if reached != nil {
			reached = reached[E:]
		}
	}
	return to
}

// least returns the fewest bytes that an image takes in the records of c.
func (f form) least(c cut) int {
	rounded := 0
	if f.Rounded {
		rounded = 1
	}
	switch c.kind {
	case Look:
		return 4 * 4
	case Prove:
		return 8
	case Walk:
		n := 1 + 1 + 1 + 1 + 1 + 8 + 1
		if c.eps > 0 {
			n += 1 + 4 + 4 + 1 + 2 + 2*rounded
		}
		return n
	case Strike:
		n := 1 + 4 + (c.eps+7)/8 + c.eps*(f.width*(1+rounded)+4)
		if f.Attacks[c.attack].Target == attack.All {
			n += c.eps
		}
		return n
	}
	panic(fmt.Sprintf("pipeline: a cut of kind %d", c.kind)) // cuts makes no other
}

func (f form) appendClass(to []byte, class int32) []byte {
	return binary.LittleEndian.AppendUint32(to, uint32(class))[:len(to)+f.width]
}

// pixels returns how many pixels of an image move, if the norms of its outcomes at the eps of c
// follow from that.
func (f form) pixels(c Chunk, row []Outcome) (n int32, follows bool) {
	norms := make([]attack.Norms, len(row))
	for e := range row {
		norms[e] = row[e].Norms
	}
	return f.pixelsOf(c, norms)
}

// follow writes the norms [E] of one image as they follow from how many pixels move, if they do.
func (f form) follow(c Chunk, norms []attack.Norms) {
	if n, ok := f.pixelsOf(c, norms); ok {
		for e := range norms {
			norms[e] = movedBy(f.Eps[c.From+e], n)
		}
	}
}

func (f form) pixelsOf(c Chunk, norms []attack.Norms) (n int32, follows bool) {
	if !f.Bounds.None() || !Rays(f.Attacks[c.Attack]) {
		return 0, false
	}
	for _, v := range norms {
		n = max(n, v.L0)
	}
	for e, o := range norms {
		want := movedBy(f.Eps[c.From+e], n)
		// Pixels of x0 + eps are rounded to float32, 6e-8 relative to them.
		if o.L0 != want.L0 || !nearly(o.Linf, want.Linf) || !nearly(o.L2, want.L2) {
			return 0, false
		}
	}
	return n, true
}

// nearly reports whether two norms are alike but for what rounding the pixels does.
func nearly(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-5*float64(b) }

// movedBy are the norms of a perturbation of n pixels by eps.
func movedBy(eps float64, n int32) attack.Norms {
	if eps == 0 || n == 0 {
		return attack.Norms{}
	}
	return attack.Norms{Linf: float32(eps), L2: float32(eps * math.Sqrt(float64(n))), L0: n}
}

// A decoder takes a record apart. After the first thing that cannot be it has an error, and all
// that it returns is 0.
type decoder struct {
	p   []byte
	err error
}

var errShort = errors.New("its record is too short")

func (d *decoder) fail(err error) {
	if d.err == nil && err != nil {
		d.err, d.p = err, nil
	}
}

// take returns the next n bytes, or zeros.
func (d *decoder) take(n int) []byte {
	if len(d.p) < n {
		d.fail(errShort)
		return make([]byte, n)
	}
	p := d.p[:n]
	d.p = d.p[n:]
	return p
}

func (d *decoder) uint32() uint32   { return binary.LittleEndian.Uint32(d.take(4)) }
func (d *decoder) float32() float32 { return math.Float32frombits(d.uint32()) }
func (d *decoder) float() float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(d.take(8)))
}

// margin returns the next float32, which is a number.
func (d *decoder) margin() float32 {
	v := d.float32()
	if v != v {
		d.fail(errors.New("a margin that is not a number"))
		return 0
	}
	return v
}

// size returns the next float64, which is a number of at least 0.
func (d *decoder) size() float64 { return d.sized(d.float()) }

func (d *decoder) sized(v float64) float64 {
	if !(v >= 0) {
		d.fail(fmt.Errorf("%v where at least 0 is wanted", v))
		return 0
	}
	return v
}

// pixels returns the next uint32, a count of pixels.
func (d *decoder) pixels() int32 {
	v := d.uint32()
	if v > math.MaxInt32 {
		d.fail(fmt.Errorf("%d pixels, want up to %d", v, math.MaxInt32))
		return 0
	}
	return int32(v)
}

// below returns the next count, which is below limit.
func (d *decoder) below(limit int) int {
	v, n := binary.Uvarint(d.p)
	switch {
	case n <= 0:
		d.fail(errShort)
		return 0
	case v >= uint64(limit):
		d.fail(fmt.Errorf("%d where 0 to %d is wanted", v, limit-1))
		return 0
	}
	d.p = d.p[n:]
	return int(v)
}

// class checks a class.
func (d *decoder) class(v uint32, classes int) int32 {
	if v >= uint32(classes) {
		d.fail(fmt.Errorf("class %d, want 0 to %d", int32(v), classes-1))
		return 0
	}
	return int32(v)
}

// runs fills values [E], each below limit, from runs.
func (d *decoder) runs(values []int32, limit int) {
	for from := 0; from < len(values) && d.err == nil; {
		n := d.below(len(values) - from + 1)
		if n == 0 {
			d.fail(errors.New("a run of length 0"))
			return
		}
		v := int32(d.below(limit))
		for e := range n {
			values[from+e] = v
		}
		from += n
	}
}

// end returns the error of d, or one if something is left.
func (d *decoder) end() error {
	if d.err == nil && len(d.p) > 0 {
		return fmt.Errorf("its record has %d bytes too many", len(d.p))
	}
	return d.err
}

// looks reads the record of c, a Look, and calls found for each of its images. It returns an error,
// perhaps after some calls, if c cannot have found that.
func (f form) looks(c Chunk, payload []byte, found func(image int, im Clean)) error {
	d := &decoder{p: payload}
	for image := c.Lo; image < c.Hi && d.err == nil; image++ {
		im := Clean{d.class(d.uint32(), f.classes), d.class(d.uint32(), f.classes), d.class(d.uint32(), f.classes), d.margin()}
		if d.err == nil {
			found(image, im)
		}
	}
	return d.end()
}

// A rayRecord is what a record of walks says of one image at the eps. It is valid during a call of
// found.
type rayRecord struct {
	classes, rounded []int32 // [E]; rounded is nil where that was not asked
	zero             bool
	least            float32
	at               int
}

// newRays makes room for n rays of E eps.
func newRays(n, E int, rounded bool) []Ray {
	rays, classes := make([]Ray, n), make([]int32, n*E)
	var right []bool
	if rounded {
		right = make([]bool, n*E)
	}
	for i := range rays {
		rays[i].Classes = classes[i*E:][:E:E]
		if rounded {
			rays[i].Rounded = right[i*E:][:E:E]
		}
	}
	return rays
}

// fill writes r to ray, which has room.
func (r *rayRecord) fill(ray *Ray) {
	copy(ray.Classes, r.classes)
	for e, v := range r.rounded {
		ray.Rounded[e] = v == 1
	}
	ray.Zero, ray.Least, ray.At = r.zero, r.least, r.at
}

// walks reads the record of c, a Walk, and calls found for each of its images: with a ray if the
// sweep reads its attack, and else with nil. sums are those of the norms at each eps [E], or nil.
// It returns an error, perhaps after some calls, if c cannot have found that.
func (f form) walks(c Chunk, payload []byte, found func(image int, im Clean, w attack.Walk, ray *rayRecord)) (sums []MeanNorms, err error) {
	d, E, reads := &decoder{p: payload}, len(f.Eps), f.reads(f.Attacks[c.Attack])
	most := len(payload) + 1 // of what takes a byte at least
	var ray *rayRecord
	if reads {
		ray = &rayRecord{classes: make([]int32, E)}
		if f.Rounded {
			ray.rounded = make([]int32, E)
		}
	}
	for image := c.Lo; image < c.Hi && d.err == nil; image++ {
		im := Clean{Label: int32(d.below(f.classes)), Class: int32(d.below(f.classes))}
		w := attack.Walk{Class: int(im.Class), Zero: d.below(2) == 1}
		for range d.below(most) {
			if d.err == nil {
				w.Correct = append(w.Correct, attack.Interval{Lo: d.float(), Hi: d.float()})
			}
		}
		w.Ends, w.Within = d.below(math.MaxInt32), d.size()
		for range d.below(most) {
			if d.err == nil {
				w.Disagreed = append(w.Disagreed, d.size())
			}
		}
		if reads {
			im.Least, im.Margin = int32(d.below(f.classes)), d.margin()
			ray.least, ray.at, ray.zero = d.margin(), d.below(E), w.Zero
			d.runs(ray.classes, f.classes)
			d.runs(ray.rounded, 2)
		}
		if d.err == nil {
			d.fail(checkIntervals(w.Correct, f.Eps[E-1]))
		}
		if d.err == nil {
			found(image, im, w, ray)
		}
	}
	if reads && d.err == nil {
		sums = make([]MeanNorms, E)
		for e := range sums {
			sums[e] = MeanNorms{Linf: d.size(), L2: d.size(), L0: d.size()}
		}
	}
	return sums, d.end()
}

// checkIntervals returns an error unless all rise, do not overlap, and lie in [0, most].
func checkIntervals(all []attack.Interval, most float64) error {
	last := 0.0
	for k, v := range all {
		if !(v.Lo >= last && v.Lo <= v.Hi && v.Hi <= most) || k > 0 && v.Lo == last {
			return fmt.Errorf("interval %v behind %v, up to %v", v, last, most)
		}
		last = v.Hi
	}
	return nil
}

// strikes reads the record of c, a Strike, and calls found for each of its images at each of its
// eps, e being the place in Sweep.Eps, with the classes that were reached of an attack toward all
// others. It returns an error, perhaps after some calls, if c cannot have found that.
func (f form) strikes(c Chunk, payload []byte, found func(image, e int, o Outcome, reached []int32)) error {
	a := f.Attacks[c.Attack]
	d, E, stages := &decoder{p: payload}, c.To-c.From, len(a.Stages(f.classes))
	for image := c.Lo; image < c.Hi && d.err == nil; image++ {
		follows, n := d.below(2) == 1, int32(0)
		if follows {
			n = d.pixels()
		}
		bits := d.take((E + 7) / 8)
		for e := c.From; e < c.To && d.err == nil; e++ {
			o := Outcome{Class: d.strikeClass(f), Rounded: -1, Zero: bits[(e-c.From)/8]>>((e-c.From)%8)&1 == 1}
			if f.Rounded {
				o.Rounded = d.strikeClass(f)
			}
			if o.Margin = d.margin(); follows {
				o.Norms = movedBy(f.Eps[e], n)
			} else {
				o.Norms = attack.Norms{Linf: float32(d.sized(float64(d.float32()))), L2: float32(d.sized(float64(d.float32()))), L0: d.pixels()}
			}
			if f.Attacks[c.Attack].Norm == attack.L1 {
				o.L1 = float32(d.sized(float64(d.float32())))
			}
			if stages > 0 {
				if o.Stage = d.take(1)[0]; int(o.Stage) > stages {
					d.fail(fmt.Errorf("stage %d, want 0 to %d", o.Stage, stages))
				}
				o.Passes = d.uint32()
			}
			var reached []int32
			if a.Target == attack.All {
				reached = d.reached(f)
			}
			if d.err == nil {
				found(image, e, o, reached)
			}
		}
	}
	return d.end()
}

// reached returns the next classes, which rise; nil if there are none.
func (d *decoder) reached(f form) (classes []int32) {
	for range d.below(f.classes) {
		class := d.strikeClass(f)
		if n := len(classes); n > 0 && classes[n-1] >= class {
			d.fail(fmt.Errorf("class %d is reached behind class %d, want them to rise", class, classes[n-1]))
		}
		if d.err != nil {
			return nil
		}
		classes = append(classes, class)
	}
	return classes
}

func (d *decoder) strikeClass(f form) int32 {
	var v [4]byte
	copy(v[:], d.take(f.width))
	return d.class(binary.LittleEndian.Uint32(v[:]), f.classes)
}
