// Package outdir is the folder that results go to. It never overwrites a file that it did not
// write, and writes the files of a run all or not at all.
package outdir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/staged"
)

const (
	indexName = ".advsweep.json"
	// How many hashes a file keeps: one would do, more let several runs write to one folder at
	// once.
	indexDepth = 8
	maxIndex   = 16 << 20 // bytes: some 27,000 files with all their hashes
	// How much of a file that is to be replaced is kept in memory, in bytes, to put it back if a
	// later step fails.
	maxKept = 1 << 30
)

// A TakenError says that something is in the way that advsweep did not write, or that was changed
// since. Another folder mends it, and so does moving away what is there.
type TakenError struct {
	Path string // of what is there
	Why  string // what it is or is not: "was not written by advsweep"
	Err  error  // that showed it, or nil
}

func (e *TakenError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("outdir: %s %s: %v", e.Path, e.Why, e.Err)
	}
	return fmt.Sprintf("outdir: %s %s", e.Path, e.Why)
}

func (e *TakenError) Unwrap() error { return e.Err }

// A MakeError says that the folder is not there and cannot be made. Another folder mends it.
type MakeError struct {
	Dir string
	Err error
}

func (e *MakeError) Error() string {
	return fmt.Sprintf("outdir: make output folder %s: %v", e.Dir, e.Err)
}

func (e *MakeError) Unwrap() error { return e.Err }

// A Folder is where a run writes its files. It never overwrites a file that
// advsweep did not write, or that was changed since: an index in the folder,
// .advsweep.json, holds the SHA-256 of what was written under each name.
//
// Any number of processes may write to one folder: each file is always whole,
// from one of them.
type Folder struct {
	dir      string
	outdated []string // see Outdated
	removed  []string
}

// A File is a name in a Folder and what it shall hold.
type File struct {
	Name string
	Data []byte
}

// Open makes dir if there is none, and returns an error if the files called
// names could not be written there: so a run finds out before it computes.
func Open(dir string, names ...string) (*Folder, error) {
	if dir == "" {
		return nil, errors.New("outdir: the name of the output folder is empty")
	}
	f := &Folder{dir: dir}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, &TakenError{Path: dir, Why: "is not a folder"}
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, &MakeError{dir, regular.Cause(err)}
	}
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	staged.Sweep(root, ".")
	// Whether it can be written to shows only when it is.
	tmp, err := f.stage(root, File{Name: indexName})
	if err != nil {
		return nil, err
	}
	tmp.Drop()
	if _, err := f.replaceable(root, names); err != nil {
		return nil, err
	}
	return f, nil
}

// root opens the folder. It is not held open: some systems would let nobody remove or rename it.
func (f *Folder) root() (*os.Root, error) {
	root, err := regular.OpenRoot(f.dir)
	if err != nil {
		return nil, fmt.Errorf("outdir: output folder %s: %w", f.dir, err)
	}
	return root, nil
}

// Outdated names files that other runs write and this one does not. Those that are there would pass
// for results of this run, so Write removes them. It returns an error if one was changed since
// advsweep wrote it. A file that advsweep never wrote stays.
func (f *Folder) Outdated(names ...string) error {
	f.outdated = names
	root, err := f.root()
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = f.ours(root, names)
	return err
}

// Written lists, in order, what advsweep wrote to the folder at some time. It need not be there
// still.
func (f *Folder) Written() ([]string, error) {
	root, err := f.root()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m, err := f.index(root)
	return slices.Sorted(maps.Keys(m.Files)), err
}

// Removed are the names of what the last Write removed because it was Outdated.
func (f *Folder) Removed() []string { return f.removed }

// ours gives the contents of those of names that exist and that advsweep wrote, or an error as
// replaceable does.
func (f *Folder) ours(root *os.Root, names []string) (map[string]old, error) {
	m, err := f.index(root)
	if err != nil {
		return nil, err
	}
	var known []string
	for _, name := range names {
		if len(m.Files[name]) > 0 {
			known = append(known, name)
		}
	}
	return f.replaceable(root, known)
}

// Path is where the file called name is or will be.
func (f *Folder) Path(name string) string { return filepath.Join(f.dir, name) }

// syncDir is a variable for tests.
var syncDir = staged.SyncDirIn

// Write writes files, all of them or none. They are first written to temporary
// names beside their own, as a full disk shows there, and then renamed. On any
// error the temporary files are removed and what was there before is there
// again. It checks once more that no file is overwritten or removed that is not advsweep's.
//
// Only if the disk fails when all files have their names do they stay with an error: they may not
// outlast a power cut.
func (f *Folder) Write(files ...File) (err error) {
	root, err := f.root()
	if err != nil {
		return err
	}
	defer root.Close()
	var names []string
	hashes := make(map[string]string, len(files))
	for _, file := range files {
		if _, twice := hashes[file.Name]; twice {
			return fmt.Errorf("outdir: %s is written twice", f.Path(file.Name))
		}
		names = append(names, file.Name)
		hashes[file.Name] = hash(file.Data)
	}
	if _, err := f.replaceable(root, names); err != nil {
		return err
	}
	outdated, err := f.ours(root, f.outdated)
	if err != nil {
		return err
	}
	var changes []change
	defer func() {
		for _, c := range changes {
			c.drop()
		}
	}()
	// An outdated file goes before the new ones come: after a crash in between it is missing, not
	// wrong.
	removed := slices.Sorted(maps.Keys(outdated))
	for _, name := range removed {
		changes = append(changes, change{name: name})
	}
	for _, file := range files {
		tmp, err := f.stage(root, file)
		if err != nil {
			return err
		}
		changes = append(changes, change{file.Name, tmp})
	}
	// The index goes first. After a crash at any later point each file is the
	// old one or the new one, and it knows both.
	if err := f.record(root, hashes); err != nil {
		return err
	}
	if err := f.commit(root, changes); err != nil {
		return err
	}
	// A process that read the index before our record and wrote it after dropped
	// our hashes. The files are in place, so not to mend that is no failure: the worst
	// is that the next run takes them for the user's.
	_ = f.record(root, hashes)
	f.removed = removed
	if err := syncDir(root, "."); err != nil {
		return fmt.Errorf("outdir: write %s: %w", f.dir, err)
	}
	return nil
}

// A change is what becomes of the file of a name.
type change struct {
	name string
	to   *staged.File // nil: it is removed
}

func (c change) drop() {
	if c.to != nil {
		c.to.Drop()
	}
}

// commit makes the changes. If one cannot be made, those before it are taken back.
func (f *Folder) commit(root *os.Root, changes []change) (err error) {
	olds := map[string]old{}
	for i, c := range changes {
		var before map[string]old
		if before, err = f.replaceable(root, []string{c.name}); err == nil {
			if c.to != nil {
				err = c.to.Commit(c.name)
			} else if err = root.Remove(c.name); errors.Is(err, fs.ErrNotExist) {
				err = nil // another run was faster
			}
			if err != nil {
				err = fmt.Errorf("outdir: write %s: %w", f.Path(c.name), regular.Cause(err))
			}
		}
		if err == nil {
			maps.Copy(olds, before)
			continue
		}
		for _, done := range changes[:i] {
			if failed := f.restore(root, done.name, olds); failed != nil {
				err = fmt.Errorf("%w; %w", err, failed)
			}
		}
		return err
	}
	return nil
}

// restore puts back what name was before, if anything.
func (f *Folder) restore(root *os.Root, name string, olds map[string]old) (err error) {
	was, existed := olds[name]
	switch {
	case existed && !was.kept:
		err = fmt.Errorf("it had more than %d bytes", int64(maxKept))
	case existed:
		err = staged.Write(root, name, was.data, true)
	default:
		if err = root.Remove(name); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("outdir: %s was replaced and cannot be put back: %w", f.Path(name), regular.Cause(err))
	}
	return nil
}

// old is what a file holds before it is replaced.
type old struct {
	data []byte
	kept bool // data: it is not too large for that
}

// replaceable returns an error unless each of names can be written without loss:
// no such file, or a regular one with content that the index knows. It gives the
// contents of those that exist.
func (f *Folder) replaceable(root *os.Root, names []string) (map[string]old, error) {
	m, err := f.index(root)
	if err != nil {
		return nil, err
	}
	olds := map[string]old{}
	for _, name := range names {
		if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, fmt.Errorf("outdir: output name %q, want a plain visible file name", name)
		}
		exists, err := f.isRegular(root, name)
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		known := m.Files[name]
		if len(known) == 0 { // not read: it may be of any size
			return nil, &TakenError{Path: f.Path(name), Why: "was not written by advsweep"}
		}
		was, sum, err := f.read(root, name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(known, sum) {
			return nil, &TakenError{Path: f.Path(name), Why: "was changed since advsweep wrote it"}
		}
		olds[name] = was
	}
	return olds, nil
}

// read reads the file called name and gives its hash too.
func (f *Folder) read(root *os.Root, name string) (was old, sum string, err error) {
	file, size, err := regular.OpenIn(root, name)
	if err == nil {
		defer file.Close()
		h := sha256.New()
		if was.kept = size <= maxKept; was.kept {
			was.data, err = regular.All(io.TeeReader(file, h), size, maxKept)
		} else {
			_, err = io.Copy(h, file)
		}
		sum = hex.EncodeToString(h.Sum(nil))
	}
	if err != nil {
		return old{}, "", fmt.Errorf("outdir: read %s: %w", f.Path(name), regular.Cause(err))
	}
	return was, sum, nil
}

// An index says what advsweep wrote into a folder.
type index struct {
	Program string              `json:"program"`
	Format  int                 `json:"format"`
	Files   map[string][]string `json:"files"` // SHA-256 by name, the newest last
}

func (f *Folder) index(root *os.Root) (index, error) {
	empty := index{Program: "advsweep", Format: 1, Files: map[string][]string{}}
	path := f.Path(indexName)
	exists, err := f.isRegular(root, indexName)
	if err != nil {
		return index{}, err
	}
	if !exists {
		return empty, nil
	}
	data, err := regular.ReadIn(root, indexName, maxIndex)
	if _, large := errors.AsType[*regular.TooLargeError](err); large {
		return index{}, &TakenError{path, "is not an index of advsweep", err}
	}
	if err != nil {
		return index{}, fmt.Errorf("outdir: read %s: %w", path, err)
	}
	var m index
	if err := json.Unmarshal(data, &m); err != nil {
		return index{}, &TakenError{path, "is not an index of advsweep", err}
	}
	if m.Program != empty.Program || m.Format != empty.Format || m.Files == nil {
		return index{}, &TakenError{Path: path, Why: "is not an index that this advsweep knows"}
	}
	return m, nil
}

// record adds hashes to the index.
func (f *Folder) record(root *os.Root, hashes map[string]string) error {
	m, err := f.index(root)
	if err != nil {
		return err
	}
	changed := false
	for name, sum := range hashes {
		old := m.Files[name]
		known := slices.DeleteFunc(slices.Clone(old), func(s string) bool { return s == sum })
		known = append(known, sum)
		known = known[max(0, len(known)-indexDepth):]
		changed = changed || !slices.Equal(known, old)
		m.Files[name] = known
	}
	if !changed {
		return nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	if err := enc.Encode(m); err != nil {
		return fmt.Errorf("outdir: %s: %w", f.Path(indexName), err)
	}
	if err := staged.Write(root, indexName, b.Bytes(), true); err != nil {
		return fmt.Errorf("outdir: write %s: %w", f.Path(indexName), err)
	}
	return nil
}

// stage writes a file down to the disk, under a temporary name. On an error none is left.
func (f *Folder) stage(root *os.Root, file File) (*staged.File, error) {
	tmp, err := staged.Stage(root, ".", file.Data, true)
	if err != nil {
		return nil, fmt.Errorf("outdir: write %s: %w", f.Path(file.Name), err)
	}
	return tmp, nil
}

// isRegular reports whether there is a file called name. What is there but is a link,
// a folder, a pipe or a device is an error.
func (f *Folder) isRegular(root *os.Root, name string) (bool, error) {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("outdir: %s: %w", f.Path(name), regular.Cause(err))
	}
	if !info.Mode().IsRegular() {
		return false, &TakenError{Path: f.Path(name), Why: "is not a regular file"}
	}
	return true, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
