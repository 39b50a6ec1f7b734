package corrupt

// gaussianNoise adds to every number c·z, z standard normal.
var gaussianNoise = Corruption{
	Name: "gaussian_noise", About: "adds normal noise to every number", Source: hendrycks,
	Constants: [Severities]float64{0.04, 0.06, 0.08, 0.09, 0.10},
	Meaning:   "standard deviation",
	stream:    1,
	apply: func(dst, src Image, c float64, d draw) {
		for i, x := range src.Pixels {
			dst.Pixels[i] = x + float64(c*d.normal(i))
		}
	},
}
