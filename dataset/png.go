package dataset

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/regular"
)

// labelsCSV is the file that makes a folder one of PNG files.
const labelsCSV = "labels.csv"

// readPNGDir reads the PNG files of dir that its labels.csv lists.
func readPNGDir(dir string) (*Set, error) {
	// A Root keeps links, too, from leaving the folder.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", dir, regular.Cause(err))
	}
	defer root.Close()
	s, err := readPNGs(root.FS())
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", dir, err)
	}
	if dir, err = filepath.Abs(dir); err == nil {
		s.Source.Images.Name = filepath.Base(dir)
	}
	return s, nil
}

// readPNGs leaves the name of the images to its caller. Its errors name the file.
func readPNGs(fsys fs.FS) (*Set, error) {
	files, labels, sum, err := readLabelsCSV(fsys)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", labelsCSV, err)
	}
	hash := sha256.New()
	var pixels []byte
	var shape []int
	stored := int64(0)
	for _, name := range files {
		image, got, err := readPNG(fsys, name, shape, len(pixels), &stored, hash)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		shape = got
		if len(pixels)+len(image) > cap(pixels) { // twice as much, but no more than all will take
			grown := make([]byte, len(pixels), min(2*len(pixels)+len(image), len(files)*len(image)))
			copy(grown, pixels)
			pixels = grown
		}
		pixels = append(pixels, image...)
	}
	if shape[0] == 1 {
		shape = shape[1:]
	}
	return &Set{
		Images: dense(append([]int{len(files)}, shape...), pixels),
		Labels: labels,
		Source: Source{
			Images: File{SHA256: hex.EncodeToString(hash.Sum(nil))},
			Labels: File{labelsCSV, sum},
			N:      len(files),
		},
	}, nil
}

// readLabelsCSV returns the files in the order of labels.csv, clean and with
// slashes, their labels, and the SHA-256 of labels.csv.
func readLabelsCSV(fsys fs.FS) (files []string, labels []int32, sum string, err error) {
	f, _, err := regular.OpenFS(fsys, labelsCSV)
	if err != nil {
		return nil, nil, "", err
	}
	defer f.Close()
	hash := sha256.New()
	r := bufio.NewReader(io.TeeReader(f, hash))
	if mark, err := r.Peek(3); err == nil && string(mark) == "\ufeff" { // Excel writes it
		r.Discard(3)
	}
	rows := csv.NewReader(r)
	rows.ReuseRecord = true
	rows.FieldsPerRecord = -1 // for an error of our own
	seen := map[string]int{}
	for first := true; ; first = false {
		row, err := rows.Read()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, nil, "", regular.Cause(err)
		}
		line, _ := rows.FieldPos(0)
		if first {
			if len(row) != 2 || row[0] != "file" || row[1] != "label" {
				return nil, nil, "", fmt.Errorf("line %d: header %.60q, want file,label", line, row)
			}
			continue
		}
		if len(row) != 2 {
			return nil, nil, "", fmt.Errorf("line %d: %d fields, want 2: file,label", line, len(row))
		}
		name := path.Clean(row[0])
		if row[0] == "" || !fs.ValidPath(name) || strings.Contains(name, `\`) {
			return nil, nil, "", fmt.Errorf("line %d: file %.60q, want a path inside the folder, with slashes", line, row[0])
		}
		if before, ok := seen[name]; ok {
			// Also so that a short file cannot ask for one image without end.
			return nil, nil, "", fmt.Errorf("line %d: file %.60q again, after line %d, want each once", line, row[0], before)
		}
		seen[name] = line
		label, err := strconv.ParseInt(strings.TrimSpace(row[1]), 10, 32)
		if err != nil {
			return nil, nil, "", fmt.Errorf("line %d: label %.60q, want an integer", line, row[1])
		}
		files = append(files, strings.Clone(name))
		labels = append(labels, int32(label))
	}
	if len(files) == 0 {
		return nil, nil, "", errors.New("no files, want a header file,label and a line for each image")
	}
	return files, labels, hex.EncodeToString(hash.Sum(nil)), nil
}

// readPNG returns the pixels of the file name and their shape [C, H, W], which
// must be want unless that is nil. before is how many pixels there are already,
// of files of stored bytes, to which it adds its own. The file's bytes go to hash.
func readPNG(fsys fs.FS, name string, want []int, before int, stored *int64, hash io.Writer) (pixels []byte, shape []int, err error) {
	f, size, err := regular.OpenFS(fsys, name)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	r := bufio.NewReader(io.TeeReader(f, hash))
	// Signature, and the chunk that a PNG begins with: what follows takes its
	// memory by what this says, before it reads the pixels.
	head, err := r.Peek(33)
	if err != nil && err != io.EOF {
		return nil, nil, regular.Cause(err)
	}
	if len(head) < 33 || string(head[:8]) != "\x89PNG\r\n\x1a\n" {
		return nil, nil, fmt.Errorf("starts with %.8q, want a PNG file", head)
	}
	switch depth, kind := head[24], head[25]; {
	case kind == 3:
		return nil, nil, errors.New("has a palette, want grayscale or RGB")
	case kind == 4 || kind == 6:
		return nil, nil, errors.New("has transparency, want grayscale or RGB")
	case depth != 8:
		return nil, nil, fmt.Errorf("has %d bits a channel, want 8", depth)
	}
	config, err := png.DecodeConfig(bytes.NewReader(head))
	if err != nil {
		return nil, nil, err
	}
	shape = []int{1, config.Height, config.Width}
	if config.ColorModel != color.GrayModel {
		shape[0] = 3
	}
	if want != nil && !slices.Equal(shape, want) {
		return nil, nil, fmt.Errorf("is %v, want %v as the first image: [channels, height, width]", shape, want)
	}
	n, ok := product([]uint64{uint64(shape[0]), uint64(shape[1]), uint64(shape[2])})
	if !ok {
		return nil, nil, fmt.Errorf("dimensions %v overflow", shape)
	}
	if err := backed(n, size, shape); err != nil {
		return nil, nil, err
	}
	// All files together, else many small ones could be huge. Each counts but once.
	*stored += size
	if all := uint64(before) + n; all > max(bombSize, uint64(*stored)*maxRatio) {
		return nil, nil, fmt.Errorf("images up to here have %d bytes in files of %d, as in a decompression bomb: want at most %d times as many", all, *stored, maxRatio)
	}
	decoded, err := png.Decode(r)
	if err != nil {
		return nil, nil, regular.Cause(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // hashed to its end
		return nil, nil, regular.Cause(err)
	}
	area := shape[1] * shape[2]
	switch m := decoded.(type) {
	case *image.Gray:
		pixels = m.Pix // image/png packs the rows
	case *image.RGBA:
		pixels = make([]byte, n)
		for y := range shape[1] {
			row := m.Pix[y*m.Stride:]
			for x := range shape[2] {
				for c := range 3 {
					pixels[c*area+y*shape[2]+x] = row[4*x+c]
				}
			}
		}
	default: // a colour of either is marked as transparent
		return nil, nil, errors.New("has transparency, want grayscale or RGB")
	}
	if uint64(len(pixels)) != n {
		return nil, nil, fmt.Errorf("has %d pixels, want %d", len(pixels), n)
	}
	return pixels, shape, nil
}
