package dataset

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"advsweep/internal/regular"
)

// A record is a label and the 32×32 pixels of three channels.
const (
	cifarPixels = 3 * 32 * 32
	cifarRecord = 1 + cifarPixels
)

var cifarClasses = []string{"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}

// cifarNames returns the files of a split.
func cifarNames(split string) []string {
	if split == "test" {
		return []string{"test_batch.bin"}
	}
	names := make([]string, 5)
	for i := range names {
		names[i] = fmt.Sprintf("data_batch_%d.bin", i+1)
	}
	return names
}

// readCIFAR10 reads the files of a split of dir in turn.
//
// Format: Krizhevsky, cs.toronto.edu/~kriz/cifar.html, "Binary version".
func readCIFAR10(dir, split string) (*Set, error) {
	names := cifarNames(split)
	hash := sha256.New()
	var pixels []byte
	s := &Set{Classes: cifarClasses}
	for _, name := range names {
		path := filepath.Join(dir, name)
		f, size, err := regular.Open(path)
		if err == nil {
			pixels, s.Labels, err = readCIFAR(io.TeeReader(f, hash), size, pixels, s.Labels)
			f.Close()
		}
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
		}
	}
	s.Images = dense([]int{s.N(), 3, 32, 32}, pixels)
	file := File{names[0], hex.EncodeToString(hash.Sum(nil))}
	if last := len(names) - 1; last > 0 {
		file.Name += " to " + names[last]
	}
	s.Source = Source{Name: "CIFAR-10", Images: file, Labels: file, N: s.N()}
	return s, nil
}

// readCIFAR appends the records of r, which holds size bytes, to pixels and labels.
func readCIFAR(r io.Reader, size int64, pixels []byte, labels []int32) ([]byte, []int32, error) {
	if size == 0 || size%cifarRecord != 0 || size > math.MaxInt {
		return nil, nil, fmt.Errorf("%d bytes, want a positive multiple of the %d of a CIFAR-10 record", size, cifarRecord)
	}
	n := int(size / cifarRecord)
	start := len(pixels)
	pixels = append(pixels, make([]byte, n*cifarPixels)...)
	buffered := bufio.NewReaderSize(r, 64<<10)
	for i := range n {
		label, err := buffered.ReadByte()
		if err == nil && int(label) >= len(cifarClasses) {
			return nil, nil, fmt.Errorf("record %d: label %d, want 0 to %d of CIFAR-10", i, label, len(cifarClasses)-1)
		}
		if err == nil {
			labels = append(labels, int32(label))
			_, err = io.ReadFull(buffered, pixels[start+i*cifarPixels:start+(i+1)*cifarPixels])
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, nil, fmt.Errorf("truncated: ends in record %d, want %d records", i, n)
		} else if err != nil {
			return nil, nil, err
		}
	}
	return pixels, labels, nil
}
