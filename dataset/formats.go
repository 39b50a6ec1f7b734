package dataset

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"advsweep/internal/filekind"
	"advsweep/internal/regular"
	"advsweep/internal/words"
)

// A Format is a kind of files that images are read from, for people. Help and README are made from
// Formats.
type Format struct {
	Name  string // "CIFAR-10, binary"
	Files string // what the files are called, or how they begin
	Holds string // what is read of them
}

// The tables of formats, one file an entry. The first that knows a file or folder reads it.
var (
	folderFormats  = []folderFormat{mnistFormat, cifar10Format, cifar100Format, cifar10Python, cifar100Python, listFormat, classFormat}
	fileFormats    = []fileFormat{npzFormat, tarFormat, tableFormat}
	pairFormats    = []pairFormat{npyFormat, idxFormat}
	pictureFormats = []pictureFormat{pngFormat, jpegFormat, bmpFormat, webpFormat}
)

// Formats lists what Open reads: folders, single files, pairs of files, and pictures in folders.
func Formats() (folders, files, pairs, pictures []Format) {
	for _, f := range folderFormats {
		folders = append(folders, f.Format)
	}
	for _, f := range fileFormats {
		files = append(files, f.Format)
	}
	for _, f := range pairFormats {
		pairs = append(pairs, f.Format)
	}
	for _, f := range pictureFormats {
		pictures = append(pictures, f.Format)
	}
	return folders, files, pairs, pictures
}

// A folderFormat is a way to store a split in a folder.
type folderFormat struct {
	Format
	// found returns the file or folder below d that tells the format, or "". It may look at names
	// only. Of a file that cannot be read it returns the name: read returns the error.
	found func(d *folder, split string) string
	read  func(d *folder, q *Query, found string) (*Stored, error)
	// unpack reports whether an archive's file of this base name belongs to the format. nil: the
	// format is not read from archives.
	unpack func(base string) bool
}

// A fileFormat is one file with images and labels.
type fileFormat struct {
	Format
	// sniff tells by the file's name and its first 512 bytes, or fewer of a shorter file.
	sniff func(name string, start []byte) bool
	read  func(path string, q *Query) (*Stored, error)
}

// A folder is where the files of a data set lie.
type folder struct {
	path  string // for errors
	files fs.FS  // of names that formats fix; links are followed
	inner fs.FS  // of names that files give; links cannot leave the folder
	close func()
}

func openFolder(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", dir, regular.Cause(err))
	}
	return &folder{dir, os.DirFS(dir), root.FS(), func() { root.Close() }}, nil
}

// sub is the folder name below d.
func (d *folder) sub(name string) (*folder, error) {
	if name == "." {
		return d, nil
	}
	files, err := fs.Sub(d.files, name)
	if err != nil {
		return nil, err
	}
	inner, err := fs.Sub(d.inner, name)
	if err != nil {
		return nil, err
	}
	return &folder{filepath.Join(d.path, filepath.FromSlash(name)), files, inner, d.close}, nil
}

// error is err of the file name in d.
func (d *folder) error(name string, err error) error {
	return fmt.Errorf("dataset: %s: %w", filepath.Join(d.path, filepath.FromSlash(name)), regular.Cause(err))
}

// base is the name of the folder itself.
func (d *folder) base() string {
	if abs, err := filepath.Abs(d.path); err == nil {
		return filepath.Base(abs)
	}
	return filepath.Base(d.path)
}

// first returns the first of names that is in d, or "". A file that is there but cannot be read
// counts: who reads it returns the error.
func (d *folder) first(names ...string) string {
	for _, name := range names {
		if _, err := fs.Stat(d.files, name); err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, syscall.ENOTDIR) {
			return name
		}
	}
	return ""
}

// isDir reports whether name is a folder in d.
func (d *folder) isDir(name string) bool {
	info, err := fs.Stat(d.files, name)
	return err == nil && info.IsDir()
}

// below returns names in each of folders, in that order.
func below(folders []string, names ...string) (all []string) {
	for _, f := range folders {
		for _, n := range names {
			all = append(all, path.Join(f, n))
		}
	}
	return all
}

// openPath reads a folder or a file that holds images and labels.
func openPath(q *Query) (*Stored, error) {
	info, err := os.Stat(q.Path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: no %s images: %w", q.Path, q.Split, regular.Cause(err))
	}
	if !info.IsDir() {
		return openFile(q)
	}
	d, err := openFolder(q.Path)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return openIn(d, q)
}

// openIn reads what d holds.
func openIn(d *folder, q *Query) (*Stored, error) {
	var formats []folderFormat
	var found []string
	for _, f := range folderFormats {
		if name := f.found(d, q.Split); name != "" {
			formats, found = append(formats, f), append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return nil, notFound{fmt.Errorf("dataset: %s: no %s images: %s", d.path, q.Split, d.inventory(q.Split))}
	case 1:
		return formats[0].read(d, q, found[0])
	}
	return nil, fmt.Errorf("dataset: %s: both %s and %s, want a folder for each: name the one that is meant", d.path, found[0], found[1])
}

// A notFound error says that a folder holds no data set. It is an fs.ErrNotExist.
type notFound struct{ error }

func (notFound) Is(target error) bool { return target == fs.ErrNotExist }

// inventory says what is in a folder in which no format is found, and what will do.
func (d *folder) inventory(split string) string {
	var names []string
	pictures, total := 0, 0
	entries, unread := fs.ReadDir(d.inner, ".")
	for _, e := range entries {
		total++
		switch {
		case !e.IsDir() && isPicture(e.Name()):
			pictures++
		case len(names) < 6:
			name := e.Name()
			if e.IsDir() {
				name += "/"
			}
			names = append(names, fmt.Sprintf("%.40q", name))
		}
	}
	var there []string
	if pictures > 0 {
		there = append(there, fmt.Sprintf("%d pictures", pictures))
	}
	there = append(there, names...)
	if more := total - pictures - len(names); more > 0 {
		there = append(there, fmt.Sprintf("%d more", more))
	}
	s := "it is empty"
	if len(there) > 0 {
		s = "it holds " + words.And(there)
	}
	if pictures > 0 {
		where, classes := listCSV+" beside them", "a folder for each class"
		if split != "test" {
			where, classes = path.Join(split, listCSV), split+"/ with "+classes
		}
		return s + ", want a " + where + ", with a header file,label and a line for each, or " + classes
	}
	if unread != nil {
		s = "its files are those of another split"
	}
	classes := "a folder for each class of pictures"
	if split != "test" {
		classes = split + "/ with " + classes
	}
	want := []string{mnistNames(split, "images")[0], cifarNames(split)[0], path.Join(split, listCSV), classes}
	return s + ", want " + words.Or(want)
}

// openFile reads one file that holds images and labels.
func openFile(q *Query) (*Stored, error) {
	f, size, err := regular.Open(q.Path)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", q.Path, err)
	}
	defer f.Close()
	start := make([]byte, min(size, 512))
	n, _ := f.ReadAt(start, 0)
	start = start[:n]
	name := strings.ToLower(filepath.Base(q.Path))
	for _, format := range fileFormats {
		if format.sniff(name, start) {
			return format.read(q.Path, q)
		}
	}
	var want []string
	for _, format := range fileFormats {
		want = append(want, format.Name)
	}
	is := fmt.Sprintf("starts with %.8q", start)
	if k, ok := filekind.Of(f, size); ok && k.Data != "" {
		is = k.Name + ": " + k.Data
	}
	return nil, fmt.Errorf("dataset: %s: %s; want a folder, or a file that holds images and labels: %s", q.Path, is, words.Or(want))
}
