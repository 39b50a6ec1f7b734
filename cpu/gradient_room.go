package cpu

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
	if n.values[len(n.layers)].of == j { // the logits, whose gradient is there first
		s.to = len(n.layers)
	}
	if n.values[j].kept || j == 0 {
		for _, st := range n.stages {
			if st.from <= s.from && s.from < st.to {
				s.from = st.from
			}
			if st.from <= s.to && s.to < st.to {
				s.to = st.to - 1
			}
		}
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
	var lives []life // by room, that of its last value
	var sizes []int
	// From the last layer down, since a gradient is first needed at the end of its life.
	for at := len(n.layers); at >= -1; at-- {
		for j := range n.values {
			v := &n.values[j]
			if v.of != j || !v.used || !v.moves {
				continue
			}
			s := n.lifeOf(j)
			if s.to != at {
				continue
			}
			size, room := n.gradientRows(j, n.block)*v.gld, -1
			for k := range lives {
				if lives[k].from <= s.to {
					continue
				}
				if room < 0 || sizes[room] < size && sizes[k] > sizes[room] || sizes[k] >= size && sizes[k] < sizes[room] {
					room = k
				}
			}
			if room < 0 {
				room = len(lives)
				lives, sizes, n.rooms = append(lives, s), append(sizes, 0), append(n.rooms, nil)
			}
			lives[room], sizes[room] = s, max(sizes[room], size)
			n.rooms[room] = append(n.rooms[room], j)
		}
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
