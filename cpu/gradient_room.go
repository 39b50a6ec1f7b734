package cpu

import (
	"cmp"
	"slices"
)

// Gradients on the way back through a network lie in rooms. A room holds that at one value after
// another, each from when the last layer that takes the value adds its part until the layer that
// makes the value has read the sum. So a pass needs rooms for a few values, and they stay in a
// cache.

// A gradientRoom is the values whose gradients lie in one place, those that share memory once.
type gradientRoom []int

// A life is the layers during whose way back a gradient is needed: from the layer that makes its
// value up to the last one that takes it.
type life struct{ from, to int }

// lifeOf returns the life of the gradient at value j, which is no other's ReLU in place. Rows of a
// stage follow each other through all its layers. So a gradient that another stage needs is needed
// throughout both.
func (n *network[T]) lifeOf(j int) life {
	s := life{j - 1, j - 1}
	for i := range n.layers {
		for _, k := range n.layers[i].takes {
			if n.values[k].of == j {
				s.to = max(s.to, i)
			}
		}
	}
	if n.values[j].kept || j == 0 {
		s.to = n.stageOf(s.to+1).to - 1
		if j > 0 {
			s.from = n.stageOf(j).from
		}
	}
	if n.values[len(n.layers)].of == j { // the logits, whose gradient is there first
		s.to = len(n.layers)
	}
	return s
}

// gradientRows returns of how many rows the gradient at value j is there at a time, of a pass of so
// many.
func (n *network[T]) gradientRows(j, rows int) int {
	if n.values[j].kept || j == 0 {
		return rows
	}
	return min(rows, n.stageOf(j).rows)
}

// placeGradients gives each gradient a room, in the order in which they are computed. Of those that
// are free it takes the smallest that is large enough, or else the largest.
func (n *network[T]) placeGradients() {
	lives := make([]life, len(n.values))
	var order []int // values by falling end of life, where their gradients are first needed
	for j, v := range n.values {
		if v.of == j && v.used && v.moves {
			lives[j] = n.lifeOf(j)
			order = append(order, j)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lives[b].to, lives[a].to) })
	var sizes []int
	for _, j := range order {
		size, room := n.gradientRows(j, n.block)*n.values[j].gld, -1
		for k, in := range n.rooms {
			if lives[in[len(in)-1]].from <= lives[j].to {
				continue
			}
			if room < 0 || sizes[room] < size && sizes[k] > sizes[room] || sizes[k] >= size && sizes[k] < sizes[room] {
				room = k
			}
		}
		if room < 0 {
			room = len(n.rooms)
			sizes, n.rooms = append(sizes, 0), append(n.rooms, nil)
		}
		sizes[room] = max(sizes[room], size)
		n.rooms[room] = append(n.rooms[room], j)
	}
}

// makeGradients makes room for the gradients of so many rows.
func (n *network[T]) makeGradients(w *scratch[T], rows int) {
	s := &w.net
	for k, room := range n.rooms {
		size := 0
		for _, j := range room {
			size = max(size, n.gradientRows(j, rows)*n.values[j].gld)
		}
		s.rooms[k] = resize(s.rooms[k], size)
		for _, j := range room {
			s.g[j] = s.rooms[k][:n.gradientRows(j, rows)*n.values[j].gld]
		}
	}
}
