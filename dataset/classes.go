package dataset

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/words"
)

var classFormat = folderFormat{
	Format: Format{
		Name:  "A folder for each class",
		Files: "cat/1.png, dog/2.jpg, …, also below test/ or val/ and train/",
		Holds: "labels are the places of the folders in sorted order, as torchvision's ImageFolder has them; classes.txt, with a name a line, or class_to_idx.json beside them gives the model's order",
	},
	found: func(d *folder, split string) string {
		if d.first(listNames(split)...) != "" {
			return ""
		}
		where := splitFolders[split]
		for _, dir := range where {
			if in, err := d.sub(dir); err == nil && dir != "." && in.hasClasses() {
				return dir
			}
		}
		if slices.Contains(where, ".") && d.hasClasses() && !d.isSplit() {
			return "."
		}
		return ""
	},
	read: func(d *folder, q *Query, found string) (*Stored, error) {
		in, err := d.sub(found)
		if err != nil {
			return nil, d.error(found, err)
		}
		s, err := in.readClasses(q, in.order(d))
		if err != nil {
			return nil, fmt.Errorf("dataset: %s: %w", in.path, err)
		}
		return s, nil
	},
}

// splitFolders are where class folders of a split may lie. A folder without splits is a test set.
var splitFolders = map[string][]string{"test": {"test", "val", "."}, "train": {"train"}}

// hasClasses reports whether d has a folder with a picture right in it.
func (d *folder) hasClasses() bool {
	entries, _ := fs.ReadDir(d.inner, ".")
	for _, e := range entries {
		if !d.isClass(e) {
			continue
		}
		inside, _ := fs.ReadDir(d.inner, e.Name())
		if slices.ContainsFunc(inside, func(e fs.DirEntry) bool { return !e.IsDir() && isPicture(e.Name()) }) {
			return true
		}
	}
	return false
}

// isSplit reports whether the folders of d are splits and no classes: then "." is no test set.
func (d *folder) isSplit() bool {
	in, err := d.sub("train")
	return err == nil && d.isDir("train") && in.hasClasses()
}

// isClass reports whether an entry of d may be the folder of a class, a link to one included.
func (d *folder) isClass(e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink != 0 {
		info, err := fs.Stat(d.inner, e.Name())
		return err != nil || info.IsDir() // what cannot be followed is named when it is read
	}
	return e.IsDir()
}

// mostClasses and mostPictures bound what folders may ask for by their names alone.
const (
	mostClasses  = 1 << 17
	mostPictures = 1 << 23
	deepest      = 16
)

// readClasses reads the pictures of d's folders. Its errors name the file.
func (d *folder) readClasses(q *Query, order func() (*classOrder, error)) (*Stored, error) {
	known, err := order()
	if err != nil {
		return nil, err
	}
	entries, err := fs.ReadDir(d.inner, ".")
	if err != nil {
		return nil, regular.Cause(err)
	}
	var names []string
	for _, e := range entries { // sorted by name, byte by byte, as Python sorts
		if d.isClass(e) {
			names = append(names, e.Name())
		}
	}
	if len(names) > mostClasses {
		return nil, fmt.Errorf("%d folders, want at most %d classes", len(names), mostClasses)
	}
	sorted := known == nil
	if sorted {
		if known, err = newClassOrder(names, "the sorted folders"); err != nil {
			return nil, err
		}
	}
	var files []string
	var labels []int32
	left := 0
	list := sha256.New()
	for _, name := range names {
		label, ok := known.index[name]
		before := len(files)
		if files, err = d.pictures(files, name, &left, 0); err != nil {
			return nil, err
		}
		switch {
		case len(files) == before && sorted:
			return nil, fmt.Errorf("folder %.60q has no pictures, want some for each class, as its name counts in their order: remove it, or give the classes in classes.txt", name)
		case len(files) > before && !ok:
			return nil, fmt.Errorf("folder %.60q, want one of the %d names of %s", name, len(known.names), known.from)
		}
		for _, f := range files[before:] {
			labels = append(labels, label)
			fmt.Fprintf(list, "%s,%d\n", f, label)
		}
	}
	if len(files) == 0 {
		return nil, errors.New("no pictures in the folders of classes")
	}
	s, err := readPictures(q, d.inner, files, labels)
	if err != nil {
		return nil, err
	}
	s.set.Classes = known.names
	s.set.Source.Images.Name = d.base()
	s.set.Source.Labels = File{"folders of " + d.base(), hex.EncodeToString(list.Sum(nil))}
	text := "classes are " + known.from + ": " + listClasses(known.names)
	if sorted && textOrder(known.names) {
		text += "; names that are numbers are sorted as texts, as torchvision does, and are not the labels"
	}
	s.note("", "%s", text)
	if left > 0 {
		s.note("", "%d files in its folders are no pictures by their names, and were left out", left)
	}
	return s, nil
}

// textOrder reports whether names are all numbers, and one of them is not its own place.
func textOrder(names []string) bool {
	other := false
	for i, n := range names {
		v, err := strconv.Atoi(n)
		if err != nil {
			return false
		}
		other = other || v != i
	}
	return other
}

// pictures appends the pictures below dir: those of a folder by name, then those of its folders. It
// counts other files in left.
func (d *folder) pictures(files []string, dir string, left *int, depth int) ([]string, error) {
	if depth > deepest {
		return nil, fmt.Errorf("%.60q: more than %d folders in each other, want a folder for each class", dir, deepest)
	}
	entries, err := fs.ReadDir(d.inner, dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: a link must stay within the folder", dir, regular.Cause(err))
	}
	var folders []string
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		ext := strings.ToLower(path.Ext(name))
		switch {
		case e.IsDir():
			folders = append(folders, name)
		case e.Type()&fs.ModeSymlink != 0 && d.isDir(name): // it could lead round in a circle
			return nil, fmt.Errorf("%s: a link to a folder, want folders and pictures in the folder of a class", name)
		case isPicture(name):
			files = append(files, name)
		case slices.Contains(otherPictures, ext):
			return nil, fmt.Errorf("%s: a picture of kind %s, want %s: convert it", name, ext, words.Or(pictureNames()))
		default:
			*left++
		}
		if len(files) > mostPictures {
			return nil, fmt.Errorf("more than %d pictures", mostPictures)
		}
	}
	for _, f := range folders {
		if files, err = d.pictures(files, f, left, depth+1); err != nil {
			return nil, err
		}
	}
	return files, nil
}

func pictureNames() (names []string) {
	for _, f := range pictureFormats {
		names = append(names, f.Name)
	}
	return names
}

// listClasses lists names with their labels: "0 cat, 1 dog".
func listClasses(names []string) string {
	const most = 12
	var all []string
	for i, n := range names[:min(len(names), most)] {
		all = append(all, fmt.Sprintf("%d %.40s", i, strconv.Quote(n)))
	}
	s := strings.Join(all, ", ")
	if more := len(names) - most; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// A classOrder says which label a name has.
type classOrder struct {
	names []string // by label
	index map[string]int32
	from  string // what says so: "classes.txt"
}

func newClassOrder(names []string, from string) (*classOrder, error) {
	o := &classOrder{names: names, index: map[string]int32{}, from: from}
	for i, n := range names {
		if before, twice := o.index[n]; twice {
			return nil, fmt.Errorf("%s: class %.60q has the labels %d and %d, want each name once", from, n, before, i)
		}
		o.index[n] = int32(i)
	}
	return o, nil
}

// orderFiles are where a model's order of classes may stand.
var orderFiles = []struct {
	name string
	read func(data []byte) ([]string, error)
}{
	{"classes.txt", readClassLines},
	{"class_to_idx.json", readClassIndex},
}

// maxOrder is the most bytes of such a file.
const maxOrder = 16 << 20

// order returns a function that reads the order of classes from d or, if it is not there, from the
// folder around it. It returns nil if neither has one.
func (d *folder) order(around *folder) func() (*classOrder, error) {
	return func() (*classOrder, error) {
		for _, in := range []*folder{d, around} {
			for _, file := range orderFiles {
				f, size, err := regular.OpenFS(in.inner, file.name)
				if errors.Is(err, fs.ErrNotExist) {
					continue
				} else if err != nil {
					return nil, fmt.Errorf("%s: %w", file.name, err)
				}
				data, err := io.ReadAll(io.LimitReader(f, maxOrder+1))
				f.Close()
				if err == nil && len(data) > maxOrder {
					err = fmt.Errorf("%d bytes, want at most %d", size, maxOrder)
				}
				var names []string
				if err == nil {
					names, err = file.read(data)
				}
				if err != nil {
					return nil, fmt.Errorf("%s: %w", file.name, regular.Cause(err))
				}
				return newClassOrder(names, file.name)
			}
		}
		return nil, nil
	}
}

// readClassLines reads a name a line. Empty lines at the end do not count.
func readClassLines(data []byte) ([]string, error) {
	lines := strings.Split(strings.TrimRight(strings.TrimPrefix(string(data), "\ufeff"), "\r\n\t "), "\n")
	for i := range lines {
		if lines[i] = strings.TrimSpace(lines[i]); lines[i] == "" {
			return nil, fmt.Errorf("line %d is empty, want the name of class %d", i+1, i)
		}
	}
	return lines, nil
}

// readClassIndex reads {"cat": 0, "dog": 1}.
func readClassIndex(data []byte) ([]string, error) {
	var index map[string]int
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: want names with their labels, as {\"cat\": 0}", err)
	}
	names := make([]string, len(index))
	for n, at := range index {
		if at < 0 || at >= len(names) || names[at] != "" {
			return nil, fmt.Errorf("class %.60q has label %d, want each of 0 to %d once", n, at, len(names)-1)
		}
		names[at] = n
	}
	if len(names) == 0 {
		return nil, errors.New("no classes")
	}
	return names, nil
}
