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

// tile4In is the transform of what a tile of F(4×4, 3×3) takes, along one dimension. With
// e = d4 - d2 and f = d3 - d1 it is, with each product fused,
//
//	t0 = (((d0 - d2) + e) + f) + f/2
//	t1 = ((d4 - d1) + 2·d3) + (d3 + d2)/2
//	t2 = ((d4 + d1) - 2·d2) + (d3 - d2)/2
//	t3 = e + 2·f
//	t4 = 2·e - f
//	t5 = (((d5 - d3) - f) + e) + e/2.
func tile4In[T Float](d [6]T) [6]T {
	e, f := d[4]-d[2], d[3]-d[1]
	return [6]T{
		fused(.5, f, ((d[0]-d[2])+e)+f),
		fused(.5, d[3]+d[2], fused(2, d[3], d[4]-d[1])),
		fused(.5, d[3]-d[2], fused(-2, d[2], d[4]+d[1])),
		fused(2, f, e),
		fused(2, e, -f),
		fused(.5, e, ((d[5]-d[3])-f)+e),
	}
}

// tile4Out is the transform of the products of a tile of F(4×4, 3×3), along one dimension. With
// each product fused it is
//
//	y0 = (((m1 + m2) + m0) + 2·m3) + m4/4
//	y1 = ((m1 - m2) + m3) - m4/2
//	y2 = ((m1 + m2) + m4) + m3/2
//	y3 = (((m1 - m2) + m3/4) - 2·m4) + m5.
func tile4Out[T Float](m [6]T) [4]T {
	p, q := m[1]+m[2], m[1]-m[2]
	return [4]T{
		fused(.25, m[4], fused(2, m[3], p+m[0])),
		fused(-.5, m[4], q+m[3]),
		fused(.5, m[3], p+m[4]),
		fused(-2, m[4], fused(.25, m[3], q)) + m[5],
	}
}

// tiles4InGo is tilesInGo for tiles of 6×6 pixels, which begin four pixels behind each other, by
// tile4In. Place 6·i + j is where place 4·i + j is there.
func tiles4InGo[T Float](n, channels int, x []T, row, pixel int, v []T, place, ldv int) {
	for t := range n {
		for c := range channels {
			var d [6][6]T
			for j := range 6 {
				at := x[4*t*pixel+j*pixel+c:]
				for i, e := range tile4In([6]T{at[0], at[row], at[2*row], at[3*row], at[4*row], at[5*row]}) {
					d[i][j] = e
				}
			}
			to := v[t*ldv+c:]
			for i := range 6 {
				for j, e := range tile4In(d[i]) {
					to[(6*i+j)*place] = e
				}
			}
		}
	}
}

// tiles4OutGo is tilesOutGo for what tiles4InGo makes, by tile4Out. A tile has 4×4 outputs.
func tiles4OutGo[T Float](n, channels int, m []T, place, ldm int, bias, y []T, row, pixel int) {
	for t := range n {
		for c := range channels {
			var s [4][6]T
			for j := range 6 {
				at := m[t*ldm+j*place+c:]
				for i, e := range tile4Out([6]T{at[0], at[6*place], at[12*place], at[18*place], at[24*place], at[30*place]}) {
					s[i][j] = e
				}
			}
			for i := range 4 {
				to := y[4*t*pixel+i*row+c:]
				for j, e := range tile4Out(s[i]) {
					to[j*pixel] = e + bias[c]
				}
			}
		}
	}
}
