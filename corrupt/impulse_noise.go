package corrupt

// impulseNoise makes of a share c of all numbers 0 or 1, by a fair coin: salt and pepper. Channels
// are drawn apart.
var impulseNoise = Corruption{
	Name: "impulse_noise", About: "salt and pepper: some numbers become 0 or 1", Source: hendrycks,
	Constants: [Severities]float64{0.01, 0.02, 0.03, 0.05, 0.07},
	Meaning:   "share of the numbers",
	stream:    3,
	apply: func(dst, src Image, c float64, d draw) {
		for i, x := range src.Pixels {
			// Below c, the lower and the upper half are equally likely.
			switch u := d.uniform(i); {
			case u < c/2:
				x = 0
			case u < c:
				x = 1
			}
			dst.Pixels[i] = x
		}
	},
}
