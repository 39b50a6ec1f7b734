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
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/regular"
)

const (
	indexName = ".advsweep.json"
	// How many hashes a file keeps: one would do, more let several runs write to one folder at
	// once.
	indexDepth = 8
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
	tmp, err := f.stage(indexName, nil)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(tmp); err != nil {
		return nil, fmt.Errorf("outdir: output folder %s: %w", dir, regular.Cause(err))
	}
	if _, err := f.replaceable(names); err != nil {
		return nil, err
	}
	return f, nil
}

// Outdated names files that other runs write and this one does not. Those that are there would pass
// for results of this run, so Write removes them. It returns an error if one was changed since
// advsweep wrote it. A file that advsweep never wrote stays.
func (f *Folder) Outdated(names ...string) error {
	f.outdated = names
	_, err := f.ours(names)
	return err
}

// Written lists, in order, what advsweep wrote to the folder at some time. It need not be there
// still.
func (f *Folder) Written() ([]string, error) {
	m, err := f.index()
	return slices.Sorted(maps.Keys(m.Files)), err
}

// Removed are the names of what the last Write removed because it was Outdated.
func (f *Folder) Removed() []string { return f.removed }

// ours gives the contents of those of names that exist and that advsweep wrote, or an error as
// replaceable does.
func (f *Folder) ours(names []string) (map[string][]byte, error) {
	m, err := f.index()
	if err != nil {
		return nil, err
	}
	var known []string
	for _, name := range names {
		if len(m.Files[name]) > 0 {
			known = append(known, name)
		}
	}
	return f.replaceable(known)
}

// Path is where the file called name is or will be.
func (f *Folder) Path(name string) string { return filepath.Join(f.dir, name) }

// Write writes files, all of them or none. They are first written to temporary
// names beside their own, as a full disk shows there, and then renamed. On any
// error the temporary files are removed and what was there before is there
// again. It checks once more that no file is overwritten or removed that is not advsweep's.
func (f *Folder) Write(files ...File) (err error) {
	var names, staged []string
	hashes := make(map[string]string, len(files))
	for _, file := range files {
		if _, twice := hashes[file.Name]; twice {
			return fmt.Errorf("outdir: %s is written twice", f.Path(file.Name))
		}
		names = append(names, file.Name)
		hashes[file.Name] = hash(file.Data)
	}
	if _, err := f.replaceable(names); err != nil {
		return err
	}
	old, err := f.ours(f.outdated)
	if err != nil {
		return err
	}
	removed := slices.Sorted(maps.Keys(old))
	defer func() {
		for _, tmp := range staged {
			os.Remove(tmp) // those that were renamed are gone already
		}
	}()
	for _, file := range files {
		tmp, err := f.stage(file.Name, file.Data)
		if err != nil {
			return err
		}
		staged = append(staged, tmp)
	}
	// The index goes first. After a crash at any later point each file is the
	// old one or the new one, and it knows both.
	if err := f.record(hashes); err != nil {
		return err
	}
	// An outdated file goes before the new ones come: after a crash in between it is missing, not
	// wrong.
	if err := f.commit(append(slices.Clone(removed), names...), append(make([]string, len(removed)), staged...)); err != nil {
		return err
	}
	// A process that read the index before our record and wrote it after dropped
	// our hashes. The files are in place, so not to mend that is no failure: the worst
	// is that the next run takes them for the user's.
	_ = f.record(hashes)
	syncDir(f.dir)
	f.removed = removed
	return nil
}

// commit renames each staged file to its name, or removes the file of that name where staged is "".
// If one cannot be, those before it get their old contents back.
func (f *Folder) commit(names, staged []string) (err error) {
	olds := map[string][]byte{}
	for i, name := range names {
		var old map[string][]byte
		if old, err = f.replaceable(names[i : i+1]); err == nil {
			if staged[i] == "" {
				err = os.Remove(f.Path(name))
				if errors.Is(err, fs.ErrNotExist) {
					err = nil // another run was faster
				}
			} else {
				err = os.Rename(staged[i], f.Path(name))
			}
			if err != nil {
				err = fmt.Errorf("outdir: write %s: %w", f.Path(name), regular.Cause(err))
			}
		}
		if err == nil {
			maps.Copy(olds, old)
			continue
		}
		for _, done := range names[:i] {
			if failed := f.restore(done, olds); failed != nil {
				err = fmt.Errorf("%w; %w", err, failed)
			}
		}
		return err
	}
	return nil
}

// restore puts back what name was before, if anything.
func (f *Folder) restore(name string, olds map[string][]byte) error {
	data, existed := olds[name]
	var err error
	if !existed {
		if err = os.Remove(f.Path(name)); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	} else {
		var tmp string
		if tmp, err = f.stage(name, data); err == nil {
			if err = os.Rename(tmp, f.Path(name)); err != nil {
				os.Remove(tmp)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("outdir: %s was replaced and cannot be put back: %w", f.Path(name), regular.Cause(err))
	}
	return nil
}

// replaceable returns an error unless each of names is free or holds what advsweep
// wrote. It gives the contents of those that exist.
func (f *Folder) replaceable(names []string) (map[string][]byte, error) {
	m, err := f.index()
	if err != nil {
		return nil, err
	}
	olds := map[string][]byte{}
	for _, name := range names {
		if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return nil, fmt.Errorf("outdir: output name %q, want a plain visible file name", name)
		}
		path := f.Path(name)
		exists, err := isRegular(path)
		if err != nil {
			return nil, err
		}
		if !exists {
			continue
		}
		known := m.Files[name]
		if len(known) == 0 { // not read: it may be of any size
			return nil, &TakenError{Path: path, Why: "was not written by advsweep"}
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("outdir: read %s: %w", path, regular.Cause(err))
		}
		if !slices.Contains(known, hash(data)) {
			return nil, &TakenError{Path: path, Why: "was changed since advsweep wrote it"}
		}
		olds[name] = data
	}
	return olds, nil
}

// An index says what advsweep wrote into a folder.
type index struct {
	Program string              `json:"program"`
	Format  int                 `json:"format"`
	Files   map[string][]string `json:"files"` // SHA-256 by name, the newest last
}

// index reads the folder's index; a folder without one has an empty one.
func (f *Folder) index() (index, error) {
	empty := index{Program: "advsweep", Format: 1, Files: map[string][]string{}}
	path := f.Path(indexName)
	exists, err := isRegular(path)
	if err != nil {
		return index{}, err
	}
	if !exists {
		return empty, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return index{}, fmt.Errorf("outdir: read %s: %w", path, regular.Cause(err))
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
func (f *Folder) record(hashes map[string]string) error {
	m, err := f.index()
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
	tmp, err := f.stage(indexName, b.Bytes())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, f.Path(indexName)); err != nil {
		os.Remove(tmp)
		return fmt.Errorf("outdir: write %s: %w", f.Path(indexName), regular.Cause(err))
	}
	return nil
}

// stage writes data to a new temporary file beside name, down to the disk, and gives
// its path. On an error no file is left.
func (f *Folder) stage(name string, data []byte) (tmp string, err error) {
	tmp = f.Path(fmt.Sprintf(".%s.%016x.tmp", strings.TrimPrefix(name, "."), rand.Uint64()))
	// O_EXCL: another process never shares it, and a link is never followed. Mode 0666
	// leaves the rights to the umask, where os.CreateTemp would make the file private.
	w, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return "", fmt.Errorf("outdir: write %s: %w", f.Path(name), regular.Cause(err))
	}
	_, err = w.Write(data)
	if err == nil {
		err = w.Sync()
	}
	if closeErr := w.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(tmp)
		return "", fmt.Errorf("outdir: write %s: %w", f.Path(name), regular.Cause(err))
	}
	return tmp, nil
}

// isRegular reports whether there is something at path. What is there but is a link,
// a folder or a device is an error.
func isRegular(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("outdir: %s: %w", path, regular.Cause(err))
	}
	if !info.Mode().IsRegular() {
		return false, &TakenError{Path: path, Why: "is not a regular file"}
	}
	return true, nil
}

func hash(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// syncDir makes renames last. Not every system can open a folder; there the renames
// last when the system says so.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
