package study

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"advsweep/internal/regular"
	"advsweep/internal/staged"
)

// A Disk is what a Folder needs of the files of its folder. Names are relative to the folder, with
// slashes. Several goroutines may call its methods. Errors do not repeat the name.
type Disk interface {
	// Read returns what a file holds. It returns fs.ErrNotExist if there is none, and an error for
	// a file of more than most bytes and for what is no regular file.
	Read(name string, most int64) ([]byte, error)
	// Write writes a file so that it is there whole or not at all, whoever is killed. It takes the
	// place of one that is there. If durable is set it is on the disk to stay when Write returns.
	Write(name string, data []byte, durable bool) error
	// Create is Write with durable set of a file that is not there yet. If it is there, Create
	// changes nothing and returns fs.ErrExist: of several processes one is the first.
	Create(name string, data []byte) error
	// Remove removes a file, or a folder that is empty. It is no error if there is none.
	Remove(name string) error
	// List returns the sorted names of what is in a folder, and none if there is no such folder.
	List(dir string) ([]string, error)
}

// osDisk is a folder of this machine. A link that leads out of it is an error.
type osDisk struct {
	dir  string
	open func() (*os.Root, error)
}

// newDisk returns the disk of the folder dir, which need not be there yet.
func newDisk(dir string) *osDisk {
	d := &osDisk{dir: dir}
	d.open = sync.OnceValues(func() (*os.Root, error) { return regular.OpenRoot(dir) })
	return d
}

// maxInput bounds an input, in bytes.
const maxInput = 1 << 36

// Parts of a folder: what must be a folder and no link, and what must be a file and no link.
var (
	folderParts = []string{inputsName, resultsName, disputedName, settledName, asideName, excludedName, failedName, workersName, runsName, StoreName}
	fileParts   = []string{planName, shardsName, studyName, KeyName, lockName}
)

// check returns an error if a part of the folder is a link, a pipe or a device, or a file where a
// folder is wanted. Programs beside this package write to some of these by their paths.
func (d *osDisk) check() error {
	root, err := d.open()
	if err != nil {
		return regular.Cause(err)
	}
	look := func(name string, want fs.FileMode, wanted string) error {
		info, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", name, regular.Cause(err))
		case info.Mode().Type() != want:
			return fmt.Errorf("%s is %s, want %s", name, kindOf(info.Mode()), wanted)
		}
		return nil
	}
	for _, name := range folderParts {
		if err := look(name, fs.ModeDir, "a folder"); err != nil {
			return err
		}
	}
	for _, name := range fileParts {
		if err := look(name, 0, "a regular file"); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a link"
	case m.IsDir():
		return "a folder"
	case m.IsRegular():
		return "a file"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return "a device or socket"
}

func (d *osDisk) Read(name string, most int64) ([]byte, error) {
	root, err := d.open()
	if err != nil {
		return nil, regular.Cause(err)
	}
	return regular.ReadIn(root, name, most)
}

func (d *osDisk) Write(name string, data []byte, durable bool) error {
	root, err := d.parent(name)
	if err != nil {
		return err
	}
	return staged.Write(root, name, data, durable)
}

func (d *osDisk) Create(name string, data []byte) error {
	root, err := d.parent(name)
	if err != nil {
		return err
	}
	file, err := staged.Stage(root, path.Dir(name), data, true)
	if err != nil {
		return err
	}
	defer file.Drop()
	if err := file.CommitNew(name); err != nil {
		return err
	}
	return staged.SyncDirIn(root, path.Dir(name))
}

// parent makes the folder of a file that is to be written, and returns the root.
func (d *osDisk) parent(name string) (*os.Root, error) {
	root, err := d.open()
	if err == nil {
		err = root.MkdirAll(path.Dir(name), 0o777)
	}
	return root, regular.Cause(err)
}

// sweep removes what writers that were killed have left.
func (d *osDisk) sweep() {
	root, err := d.open()
	if err != nil {
		return
	}
	_ = fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			staged.Sweep(root, name)
		}
		return nil
	})
}

func (d *osDisk) Remove(name string) error {
	root, err := d.open()
	if err != nil {
		return regular.Cause(err)
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return regular.Cause(err)
	}
	return nil
}

func (d *osDisk) List(dir string) ([]string, error) {
	root, err := d.open()
	if err != nil {
		return nil, regular.Cause(err)
	}
	info, err := root.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, regular.Cause(err)
	case !info.IsDir():
		return nil, fmt.Errorf("%s, want a folder", kindOf(info.Mode()))
	}
	f, err := root.Open(dir)
	if err != nil {
		return nil, regular.Cause(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, regular.Cause(err)
	}
	slices.Sort(names)
	return names, nil
}

// at is where a file of the folder is, for people and for packages that take paths.
func (f *Folder) at(name string) string { return filepath.Join(f.Dir, filepath.FromSlash(name)) }
