package report

import (
	"image/color"
	"strings"
	"testing"

	"advsweep/record"
	"advsweep/smooth"
)

// certified are five images: three right, one wrong with a radius, one from which the smoothed
// classifier abstains.
func certified() *Certified {
	image := func(index int, label, clean, class int32, count int, low, radius float64) smooth.Image {
		return smooth.Image{Index: index, Label: label, Clean: clean, Class: class, Count: count, Low: low, Radius: radius}
	}
	return &Certified{Meta: record.Meta{Model: record.Model{Source: record.Source{Name: "m"}}, Data: record.Data{N: 5}, Device: "d"}, Layers: "4-3", Result: &smooth.Result{
		Smoothing: smooth.Smoothing{Sigma: 0.5, Choose: 10, Draws: 1000, Alpha: 0.01}, Classes: 3, Asked: 6,
		Images: []smooth.Image{
			image(7, 1, 1, 1, 990, 0.98, 1.0), image(8, 1, 0, 1, 700, 0.66, 0.25), image(9, 2, 2, 2, 990, 0.98, 1.0), image(10, 0, 0, 2, 900, 0.88, 0.625), image(11, 0, 0, 0, 400, 0.375, 0),
		},
	}}
}

func TestCertified(t *testing.T) {
	c := certified()
	const want = `image,label,clean,class,count,p_low,abstained,radius,correct
7,1,1,1,990,0.98,false,1,true
8,1,0,1,700,0.66,false,0.25,true
9,2,2,2,990,0.98,false,1,true
10,0,0,2,900,0.88,false,0.625,false
11,0,0,0,400,0.375,true,0,false
`
	if got := string(c.CSV()); got != want {
		t.Errorf("CSV:\n%s\nwant\n%s", got, want)
	}
	data, err := c.JSON()
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(data)), " ")
	for _, part := range []string{`"steps": [ { "radius": 0.25, "certified": 3 }, { "radius": 1, "certified": 2 } ]`, `"images_asked": 6, "classes": 3, "clean_correct": 4, "smoothed_correct": 3, "abstained": 1,`,
		`"mean_radius": 0.45,`, `"note": "this certifies the smoothed classifier, not the network itself;`, `"sigma": 0.5, "n0": 10, "draws": 1000, "alpha": 0.01,`} {
		if !strings.Contains(flat, part) {
			t.Errorf("JSON has not %s:\n%s", part, data)
		}
	}
	if strings.Contains(flat, `"device"`) {
		t.Errorf("JSON has a device, in which equal runs differ:\n%s", data)
	}
	var b strings.Builder
	if err := c.Table(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"radius  certified of 5, % (95 % interval)\n0.0     3 60.0 (23.1-88.2)\n0.5     2 40.0 (11.8-76.9)\n1.0     2 40.0 (11.8-76.9)\n\n", "\nsmoothed classifier   right of 3 of 5, 60.0 % (23.1-88.2); it abstains from 1\n",
		"\nnetwork itself        right of 4 of 5, 80.0 % (37.6-96.4)\n", "\nmean certified radius 0.45, 0 where it is wrong or abstains\n", "So this certifies the smoothed classifier, not the network itself.\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("the table has not %q:\n%s", line, b.String())
		}
	}
	for line := range strings.Lines(b.String()) {
		if len([]rune(line)) > 81 {
			t.Errorf("%q is longer than 80 columns", line)
		}
	}
}

// TestCertifiedPlot: the plot has the curve, its axis and its caption, and none of a sweep's.
func TestCertifiedPlot(t *testing.T) {
	files, err := certified().Files("smooth")
	if err != nil {
		t.Fatal(err)
	}
	img := decode(t, files[2].Data, nil)
	for _, c := range []color.NRGBA{okabeIto[0], {R: 205, G: 227, B: 240, A: 255}} {
		if n := count(img, c); n < 1000 {
			t.Errorf("%d pixels of colour %v, want a curve with its band", n, c)
		}
	}
	svg := string(files[3].Data)
	for _, part := range []string{"L2 radius, in units of pixels", "not the network", "smoothed classifier", "chance, 1/3"} {
		if !strings.Contains(svg, part) {
			t.Errorf("the plot does not say %q", part)
		}
	}
	if strings.Contains(svg, "eps,") || strings.Contains(svg, "clipped") {
		t.Error("the plot has words of a sweep")
	}
	none := certified()
	none.Result.Images = none.Result.Images[4:] // no radius at all
	none.Result.Draws = 2
	if _, err := none.Files("smooth"); err != nil {
		t.Error(err)
	}
}
