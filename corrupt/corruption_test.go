package corrupt

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"advsweep/internal/npy"
)

// randomImage has pixels that are levels n/255.
func randomImage(seed uint64, c, h, w int) Image {
	r := rand.New(rand.NewPCG(seed, 1))
	im := newImage(Image{C: c, H: h, W: w})
	for i := range im.Pixels {
		im.Pixels[i] = float64(r.IntN(256)) / 255
	}
	return im
}

func named(t *testing.T, name string) Corruption {
	t.Helper()
	c, err := ByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func apply(t *testing.T, name string, src Image, severity int, seed uint64, index int) Image {
	t.Helper()
	out, err := named(t, name).Apply(src, severity, seed, index)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// golden reads an array of testdata/golden.py, [21, H, W, C] of bytes, as images [C, H, W].
func golden(t *testing.T, path string) []Image {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := npy.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	h, w, c := a.Shape[1], a.Shape[2], a.Shape[3]
	var all []Image
	for one := range slices.Chunk(a.Data, h*w*c) {
		im := newImage(Image{C: c, H: h, W: w})
		for i, v := range one {
			im.Pixels[i%c*h*w+i/c] = float64(v) / 255
		}
		all = append(all, im)
	}
	return all
}

// TestGolden holds the corruptions that draw nothing to the libraries of the authors' script.
// Theirs cut off what follows the point of numbers with rounding errors, so that one which is a
// whole level may come out as the level below: of brightness 4, which adds 51 levels, one in 20. In
// zoom_blur, whose errors are those of float32, single ones may come out above; pixelate has none
// of it.
func TestGolden(t *testing.T) {
	for _, file := range []string{"testdata/golden-32.npy", "testdata/golden-28.npy"} {
		all := golden(t, file)
		if len(all) != 1+4*Severities {
			t.Fatalf("%s: %d images, want %d", file, len(all), 1+4*Severities)
		}
		for k, c := range []struct {
			name string
			most float64 // the share of pixels that may be one level off
			down float64 // how far theirs may lie above ours, in levels
		}{{"contrast", 0.001, 0}, {"brightness", 0.1, 0}, {"pixelate", 0, 0}, {"zoom_blur", 0.001, 1}} {
			for severity := 1; severity <= Severities; severity++ {
				want := all[1+k*Severities+severity-1]
				got := apply(t, c.name, all[0], severity, 1, 0)
				off := 0
				for i, v := range got.Pixels {
					d := math.Round((v - want.Pixels[i]) * 255)
					if !(d <= 1 && d >= -c.down) {
						t.Fatalf("%s: %s %d: pixel %d is %v, want %v", file, c.name, severity, i, v*255, want.Pixels[i]*255)
					}
					if d != 0 {
						off++
					}
				}
				if share := float64(off) / float64(len(got.Pixels)); share > c.most {
					t.Errorf("%s: %s %d: %d of %d pixels are one level off, want at most a share of %v", file, c.name, severity, off, len(got.Pixels), c.most)
				}
			}
		}
	}
}

// levels are pixels in units of 1/255.
func levels(im Image) []float64 {
	out := make([]float64, len(im.Pixels))
	for i, v := range im.Pixels {
		out[i] = math.Round(v*255*1e6) / 1e6
	}
	return out
}

func ofLevels(c, h, w int, levels ...float64) Image {
	im := Image{c, h, w, levels}
	for i := range levels {
		im.Pixels[i] /= 255
	}
	return im
}

// TestByHand: arrays that were worked out by hand, in levels, cut to whole ones.
func TestByHand(t *testing.T) {
	for _, c := range []struct {
		what, name string
		severity   int
		src        Image
		want       []float64
	}{
		// Mean 100: 100 + 0.5·(v - 100).
		{"contrast to half", "contrast", 2, ofLevels(1, 1, 4, 0, 101, 99, 200), []float64{50, 100, 99, 150}},
		// Means 10 and 200, apart.
		{"contrast by channel", "contrast", 1, ofLevels(2, 1, 2, 6, 14, 196, 204), []float64{7, 13, 197, 203}},
		{"contrast of one colour", "contrast", 5, ofLevels(1, 2, 2, 77, 77, 77, 77), []float64{77, 77, 77, 77}},
		// 0.2·255 = 51.
		{"brightness of grey", "brightness", 4, ofLevels(1, 1, 4, 0, 100, 204, 250), []float64{51, 151, 255, 255}},
		// V 100 becomes 151, V 255 stays, black becomes grey: 50·1.51 = 75.5, 25·1.51 = 37.75.
		{"brightness of colours", "brightness", 4, ofLevels(3, 1, 3, 100, 255, 0, 50, 10, 0, 25, 0, 0), []float64{151, 255, 51, 75, 10, 51, 37, 0, 51}},
		// 4 becomes int(2.6) = 2: means of neighbours by rows, rounded half up, then by columns.
		{"pixelate", "pixelate", 5, ofLevels(1, 2, 4, 10, 11, 20, 20, 0, 0, 41, 40), []float64{6, 6, 31, 31, 6, 6, 31, 31}},
		{"pixelate one pixel", "pixelate", 5, ofLevels(1, 1, 1, 93), []float64{93}},
		{"zoom of one colour", "zoom_blur", 5, ofLevels(1, 3, 5, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9), []float64{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}},
	} {
		got := levels(apply(t, c.name, c.src, c.severity, 1, 0))
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.what, got, c.want)
		}
	}
}

// TestNoise: moments and shares of the noises of a grey image, within five standard errors. Two
// images, seeds, severities and corruptions draw apart, and the same ones the same.
func TestNoise(t *testing.T) {
	const n, grey = 64 * 64, 128. / 255
	src := newImage(Image{C: 1, H: 64, W: 64})
	for i := range src.Pixels {
		src.Pixels[i] = grey
	}
	for severity := 1; severity <= Severities; severity++ {
		for _, c := range []struct {
			name    string
			moments func(constant float64) (mean, variance float64)
			slack   float64 // of the mean
		}{
			// Cutting off takes half a level on average, and adds the variance of that.
			{"gaussian_noise", func(c float64) (mean, variance float64) { return grey - 0.5/255, c*c + 1./12/255/255 }, 1e-5},
			{"shot_noise", func(c float64) (mean, variance float64) {
				squares := 0.0
				for k := range 2000 {
					lg, _ := math.Lgamma(float64(k + 1))
					p, x := math.Exp(float64(k)*math.Log(c*grey)-c*grey-lg), min(1, math.Floor(255*float64(k)/c+1e-9)/255)
					mean, squares = mean+p*x, squares+p*x*x
				}
				return mean, squares - mean*mean
			}, 0},
		} {
			const images = 20
			mean, variance := c.moments(named(t, c.name).Constants[severity-1])
			sum, squares := 0.0, 0.0
			for index := range images {
				for _, v := range apply(t, c.name, src, severity, 3, index).Pixels {
					sum += (v - mean) / n / images
					squares += (v - mean) * (v - mean) / n / images
				}
			}
			if most := 5*math.Sqrt(variance/n/images) + c.slack; !(math.Abs(sum) < most) {
				t.Errorf("%s %d: mean off by %v, want at most %v", c.name, severity, sum, most)
			}
			if most := 5 * variance * math.Sqrt(2./n/images); !(math.Abs(squares-variance) < most) {
				t.Errorf("%s %d: variance %v, want %v", c.name, severity, squares, variance)
			}
		}
		share := named(t, "impulse_noise").Constants[severity-1]
		black, white := 0, 0
		for index := range 20 {
			for _, v := range apply(t, "impulse_noise", src, severity, 3, index).Pixels {
				switch v {
				case 0:
					black++
				case 1:
					white++
				case grey:
				default:
					t.Fatalf("salt and pepper made %v of %v", v, grey)
				}
			}
		}
		for what, got := range map[string]int{"black": black, "white": white} {
			want := 20 * n * share / 2
			if !(math.Abs(float64(got)-want) < 5*math.Sqrt(want)) {
				t.Errorf("impulse_noise %d: %d are %s, want about %v", severity, got, what, want)
			}
		}
	}
	noises := []string{"gaussian_noise", "shot_noise", "impulse_noise"}
	for _, name := range noises {
		of := func(severity int, seed uint64, index int) []float64 {
			return apply(t, name, src, severity, seed, index).Pixels
		}
		one := of(2, 3, 4)
		if !slices.Equal(one, of(2, 3, 4)) {
			t.Errorf("%s: two draws of one key differ", name)
		}
		others := map[string][]float64{"seed": of(2, 4, 4), "index": of(2, 3, 5), "high seed": of(2, 3+1<<40, 4)}
		if far := math.MaxInt >> 30; far > 1<<30 { // ints of 64 bits
			others["high index"] = of(2, 3, 4+(far+1)/2)
		}
		for what, other := range others {
			if slices.Equal(one, other) {
				t.Errorf("%s: another %s draws the same", name, what)
			}
		}
	}
	streams := map[int]string{}
	for _, c := range Corruptions {
		if other, taken := streams[c.stream]; taken && c.stream != 0 {
			t.Errorf("%s and %s have one stream", c.Name, other)
		}
		streams[c.stream] = c.Name
		if draws := slices.Contains(noises, c.Name); draws != (c.stream != 0) {
			t.Errorf("%s: stream %d", c.Name, c.stream)
		}
	}
}

// TestPoisson holds the quantiles to sums of e^-m·m^k/k! by logarithms, as the standard library has
// them.
func TestPoisson(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, mean := range []float64{0, 1e-9, 0.3, 1, 12.7, 75, 250, 499.9, 500} {
		below := func(k int) float64 { // P(K ≤ k)
			sum := 0.0
			for j := 0; j <= k; j++ {
				lg, _ := math.Lgamma(float64(j + 1))
				if mean == 0 && j == 0 {
					sum++
				} else if mean > 0 {
					sum += math.Exp(float64(j)*math.Log(mean) - mean - lg)
				}
			}
			return sum
		}
		for range 200 {
			u := r.Float64()
			k := poisson(mean, u)
			if !(below(k) > u-1e-11 && (k == 0 || below(k-1) <= u+1e-11)) {
				t.Errorf("mean %v: the quantile %v is %d, of which P is %v, and %v below it", mean, u, k, below(k), below(k-1))
			}
		}
		if k := poisson(mean, 1-0x1p-53); !(float64(k) < mean+15*math.Sqrt(mean)+20) {
			t.Errorf("mean %v: the last quantile is %d", mean, k)
		}
	}
}

// TestStored: every level stays, what lies between is cut off, and what is outside is clipped.
func TestStored(t *testing.T) {
	for n := range 256 {
		if x := float64(n) / 255; stored(x) != x {
			t.Errorf("level %d is stored as %v", n, stored(x)*255)
		}
		if x := (float64(n) + 0.999) / 255; stored(x) != float64(n)/255 {
			t.Errorf("level %d.999 is stored as %v", n, stored(x)*255)
		}
	}
	if stored(-0.1) != 0 || stored(1.1) != 1 {
		t.Errorf("-0.1 and 1.1 are stored as %v and %v", stored(-0.1), stored(1.1))
	}
}

// TestShapes: every corruption of any height and width, in levels, with src as it was; bad
// severities and channels are refused by name.
func TestShapes(t *testing.T) {
	for _, c := range Corruptions {
		for _, shape := range [][3]int{{1, 1, 1}, {3, 1, 7}, {3, 2, 3}, {1, 28, 28}, {3, 33, 17}} {
			src := randomImage(9, shape[0], shape[1], shape[2])
			before := slices.Clone(src.Pixels)
			for severity := 1; severity <= Severities; severity++ {
				out := apply(t, c.Name, src, severity, 1, 0)
				if len(out.Pixels) != len(src.Pixels) || !slices.Equal(before, src.Pixels) {
					t.Fatalf("%s %v: %d pixels, want %d and a source that stays", c.Name, shape, len(out.Pixels), len(src.Pixels))
				}
				for i, v := range out.Pixels {
					if n := v * 255; !(v >= 0 && v <= 1 && math.Abs(n-math.Round(n)) < 1e-9) {
						t.Fatalf("%s %d: pixel %d is %v levels", c.Name, severity, i, n)
					}
				}
			}
		}
		if _, err := c.Apply(randomImage(9, 1, 2, 2), 6, 1, 0); err == nil || !strings.Contains(err.Error(), "severity 6") || !strings.Contains(err.Error(), c.Name) {
			t.Errorf("%s: error %v, want one of severity 6", c.Name, err)
		}
	}
	if _, err := named(t, "brightness").Apply(randomImage(9, 4, 2, 2), 1, 1, 0); err == nil || !strings.Contains(err.Error(), "4 channels, want 1 or 3") {
		t.Errorf("brightness of four channels: %v", err)
	}
	if _, err := ByName("fog\n"); err == nil || !strings.Contains(err.Error(), `no corruption "fog\n"`) {
		t.Errorf("unknown name: %v", err)
	}
}
