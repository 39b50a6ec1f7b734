package dataset

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"

	"advsweep/internal/regular"
)

// The files of CIFAR-10 and CIFAR-100 as their authors give them out.
//
// Krizhevsky, cs.toronto.edu/~kriz/cifar.html, "Binary version" and "Python version".

// A record is labels and the 32×32 pixels of three channels.
const (
	cifarPixels = 3 * 32 * 32
	cifarRecord = 1 + cifarPixels // of CIFAR-10
)

// A cifar is one of the two sets in one of two versions.
type cifar struct {
	name    string
	dirs    []string // where the files lie below the folder that is given
	files   func(split string) []string
	labels  int // bytes of a record before its pixels; the last is the label
	classes []string
	key     string // of the labels in a pickle
	number  int    // of classes
}

var cifar10Binary = cifar{
	name: "CIFAR-10", dirs: []string{".", "cifar-10-batches-bin"}, files: cifarNames, labels: 1,
	classes: cifarClasses, number: 10,
}

var cifar10Format = folderFormat{
	Format: Format{
		Name:  "CIFAR-10, binary",
		Files: "test_batch.bin, or data_batch_1.bin to data_batch_5.bin",
		Holds: "also compressed by gzip, and in cifar-10-batches-bin/ below the folder",
	},
	found: cifar10Binary.found, read: cifar10Binary.readBinary, unpack: cifar10Binary.has,
}

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

// found looks for one of the files, plain or compressed.
func (c *cifar) found(d *folder, split string) string {
	var names []string
	for _, n := range c.files(split) {
		names = append(names, n, n+".gz")
	}
	return d.first(below(c.dirs, names...)...)
}

func (c *cifar) has(base string) bool {
	return slices.Contains(c.files("test"), base) || slices.Contains(c.files("train"), base)
}

// readBinary reads the files of a split of d in turn.
func (c *cifar) readBinary(d *folder, q *Query, found string) (*Stored, error) {
	return c.read(d, q, found, func(r io.Reader, size int64, pixels []byte, labels []int32) ([]byte, []int32, error) {
		return readCIFAR(c, r, size, pixels, labels)
	})
}

// read reads the files of a split in turn, each by one, which appends to pixels and labels.
func (c *cifar) read(d *folder, q *Query, found string, one func(r io.Reader, size int64, pixels []byte, labels []int32) ([]byte, []int32, error)) (*Stored, error) {
	names := c.files(q.Split)
	hash := sha256.New()
	var pixels []byte
	set := &Set{Classes: c.classes}
	for _, name := range names {
		name = path.Join(path.Dir(found), name)
		if zipped := d.first(name, name+".gz"); zipped != "" {
			name = zipped
		}
		f, size, err := regular.OpenFS(d.files, name)
		if err == nil {
			var r io.Reader = io.TeeReader(f, hash)
			if r, size, err = gunzipped(r, size); err == nil {
				pixels, set.Labels, err = one(r, size, pixels, set.Labels)
			}
			f.Close()
		}
		if err != nil {
			return nil, d.error(name, err)
		}
	}
	file := File{names[0], hex.EncodeToString(hash.Sum(nil))}
	if last := len(names) - 1; last > 0 {
		file.Name += " to " + names[last]
	}
	set.Source = Source{Name: c.name, Images: file, Labels: file, N: set.N()}
	return storedOf(q, set, []int{set.N(), 3, 32, 32}, pixels), nil
}

// gunzipped returns r and size as they are, or what a gzip file of that size holds and how long
// that is.
func gunzipped(r io.Reader, size int64) (io.Reader, int64, error) {
	start := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := start.Peek(2); !strings.HasPrefix(string(magic), "\x1f\x8b") {
		return start, size, nil
	}
	z, err := gzip.NewReader(start)
	if err != nil {
		return nil, 0, err
	}
	most := max(bombSize, maxRatio*size)
	data, err := io.ReadAll(io.LimitReader(z, most+1))
	if err != nil {
		return nil, 0, gzipError(err)
	}
	if int64(len(data)) > most {
		return nil, 0, fmt.Errorf("%d compressed bytes hold more than %d, as in a bomb: decompress it first if it is none", size, most)
	}
	return bytes.NewReader(data), int64(len(data)), nil
}

// readCIFAR appends the records of r, which holds size bytes, to pixels and labels.
func readCIFAR(c *cifar, r io.Reader, size int64, pixels []byte, labels []int32) ([]byte, []int32, error) {
	record := int64(c.labels + cifarPixels)
	if size == 0 || size%record != 0 || size > math.MaxInt {
		return nil, nil, fmt.Errorf("%d bytes, want a positive multiple of the %d of a %s record", size, record, c.name)
	}
	n := int(size / record)
	start := len(pixels)
	pixels = append(pixels, make([]byte, n*cifarPixels)...)
	buffered := bufio.NewReaderSize(r, 64<<10)
	head := make([]byte, c.labels)
	for i := range n {
		_, err := io.ReadFull(buffered, head)
		label := head[c.labels-1]
		if err == nil && int(label) >= c.number {
			return nil, nil, fmt.Errorf("record %d: label %d, want 0 to %d of %s", i, label, c.number-1, c.name)
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
