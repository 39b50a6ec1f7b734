package dataset

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
)

// listCSV is the file that makes a folder one of listed pictures.
const listCSV = "labels.csv"

var listFormat = folderFormat{
	Format: Format{
		Name:  "Pictures and labels.csv",
		Files: "labels.csv, or test/labels.csv and train/labels.csv",
		Holds: "a header file,label (or filename, image, path; class, target, …) and a line for each picture: a path inside the folder, and a label or the name of a class. Separated by commas, semicolons or tabs, with any further columns. Images come in its order",
	},
	found: func(d *folder, split string) string { return d.first(listNames(split)...) },
	read: func(d *folder, q *Query, found string) (*Stored, error) {
		in, err := d.sub(path.Dir(found))
		if err != nil {
			return nil, d.error(found, err)
		}
		s, err := readListed(in.inner, q, in.order(d))
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", in.path, err)
		}
		s.set.Source.Images.Name = in.base()
		return s, nil
	},
}

func listNames(split string) []string {
	names := []string{path.Join(split, listCSV)}
	if split == "test" {
		names = append(names, listCSV)
	}
	return names
}

// Names of columns, in lower case. Further ones are left alone.
var (
	fileColumns  = []string{"file", "filename", "file_name", "file name", "filepath", "file_path", "image", "image_path", "imagepath", "img", "img_path", "path", "image_id", "image_name"}
	labelColumns = []string{"label", "labels", "class", "target", "category", "y", "label_id", "class_id", "label_idx", "class_idx"}
)

// readListed reads the pictures that labels.csv lists. It leaves the name of the images to its
// caller. Its errors name the file.
func readListed(fsys fs.FS, q *Query, order func() (*classOrder, error)) (*Stored, error) {
	list, err := readList(fsys, q)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", listCSV, err)
	}
	labels, classes, sorted, err := list.numbers(order)
	if err != nil {
		return nil, err
	}
	s, err := readPictures(q, fsys, list.files, labels)
	if err != nil {
		return nil, err
	}
	s.set.Classes = classes
	if sorted {
		s.note("", "its labels are names: %s", listClasses(classes))
	}
	s.set.Source.Labels = File{listCSV, list.sum}
	return s, nil
}

// A pictureList is what labels.csv says.
type pictureList struct {
	files  []string // clean and with slashes
	labels []string
	lines  []int // of labels
	sum    string
}

// readList reads labels.csv.
func readList(fsys fs.FS, q *Query) (*pictureList, error) {
	f, _, err := regular.OpenFS(fsys, listCSV)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	hash := sha256.New()
	rows, err := newTable(io.TeeReader(f, hash))
	if err != nil {
		return nil, err
	}
	list := &pictureList{}
	seen := map[string]int{}
	file, label, columns := 0, 0, 0
	for first := true; ; first = false {
		row, err := rows.Read()
		if err == io.EOF {
			break
		} else if err != nil {
			return nil, regular.Cause(err)
		}
		line, _ := rows.FieldPos(0)
		if first {
			columns = len(row)
			if file, err = column(row, q.ImagesKey, fileColumns); err == nil {
				label, err = column(row, q.LabelsKey, labelColumns)
			}
			if err != nil {
				return nil, remedy.Want(remedy.Keys, fmt.Errorf("line %d: header %.60q, want file,label: %w", line, row, err))
			}
			continue
		}
		if len(row) != columns {
			return nil, fmt.Errorf("line %d: %d fields, want %d as in the header", line, len(row), columns)
		}
		given := strings.TrimSpace(row[file])
		if isPicture(row[label]) && !isPicture(given) {
			return nil, fmt.Errorf("line %d: label %.60q and file %.60q: are the columns changed about?", line, row[label], given)
		}
		name := path.Clean(given)
		if strings.Contains(given, `\`) { // as Windows writes paths
			if _, err := fs.Stat(fsys, name); err != nil {
				name = path.Clean(strings.ReplaceAll(given, `\`, "/"))
			}
		}
		if given == "" || !fs.ValidPath(name) {
			return nil, fmt.Errorf("line %d: file %.60q, want a path inside the folder, with slashes", line, given)
		}
		if before, ok := seen[name]; ok {
			// Also so that a short file cannot ask for one image without end.
			return nil, fmt.Errorf("line %d: file %.60q again, after line %d, want each once", line, given, before)
		}
		seen[name] = line
		list.files = append(list.files, strings.Clone(name))
		list.labels = append(list.labels, strings.Clone(strings.TrimSpace(row[label])))
		list.lines = append(list.lines, line)
	}
	if len(list.files) == 0 {
		return nil, errors.New("no files, want a header file,label and a line for each image")
	}
	list.sum = hex.EncodeToString(hash.Sum(nil))
	return list, nil
}

// numbers returns the labels as numbers: integers as they are, or names of classes in their order.
// sorted: the order is that of the names.
func (l *pictureList) numbers(order func() (*classOrder, error)) (labels []int32, classes []string, sorted bool, err error) {
	known, err := order()
	if err != nil {
		return nil, nil, false, err
	}
	text := func(line int, label string, want string) error {
		return fmt.Errorf("%s: line %d: label %.60q, want %s", listCSV, line, label, want)
	}
	whole := 0
	for _, label := range l.labels {
		if _, ok := integer32(label); ok {
			whole++
		}
	}
	labels = make([]int32, len(l.labels))
	if whole == len(labels) {
		for i, label := range l.labels {
			labels[i], _ = integer32(label)
		}
		if known != nil {
			classes = known.names
		}
		return labels, classes, false, nil
	}
	for i, label := range l.labels {
		if _, ok := integer32(label); whole > 0 && !ok {
			return nil, nil, false, text(l.lines[i], label, "an integer, as other lines have")
		}
		if label == "" || isPicture(label) {
			return nil, nil, false, text(l.lines[i], label, "an integer or the name of a class")
		}
		if _, err := strconv.ParseFloat(label, 64); err == nil {
			return nil, nil, false, text(l.lines[i], label, "an integer that fits int32")
		}
	}
	if sorted = known == nil; sorted {
		names := slices.Clone(l.labels)
		slices.Sort(names)
		if known, err = newClassOrder(slices.Compact(names), "the sorted names of "+listCSV); err != nil {
			return nil, nil, false, err
		}
	}
	for i, label := range l.labels {
		at, ok := known.index[label]
		if !ok {
			return nil, nil, false, text(l.lines[i], label, "one of the "+strconv.Itoa(len(known.names))+" names of "+known.from)
		}
		labels[i] = at
	}
	return labels, known.names, sorted, nil
}

// integer32 reads a label. Programs that know of missing labels write 7 as 7.0.
func integer32(s string) (int32, bool) {
	if v, err := strconv.ParseInt(s, 10, 32); err == nil {
		return int32(v), true
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 || strings.ContainsAny(s, "eExX") {
		return 0, false
	}
	return int32(v), true
}

// newTable reads a table of text, whose fields commas, semicolons or tabs separate: whichever of
// them the first line has, in this order of preference where it has several.
func newTable(r io.Reader) (*csv.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if mark, err := b.Peek(3); err == nil && string(mark) == "\ufeff" { // Excel writes it
		b.Discard(3)
	}
	start, err := b.Peek(64 << 10)
	if err != nil && err != io.EOF {
		return nil, regular.Cause(err)
	}
	start, _, _ = bytes.Cut(start, []byte("\n"))
	rows := csv.NewReader(b)
	for _, comma := range "\t;," {
		if bytes.ContainsRune(start, comma) {
			rows.Comma = comma
		}
	}
	rows.ReuseRecord = true
	rows.FieldsPerRecord = -1 // for an error of our own
	return rows, nil
}

// column returns the place of the column key of a header or, without one, of the only column that
// is called as one of names.
func column(header []string, key string, names []string) (int, error) {
	at := -1
	for i, h := range header {
		h = strings.TrimSpace(h)
		if key != "" && h != key || key == "" && !slices.Contains(names, strings.ToLower(h)) {
			continue
		}
		if at >= 0 {
			return 0, fmt.Errorf("both %.40q and %.40q would do", header[at], h)
		}
		at = i
	}
	switch {
	case at < 0 && key != "":
		return 0, fmt.Errorf("no column %.40q", key)
	case at < 0:
		return 0, fmt.Errorf("no column is called %s or the like", names[0])
	}
	return at, nil
}
