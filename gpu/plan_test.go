package gpu

import (
	"fmt"
	"testing"
)

func TestPlan(t *testing.T) {
	p := planFor([]int{784, 1024, 1024, 10})
	if want := (plan{row: 4*784 + 5, image: 8*1024 + 784, scratch: 4*(1024+1024+16+16+2*1024) + 784, least: minMicrobatch}); p != want {
		t.Errorf("%+v, want %+v", p, want)
	}
	const gib = 1 << 30
	for _, c := range []struct {
		free                     int64
		processors, widest       int
		wantMicrobatch, wantRows int
	}{
		{80 * gib, 132, 1024, 33792, maxRows}, // an H100: all rows of 1,000 images at 2,000 eps
		{4 * gib, 40, 1024, 10240, 303_000},   // a laptop
		// There is almost no memory: the plan is one row, and cuMemAlloc will refuse it.
		{1 << 20, 40, 1024, minMicrobatch, 1},
		{80 * gib, 999, 1024, 65408, maxRows},   // 511 tiles
		{80 * gib, 132, 1 << 20, 2048, maxRows}, // 2^31 elements
	} {
		microbatch := p.microbatch(c.free, c.processors, c.widest)
		rows := p.batch(c.free, microbatch)
		if microbatch != c.wantMicrobatch || rows < c.wantRows*9/10 || rows > c.wantRows*11/10 {
			t.Errorf("%+v: microbatch %d, rows %d", c, microbatch, rows)
		}
		if used := int64(rows)*(p.row+p.image) + int64(microbatch)*p.scratch; rows > 1 && used > c.free {
			t.Errorf("%+v: %d bytes planned", c, used)
		}
	}
}

func TestParseDevices(t *testing.T) {
	for list, want := range map[string]string{"0": "[0]", "1, 0": "[1 0]", "all": "[0 1 2]", "2": "[2]"} {
		got, err := ParseDevices(list, 3)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v, want %s", list, got, err, want)
		}
	}
	for _, list := range []string{"", "3", "-1", "0,0", "a", "0,", "1e0"} {
		if got, err := ParseDevices(list, 3); err == nil {
			t.Errorf("%q: %v, want an error", list, got)
		}
	}
}
