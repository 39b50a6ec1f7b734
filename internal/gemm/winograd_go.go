package gemm

// tilesInGo transforms n tiles that lie side by side, each of 4×4 pixels, in so many channels: down
// columns and then along rows, each time by
//
//	t0 = d0 - d2, t1 = d1 + d2, t2 = d2 - d1, t3 = d3 - d1.
//
// A tile begins two pixels behind the one before it. The pixel below another is row elements behind
// it, and the one on its right pixel elements. Place 4·i + j of the transform of tile t is v[(4·i +
// j)·place + t·ldv + c], for channel c.
func tilesInGo[T Float](n, channels int, x []T, row, pixel int, v []T, place, ldv int) {
	for t := range n {
		for c := range channels {
			var d [4][4]T
			for j := range 4 {
				at := x[2*t*pixel+j*pixel+c:]
				d0, d1, d2, d3 := at[0], at[row], at[2*row], at[3*row]
				d[0][j], d[1][j], d[2][j], d[3][j] = d0-d2, d1+d2, d2-d1, d3-d1
			}
			to := v[t*ldv+c:]
			for i := range 4 {
				p, e := to[4*i*place:], &d[i]
				p[0], p[place], p[2*place], p[3*place] = e[0]-e[2], e[1]+e[2], e[2]-e[1], e[3]-e[1]
			}
		}
	}
}

// tilesOutGo transforms the products m of n tiles, which lie as tilesInGo says of v, and adds the
// bias [channels]: down columns and then along rows, each time by
//
//	y0 = (m0 + m1) + m2, y1 = (m1 - m2) + m3.
//
// It writes the 2×2 outputs of each tile, which lie as tilesInGo says of pixels.
func tilesOutGo[T Float](n, channels int, m []T, place, ldm int, bias, y []T, row, pixel int) {
	for t := range n {
		for c := range channels {
			var s [2][4]T
			for j := range 4 {
				at := m[t*ldm+j*place+c:]
				m0, m1, m2, m3 := at[0], at[4*place], at[8*place], at[12*place]
				s[0][j], s[1][j] = (m0+m1)+m2, (m1-m2)+m3
			}
			for i := range 2 {
				to, e := y[2*t*pixel+i*row+c:], &s[i]
				to[0], to[pixel] = ((e[0]+e[1])+e[2])+bias[c], ((e[1]-e[2])+e[3])+bias[c]
			}
		}
	}
}
