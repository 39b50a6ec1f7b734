package vnnlib

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"advsweep/internal/regular"
)

// An Instance is a network, a property of it and the time that an answer may take.
type Instance struct {
	Network, Property string        // paths of files
	Timeout           time.Duration // 0 if none is given
}

// Instances reads a competition's instances.csv: a row for each instance with the files of network
// and property, relative to the folder of the list, and seconds. A property that is there with the
// ending .gz alone is named with it. It returns an error that names the line, also for an empty
// list.
func Instances(path string) (all []Instance, err error) {
	f, _, err := regular.Open(path)
	if err != nil {
		return nil, fmt.Errorf("vnnlib: %s: %w", path, regular.Cause(err))
	}
	defer f.Close()
	rows := csv.NewReader(f)
	rows.FieldsPerRecord, rows.TrimLeadingSpace, rows.ReuseRecord = -1, true, true
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("vnnlib: %s: %w", path, err)
		}
		one, err := instance(row)
		if err != nil {
			line, _ := rows.FieldPos(0)
			return nil, fmt.Errorf("vnnlib: %s: line %d: %w", path, line, err)
		}
		for _, file := range []*string{&one.Network, &one.Property} {
			if !filepath.IsAbs(*file) {
				*file = filepath.Join(filepath.Dir(path), filepath.FromSlash(*file))
			}
		}
		if _, err := os.Stat(one.Property); errors.Is(err, os.ErrNotExist) {
			if _, err := os.Stat(one.Property + ".gz"); err == nil {
				one.Property += ".gz"
			}
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("vnnlib: %s: no instances, want lines as net.onnx,property.vnnlib,300", path)
	}
	return all, nil
}

// maxTimeout bounds the seconds of an instance.
const maxTimeout = 1e6

// instance reads a row.
func instance(row []string) (one Instance, err error) {
	if len(row) < 2 || len(row) > 3 || strings.TrimSpace(row[0]) == "" || strings.TrimSpace(row[1]) == "" {
		return one, fmt.Errorf("%d fields, want those of net.onnx,property.vnnlib,300: files of network and property, and seconds", len(row))
	}
	one.Network, one.Property = strings.TrimSpace(row[0]), strings.TrimSpace(row[1])
	if len(row) == 2 {
		return one, nil
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(row[2]), 64)
	if err != nil || !(seconds > 0 && seconds <= maxTimeout) {
		return one, fmt.Errorf("timeout %s, want seconds above 0, at most %g", quoted(row[2]), maxTimeout)
	}
	one.Timeout = time.Duration(seconds * float64(time.Second))
	return one, nil
}
