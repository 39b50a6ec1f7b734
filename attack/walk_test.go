package attack

import "testing"

func TestWalk(t *testing.T) {
	for _, c := range []struct {
		name     string
		correct  []Interval
		at       map[float64]bool
		critical float64
		fails    bool
	}{
		{"never right", nil, map[float64]bool{0: false, 1: false}, 0, true},
		{"always right", []Interval{{0, 1}}, map[float64]bool{0: true, 0.5: true, 1: true}, 0, false},
		{"fails", []Interval{{0, 0.25}}, map[float64]bool{0: true, 0.25: false, 1: false}, 0.25, true},
		{"fails and recovers", []Interval{{0, 0.25}, {0.5, 1}}, map[float64]bool{0.375: false, 0.5: true, 1: true}, 0.25, true},
		{"wrong as it is", []Interval{{0.5, 0.75}}, map[float64]bool{0: false, 0.5: true, 0.75: false}, 0, true},
		{"right at one point", []Interval{{0, 0}}, map[float64]bool{0: true, 0.5: false}, 0, true},
	} {
		w := Walk{Correct: c.correct}
		for eps, want := range c.at {
			if got := w.At(eps, 1); got != want {
				t.Errorf("%s: at %v %v, want %v", c.name, eps, got, want)
			}
		}
		if got, fails := w.Critical(1); fails != c.fails || fails && got != c.critical {
			t.Errorf("%s: critical eps %v %v, want %v %v", c.name, got, fails, c.critical, c.fails)
		}
	}
}
