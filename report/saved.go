package report

import (
	"bytes"
	"fmt"
	"strings"

	"advsweep/attack"
	"advsweep/dataset"
	"advsweep/pipeline"
)

// What the names of files with saved images begin with.
const (
	savedImages  = "images-"
	savedMontage = "montage-"
)

// SavedNames lists, for each of attacks, the files of SavedFiles. Whether there is an archive of
// PNG files follows from the images of set.
func SavedNames(attacks []attack.Attack, set *dataset.Set) [][]string {
	seen := map[string]int{}
	all := make([][]string, len(attacks))
	for i, a := range attacks {
		base := strings.Map(func(r rune) rune { // what every file system and shell takes
			switch {
			case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '-', r == '.', r == '=':
				return r
			case r == ':':
				return '_'
			}
			return '-'
		}, a.Name)
		if seen[base]++; seen[base] > 1 {
			base = fmt.Sprintf("%s_%d", base, seen[base])
		}
		all[i] = []string{savedImages + base + ".npz", savedMontage + base + ".png"}
		if dataset.HasPNG(set.Images.Shape()) {
			all[i] = append(all[i], savedImages+base+".zip")
		}
	}
	return all
}

// SavedFiles makes the files called names, which are those of one attack of SavedNames, of what
// that attack made of set: an NPZ of all images, a picture of the first of them and, of grey and
// RGB images, an archive of 8-bit PNG files. clean has the classes of set as it is.
func SavedFiles(names []string, c *pipeline.Crafted, set *dataset.Set, clean []pipeline.Clean) ([]File, error) {
	n := set.N()
	index, class, before := make([]int32, n), make([]int32, n), make([]int32, n)
	for i := range n {
		index[i], class[i], before[i] = int32(set.First+i), c.Outcomes[i].Class, clean[i].Class
	}
	var npz, archive bytes.Buffer
	err := dataset.WriteNPZ(&npz,
		dataset.Array{Name: "images", Shape: c.Images.Shape(), Data: c.Images.Data()},
		dataset.Array{Name: "labels", Shape: []int{n}, Data: set.Labels},
		dataset.Array{Name: "index", Shape: []int{n}, Data: index},
		dataset.Array{Name: "predictions", Shape: []int{n}, Data: class},
		dataset.Array{Name: "clean_predictions", Shape: []int{n}, Data: before},
		dataset.Array{Name: "eps", Shape: []int{1}, Data: []float64{c.Eps}})
	if err != nil {
		return nil, err
	}
	picture, err := Montage(c, set.Labels, set.First, set.Classes)
	if err != nil {
		return nil, err
	}
	files := []File{{Name: names[0], Data: npz.Bytes()}, {Name: names[1], Data: picture}}
	if len(names) > 2 {
		if err := dataset.WritePNGs(&archive, c.Levels, set.Labels, set.First); err != nil {
			return nil, err
		}
		files = append(files, File{Name: names[2], Data: archive.Bytes()})
	}
	return files, nil
}
