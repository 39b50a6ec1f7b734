package corrupt

// brightness adds c to the value V of HSV, up to 1, and leaves hue and saturation. V is the largest
// channel, and the others are V times what hue and saturation say. So every channel grows by the
// factor V'/V, and black becomes grey. Of one channel the value is the pixel.
var brightness = Corruption{
	Name: "brightness", About: "adds to the value of HSV; grey images: to every pixel", Source: hendrycks,
	Constants: [Severities]float64{0.05, 0.1, 0.15, 0.2, 0.3},
	Meaning:   "added",
	channels:  []int{1, 3},
	apply: func(dst, src Image, c float64, _ draw) {
		size := src.H * src.W
		for i := range size {
			v := 0.0
			for ch := range src.C {
				v = max(v, src.Pixels[ch*size+i])
			}
			brighter := min(v+c, 1)
			for ch := range src.C {
				share := 1.0
				if v > 0 {
					share = src.Pixels[ch*size+i] / v
				}
				dst.Pixels[ch*size+i] = float64(share * brighter)
			}
		}
	},
}
