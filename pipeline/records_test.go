package pipeline

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/cpu"
	"advsweep/dataset"
	"advsweep/internal/ref"

	"gorgonia.org/tensor"
)

// manyClasses are counts of classes on either side of each width of a class.
var manyClasses = []int{2, 10, 127, 128, 255, 256, 257, 300, 65535, 65536, 65537, 100_000}

// recorded is a random form and a chunk of that kind, without images. attack is its only one, or
// stands before the worst of all.
func recorded(r *rand.Rand, kind Kind, a attack.Attack, worst bool) (form, Chunk) {
	s := Sweep{Attacks: []attack.Attack{a}, Exact: kind == Walk, Rounded: r.IntN(2) == 0}
	if worst {
		s.Attacks = append(s.Attacks, attack.Worst())
	}
	if r.IntN(2) == 0 {
		s.Bounds = attack.Bounds{Lo: 0, Hi: 1}
	}
	at := float64(r.IntN(2)) * r.Float64()
	for range 1 + r.IntN(20) {
		s.Eps = append(s.Eps, at)
		at += r.Float64() + 1e-9
	}
	c := Chunk{Kind: kind, Lo: r.IntN(10), To: len(s.Eps)}
	c.Hi = c.Lo + 1 + r.IntN(6)
	if kind == Strike {
		c.From = r.IntN(c.To)
		c.To = c.From + 1 + r.IntN(c.To-c.From)
	}
	return s.formOf(manyClasses[r.IntN(len(manyClasses))]), c
}

// anyWalk is a random walk up to most: of no interval, or of many, of which each may be a point.
func anyWalk(r *rand.Rand, classes int, most float64) attack.Walk {
	w := attack.Walk{Class: r.IntN(classes), Zero: r.IntN(3) == 0, Ends: r.IntN(1000), Within: r.Float64() * 1e-7}
	var ends []float64
	for range 2 * []int{0, 1, 2, 200}[r.IntN(4)] {
		ends = append(ends, r.Float64()*most)
	}
	slices.Sort(ends)
	ends = slices.Compact(ends)
	for k := 0; k+1 < len(ends); k += 2 {
		v := attack.Interval{Lo: ends[k], Hi: ends[k+1]}
		if r.IntN(5) == 0 {
			v.Hi = v.Lo
		}
		w.Correct = append(w.Correct, v)
	}
	if len(ends) > 1 && r.IntN(2) == 0 { // the whole ray belongs to the first and the last
		w.Correct[0].Lo = 0
		w.Correct[len(w.Correct)-1].Hi = most
	}
	for _, v := range ends {
		if r.IntN(4) == 0 {
			w.Disagreed = append(w.Disagreed, v)
		}
	}
	return w
}

func anyFloat32(r *rand.Rand) float32 {
	return []float32{0, 1, -1, math.MaxFloat32, float32(math.Inf(1)), float32(r.NormFloat64())}[r.IntN(6)]
}

// runsOf is E random values below limit, in runs.
func runsOf[V int8 | int32](r *rand.Rand, E, limit int) []V {
	values := make([]V, E)
	v := V(r.IntN(limit))
	for e := range values {
		if r.IntN(3) == 0 {
			v = V(r.IntN(limit))
		}
		values[e] = v
	}
	return values
}

// TestLooks, TestWalks, TestReadings and TestStrikes write random values of every width, and read
// them again.
func TestLooks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		f, c := recorded(r, Look, attack.FGSM(), true)
		var want, got []Clean
		var p []byte
		for range c.Hi - c.Lo {
			im := Clean{int32(r.IntN(f.classes)), int32(r.IntN(f.classes)), int32(r.IntN(f.classes)), anyFloat32(r)}
			want, p = append(want, im), appendLook(p, im)
		}
		err := f.looks(c, p, func(image int, im Clean) {
			if image != c.Lo+len(got) {
				t.Fatalf("image %d, want %d", image, c.Lo+len(got))
			}
			got = append(got, im)
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d classes: %v, %v; want %v", f.classes, got, err, want)
		}
	}
}

func TestWalks(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for range 300 {
		f, c := recorded(r, Walk, attack.FGSM(), true)
		var labels []int32
		var want []attack.Walk
		for range c.Hi - c.Lo {
			labels, want = append(labels, int32(r.IntN(f.classes))), append(want, anyWalk(r, f.classes, f.Eps[len(f.Eps)-1]))
		}
		k := 0
		sums, err := f.walks(c, f.walk(labels, want), func(image int, im Clean, w attack.Walk, ray *rayRecord) {
			if image != c.Lo+k || im != (Clean{Label: labels[k], Class: int32(want[k].Class)}) || !reflect.DeepEqual(w, want[k]) || ray != nil {
				t.Fatalf("%d classes: image %d: %+v, %+v, %v; want %+v", f.classes, image, im, w, ray, want[k])
			}
			k++
		})
		if err != nil || k != len(want) || sums != nil {
			t.Fatalf("%d classes: %d of %d walks, sums %v: %v", f.classes, k, len(want), sums, err)
		}
	}
}

func TestReadings(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	for range 300 {
		f, c := recorded(r, Walk, attack.FGSM(), false)
		for f.Eps[len(f.Eps)-1] == 0 { // no walk
			f, c = recorded(r, Walk, attack.FGSM(), false)
		}
		E := len(f.Eps)
		var labels []int32
		var read []attack.Reading
		want := make([]MeanNorms, E)
		for range c.Hi - c.Lo {
			v := attack.Reading{Walk: anyWalk(r, f.classes, f.Eps[E-1]), Margin: anyFloat32(r), Lowest: int32(r.IntN(f.classes)),
				Classes: runsOf[int32](r, E, f.classes), Least: anyFloat32(r), At: r.IntN(E), Norms: make([]attack.Norms, E)}
			if f.Rounded {
				v.Rounded = runsOf[int8](r, E, 2)
			}
			for e := range v.Norms {
				n := attack.Norms{Linf: r.Float32(), L2: r.Float32(), L0: int32(r.IntN(1000))}
				v.Norms[e] = n
				want[e].Linf, want[e].L2, want[e].L0 = want[e].Linf+float64(n.Linf), want[e].L2+float64(n.L2), want[e].L0+float64(n.L0)
			}
			labels, read = append(labels, int32(r.IntN(f.classes))), append(read, v)
		}
		rays := newRays(len(read), E, f.Rounded)
		k := 0
		sums, err := f.walks(c, f.reading(labels, read), func(image int, im Clean, w attack.Walk, ray *rayRecord) {
			v := &read[k]
			if image != c.Lo+k || im != (Clean{labels[k], int32(v.Class), v.Lowest, v.Margin}) || !reflect.DeepEqual(w, v.Walk) {
				t.Fatalf("%d classes: image %d: %+v, %+v; want %+v", f.classes, image, im, w, v)
			}
			ray.fill(&rays[k])
			one := &rays[k]
			if !slices.Equal(one.Classes, v.Classes) || one.Zero != v.Zero || one.Least != v.Least || one.At != v.At || (one.Rounded != nil) != f.Rounded {
				t.Fatalf("%d classes: image %d: %+v, want %+v", f.classes, image, one, v)
			}
			for e := range one.Rounded {
				if one.Rounded[e] != (v.Rounded[e] == 1) {
					t.Fatalf("image %d, eps %d: rounded right %v, want %d", image, e, one.Rounded[e], v.Rounded[e])
				}
			}
			k++
		})
		if err != nil || k != len(read) || !slices.Equal(sums, want) {
			t.Fatalf("%d classes: %d of %d readings, sums %v, want %v: %v", f.classes, k, len(read), sums, want, err)
		}
	}
}

func TestStrikes(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	followed := 0
	for range 500 {
		a := attack.FGSM()
		switch r.IntN(4) {
		case 0:
			a = attack.BIM(3)
		case 1:
			a = attack.BIM(3)
			a.Target = attack.All
		}
		f, c := recorded(r, Strike, a, r.IntN(2) == 0)
		E := c.To - c.From
		var want []Outcome
		var reached [][]int32
		classes := 0 // that were reached
		for range c.Hi - c.Lo {
			ray, n := r.IntN(2) == 0, int32(r.IntN(3))*int32(r.IntN(1000)) // whether norms are those of a ray
			for e := range E {
				o := Outcome{Class: int32(r.IntN(f.classes)), Rounded: -1, Margin: anyFloat32(r), Zero: r.IntN(3) == 0}
				if f.Rounded {
					o.Rounded = int32(r.IntN(f.classes))
				}
				if ray {
					o.Norms = movedBy(f.Eps[c.From+e], n)
					o.Linf, o.L2 = o.Linf*(1+1e-7*r.Float32()), o.L2*(1+1e-7*r.Float32())
				} else {
					o.Norms = attack.Norms{Linf: r.Float32() + 1, L2: r.Float32() + 1, L0: int32(1 + r.IntN(1000))}
				}
				want = append(want, o)
				if a.Target == attack.All {
					some := []int32{int32(r.IntN(f.classes)), int32(r.IntN(f.classes))}[:r.IntN(3)]
					slices.Sort(some)
					some = slices.Compact(some)
					some = some[:min(len(some), f.classes-1)]
					reached, classes = append(reached, some), classes+len(some)
				}
			}
		}
		p := f.strike(c, want, reached)
		k := 0
		err := f.strikes(c, p, func(image, e int, got Outcome, classes []int32) {
			if a.Target == attack.All && !slices.Equal(classes, reached[k]) || a.Target != attack.All && classes != nil {
				t.Fatalf("image %d, eps %d: reached %v, want %v", image, e, classes, reached)
			}
			want := want[k]
			if image != c.Lo+k/E || e != c.From+k%E {
				t.Fatalf("image %d at %d, want %d at %d", image, e, c.Lo+k/E, c.From+k%E)
			}
			// Norms that follow are those of the formula, within the rounding of pixels.
			if nearly(got.Linf, want.Linf) && nearly(got.L2, want.L2) && got.Norms != want.Norms {
				followed++
				want.Linf, want.L2 = got.Linf, got.L2
			}
			if got != want {
				t.Fatalf("%d classes, %+v: image %d, eps %d: %+v, want %+v", f.classes, f.Bounds, image, e, got, want)
			}
			k++
		})
		if err != nil || k != len(want) {
			t.Fatalf("%d classes: %d of %d outcomes: %v", f.classes, k, len(want), err)
		}
		// A byte for each class that needs no more, and so on.
		width := 1 + b2i(f.classes > 1<<8) + 2*b2i(f.classes > 1<<16)
		least := (c.Hi-c.Lo)*(1+(E+7)/8+E*(4+width*(1+b2i(f.Rounded))+b2i(a.Target == attack.All))) + classes*width
		if most := least + (c.Hi-c.Lo)*max(4, 12*E); len(p) < least || len(p) > most {
			t.Fatalf("%d classes: %d bytes, want %d to %d", f.classes, len(p), least, most)
		}
	}
	if followed == 0 {
		t.Error("no norms followed from a formula: the test says too little")
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A recordedChunk is a chunk of a small sweep, with its payload.
type recordedChunk struct {
	f       form
	c       Chunk
	payload []byte
}

// smallRecords are the chunks of small sweeps: of every kind, with and without a reading, with and
// without rounded classes and bounds.
func smallRecords(t testing.TB) (all []recordedChunk) {
	t.Helper()
	r := rand.New(rand.NewPCG(6, 7))
	m := ref.RandomModel(r, 1, 9, 11, 7, 4)
	const n = 5
	pixels, labels := make([]uint8, n*9), make([]int32, n)
	for i := range pixels {
		pixels[i] = uint8(r.IntN(256))
	}
	for i := range labels {
		labels[i] = int32(r.IntN(4))
	}
	set := &dataset.Set{Images: tensor.New(tensor.WithShape(n, 3, 3), tensor.WithBacking(pixels)), Labels: labels}
	b, err := cpu.New[float32](m, cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for k := range 4 {
		s := Sweep{Attacks: []attack.Attack{attack.FGSM(), attack.BIM(2)}, Eps: []float64{0, 0.05, 0.1, 0.3, 0.7}, Exact: true, Rounded: k%2 == 0}
		if k >= 2 {
			s.Bounds = attack.Bounds{Lo: 0, Hi: 1}
		}
		every := attack.BIM(2)
		every.Target = attack.All
		for _, s.Attacks = range [][]attack.Attack{s.Attacks, append(s.Attacks, attack.Worst()), {every.For(4)}} {
			log := Memory{}
			if err := s.Work(t.Context(), b, set, log, Fraction{}); err != nil {
				t.Fatal(err)
			}
			for i, c := range s.Plan(n) {
				all = append(all, recordedChunk{s.formOf(4), c, log[i]})
			}
		}
	}
	return all
}

// read reads payload in place of that of c. It returns an error, or one that says why what it found
// cannot be and no error told: what is unsound.
func (c *recordedChunk) read(payload []byte) (err, unsound error) {
	bad := func(format string, args ...any) {
		if unsound == nil {
			unsound = fmt.Errorf(format, args...)
		}
	}
	class := func(v int32) {
		if v < 0 || int(v) >= c.f.classes {
			bad("class %d of %d", v, c.f.classes)
		}
	}
	most, found, want := c.f.Eps[len(c.f.Eps)-1], 0, c.c.Hi-c.c.Lo
	switch c.c.Kind {
	case Look:
		err = c.f.looks(c.c, payload, func(image int, im Clean) {
			found++
			class(im.Label)
			class(im.Class)
			class(im.Least)
			if im.Margin != im.Margin {
				bad("image %d: margin %v", image, im.Margin)
			}
		})
	case Walk:
		var sums []MeanNorms
		sums, err = c.f.walks(c.c, payload, func(image int, im Clean, w attack.Walk, ray *rayRecord) {
			found++
			class(im.Label)
			class(im.Class)
			last := -1.0
			for _, v := range w.Correct {
				if !(v.Lo > last && v.Lo >= 0 && v.Hi >= v.Lo && v.Hi <= most) {
					bad("image %d: intervals %v", image, w.Correct)
				}
				last = v.Hi
			}
			if w.Ends < 0 || !(w.Within >= 0) {
				bad("image %d: %d ends within %v", image, w.Ends, w.Within)
			}
			if (ray != nil) != c.f.reads(c.f.Attacks[c.c.Attack]) {
				bad("image %d: ray %v", image, ray)
				return
			}
			if ray == nil {
				return
			}
			class(im.Least)
			for e, v := range ray.classes {
				class(v)
				if c.f.Rounded && ray.rounded[e] != 0 && ray.rounded[e] != 1 {
					bad("image %d: rounded %v", image, ray.rounded)
				}
			}
			if ray.at < 0 || ray.at >= len(c.f.Eps) || ray.least != ray.least || im.Margin != im.Margin || ray.zero != w.Zero {
				bad("image %d: %+v", image, ray)
			}
		})
		for _, s := range sums {
			if !(s.Linf >= 0 && s.L2 >= 0 && s.L0 >= 0) {
				bad("sums %v", sums)
			}
		}
	case Strike:
		want *= c.c.To - c.c.From
		err = c.f.strikes(c.c, payload, func(image, e int, o Outcome, reached []int32) {
			found++
			for k, v := range reached {
				class(v)
				if k > 0 && reached[k-1] >= v {
					bad("image %d at %d: reached %v", image, e, reached)
				}
			}
			class(o.Class)
			if c.f.Rounded {
				class(o.Rounded)
			}
			if o.Margin != o.Margin || !(o.Linf >= 0 && o.L2 >= 0 && o.L0 >= 0) || e < c.c.From || e >= c.c.To {
				bad("image %d at %d: %+v", image, e, o)
			}
		})
	}
	if err == nil && found != want {
		bad("%d of %d found", found, want)
	}
	return err, unsound
}

// TestBrokenRecords cuts and changes records of every kind at every byte: each is an error or
// sound, whole ones are no error, and cut ones are.
func TestBrokenRecords(t *testing.T) {
	kinds, refused, taken := map[string]int{}, 0, 0
	for _, c := range smallRecords(t) {
		reads := c.c.Kind == Walk && c.f.reads(c.f.Attacks[c.c.Attack])
		kinds[fmt.Sprint(c.c.Kind, reads)]++
		try := func(what string, p []byte, broken bool) {
			err, unsound := c.read(p)
			if unsound != nil || broken && err == nil {
				t.Fatalf("%+v: %s: %v, error %v", c.c, what, unsound, err)
			}
			if err != nil {
				refused++
			} else {
				taken++
			}
		}
		if err, unsound := c.read(c.payload); err != nil || unsound != nil {
			t.Fatalf("%+v as it is: %v, %v", c.c, err, unsound)
		}
		for i := range c.payload {
			try(fmt.Sprintf("cut to %d of %d bytes", i, len(c.payload)), c.payload[:i], true)
			for _, by := range []byte{1, 2, 4, 8, 16, 32, 64, 128, 255} {
				p := slices.Clone(c.payload)
				p[i] ^= by
				try(fmt.Sprintf("byte %d changed by %d", i, by), p, false)
			}
		}
		try("a byte more", append(slices.Clone(c.payload), 0), true)
	}
	if len(kinds) != 4 {
		t.Errorf("kinds %v, want a look, a walk alone, one that is read and a strike", kinds)
	}
	t.Logf("%v, %d refused and %d taken", kinds, refused, taken)
	if refused < 1000 || taken < 1000 {
		t.Errorf("%d refused and %d taken: the test says too little", refused, taken)
	}
}

// allocated is how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// mostAllocated is how many bytes reading a record of n bytes may allocate: slices that grow take
// twice what they end with, of floats that take 8 bytes each; and what does not depend on n.
func mostAllocated(n int) uint64 { return uint64(100*n) + 1<<16 }

// TestRecordCounts puts counts of up to 2^64 - 1 at every place of each record: none makes reading
// allocate more than the record has.
func TestRecordCounts(t *testing.T) {
	for _, c := range smallRecords(t) {
		for i := range c.payload {
			for _, n := range []uint64{200, 1 << 14, 1<<31 - 1, 1 << 31, 1 << 40, 1<<63 - 1, math.MaxUint64} {
				p := slices.Concat(c.payload[:i], binary.AppendUvarint(nil, n), c.payload[i+1:])
				var unsound error
				if got := allocated(func() { _, unsound = c.read(p) }); got > mostAllocated(len(p)) || unsound != nil {
					t.Fatalf("%+v: %d at byte %d of %d: %d bytes allocated, %v", c.c, n, i, len(c.payload), got, unsound)
				}
			}
		}
	}
}

// FuzzRecords reads anything in place of each record of small sweeps.
func FuzzRecords(f *testing.F) {
	all := smallRecords(f)
	for i, c := range all {
		f.Add(i, c.payload)
	}
	f.Fuzz(func(t *testing.T, i int, p []byte) {
		c := all[uint(i)%uint(len(all))]
		var unsound error
		if got := allocated(func() { _, unsound = c.read(p) }); unsound != nil || got > mostAllocated(len(p)) {
			t.Errorf("%+v: %v, %d bytes allocated for %d", c.c, unsound, got, len(p))
		}
	})
}
