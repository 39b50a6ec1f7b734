package corrupt

// contrast moves every number to c times its distance from the mean of its channel.
var contrast = Corruption{
	Name: "contrast", About: "brings every channel near to its mean", Source: hendrycks,
	Constants: [Severities]float64{0.75, 0.5, 0.4, 0.3, 0.15},
	Meaning:   "factor",
	apply: func(dst, src Image, c float64, _ draw) {
		for ch := range src.C {
			from, to := src.plane(ch), dst.plane(ch)
			mean := 0.0
			for _, x := range from {
				mean += x
			}
			mean /= float64(len(from))
			for i, x := range from {
				to[i] = float64((x-mean)*c) + mean
			}
		}
	},
}
