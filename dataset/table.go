package dataset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
)

var tableFormat = fileFormat{
	Format: Format{
		Name: "CSV of pixels", Files: ".csv, as Kaggle's label,pixel0,pixel1,…",
		Holds: "a row for each image: a column of labels, and the pixels of the others from left to right, integers from 0 to 255 or floats. Without a header the first column is the label",
	},
	sniff: func(name string, start []byte) bool {
		return (strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".tsv") || strings.HasSuffix(name, ".txt")) && !bytes.ContainsRune(start, 0)
	},
	read: func(path string, q *Query) (*Stored, error) {
		f, size, err := regular.Open(path)
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", path, err)
		}
		defer f.Close()
		hash := sha256.New()
		s, err := readTable(io.TeeReader(io.LimitReader(f, size), hash), q)
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", path, regular.Cause(err))
		}
		file := File{filepath.Base(path), hex.EncodeToString(hash.Sum(nil))}
		s.set.Source.Images, s.set.Source.Labels, s.set.Source.N = file, file, s.set.N()
		return s, nil
	},
}

// readTable reads a table of pixels. It takes no more than four bytes for each two of the file.
func readTable(r io.Reader, q *Query) (*Stored, error) {
	rows, err := newTable(r)
	if err != nil {
		return nil, err
	}
	s := &Stored{query: *q}
	var pixels []float32
	label, columns, whole := 0, 0, true
	for first := true; ; first = false {
		row, err := rows.Read()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, regular.Cause(err)
		}
		line, _ := rows.FieldPos(0)
		if first {
			if columns = len(row); columns < 2 {
				return nil, fmt.Errorf("line %d: one column, want a label and pixels", line)
			}
			if !allNumbers(row) {
				if label, err = column(row, q.LabelsKey, labelColumns); err != nil {
					if _, listed := column(row, q.ImagesKey, fileColumns); listed == nil {
						return nil, fmt.Errorf("line %d: header %.60q of a list of files, want pixels: give the folder of the files, with this list in it as %s", line, row[:min(len(row), 4)], listCSV)
					}
					return nil, remedy.Want(remedy.Keys, fmt.Errorf("line %d: header %.60q of %d columns, want one of labels: %w", line, row[:min(len(row), 4)], len(row), err))
				}
				if file, err := column(row, q.ImagesKey, fileColumns); err == nil && file != label && columns < 16 {
					return nil, fmt.Errorf("line %d: header %.60q of a list of files, want pixels: give the folder of the files, with this list in it as %s", line, row[:min(len(row), 4)], listCSV)
				}
				continue
			}
			if q.LabelsKey != "" {
				return nil, fmt.Errorf("line %d: no header, want one with the column %.40q", line, q.LabelsKey)
			}
			s.note("", "it has no header: the first column was taken for the labels, the other %d for pixels", columns-1)
		}
		if len(row) != columns {
			return nil, fmt.Errorf("line %d: %d fields, want %d as in the first line", line, len(row), columns)
		}
		for i, field := range row {
			field = strings.TrimSpace(field)
			if i == label {
				v, ok := integer32(field)
				if !ok {
					return nil, fmt.Errorf("line %d: label %.60q, want an integer", line, field)
				}
				s.set.Labels = append(s.set.Labels, v)
				continue
			}
			v, err := strconv.ParseFloat(field, 32)
			if err != nil {
				return nil, fmt.Errorf("line %d, field %d: pixel %.60q, want a number that fits float32", line, i+1, field)
			}
			whole = whole && !strings.ContainsAny(field, ".eExXpPnN")
			pixels = append(pixels, float32(v))
		}
	}
	n := s.set.N()
	if n == 0 {
		return nil, errors.New("no rows, want one for each image")
	}
	s.shape = []int{n, columns - 1}
	s.set.Source.Type = "float"
	if whole {
		s.set.Source.Type = "integers"
	}
	quiet := s.set.Notes // of integers it goes without saying that 255 is white
	err = s.storeFloats(len(pixels), whole, func(i int) float64 { return float64(pixels[i]) }, nil)
	if whole && err == nil && s.query.PixelMax == 0 && s.set.Source.Hi > 127 {
		s.set.Notes = quiet
	}
	return s, err
}

func allNumbers(row []string) bool {
	for _, f := range row {
		if _, err := strconv.ParseFloat(strings.TrimSpace(f), 64); err != nil {
			return false
		}
	}
	return true
}
