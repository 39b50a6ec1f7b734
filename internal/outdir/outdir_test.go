package outdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// put writes a file as a user would.
func put(t *testing.T, path, data string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

// files is what f writes in these tests.
func files(a, b string) []File { return []File{{"a.csv", []byte(a)}, {"b.json", []byte(b)}} }

// holds fails unless dir has the visible files a.csv and b.json of that content and
// no temporary file. "" stands for no file.
func holds(t *testing.T, dir, a, b string) {
	t.Helper()
	for name, want := range map[string]string{"a.csv": a, "b.json": b} {
		if got, _ := os.ReadFile(filepath.Join(dir, name)); string(got) != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".tmp-*")); left != nil {
		t.Errorf("temporary files are left: %v", left)
	}
}

// root opens the folder of f until the test ends.
func root(t *testing.T, f *Folder) *os.Root {
	t.Helper()
	r, err := f.root()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// stage writes files of f under temporary names.
func stage(t *testing.T, f *Folder, files ...File) (changes []change) {
	t.Helper()
	for _, file := range files {
		tmp, err := f.stage(root(t, f), file)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, change{file.Name, tmp})
	}
	return changes
}

func open(t *testing.T, dir string) *Folder {
	t.Helper()
	f, err := Open(dir, "a.csv", "b.json")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func write(t *testing.T, dir, a, b string) {
	t.Helper()
	if err := open(t, dir).Write(files(a, b)...); err != nil {
		t.Fatal(err)
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "out")
	write(t, dir, "1", "2")
	holds(t, dir, "1", "2")
	write(t, dir, "3", "2") // a second run replaces what the first wrote
	holds(t, dir, "3", "2")
	for i := range 3 * indexDepth {
		write(t, dir, fmt.Sprint(i), "2")
	}
	f := open(t, dir)
	m, err := f.index(root(t, f))
	if err != nil {
		t.Fatal(err)
	}
	if a, b := len(m.Files["a.csv"]), len(m.Files["b.json"]); a != indexDepth || b != 1 {
		t.Errorf("the index keeps %d and %d hashes, want %d and 1", a, b, indexDepth)
	}

	if err := f.Write(File{"a.csv", nil}, File{"a.csv", nil}); err == nil {
		t.Error("one name twice: no error, want one")
	}
	for _, name := range []string{"", ".", "..", "x/y", "../x", indexName} {
		if err := f.Write(File{name, nil}); err == nil {
			t.Errorf("name %q: no error, want one", name)
		}
	}
}

func TestFolderRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, dir string) (out string)
		want string // in the error, after the path
	}{
		{"user's file", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "a.csv"), "mine")
			return dir
		}, "a.csv was not written by advsweep"},
		{"user's file beside ours", func(t *testing.T, dir string) string {
			if err := open(t, dir).Write(files("1", "2")[1:]...); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, "a.csv"), "mine")
			return dir
		}, "a.csv was not written by advsweep"},
		{"edited", func(t *testing.T, dir string) string {
			write(t, dir, "1", "2")
			put(t, filepath.Join(dir, "b.json"), "2 and more")
			return dir
		}, "b.json was changed since advsweep wrote it"},
		{"folder called like a file", func(t *testing.T, dir string) string {
			if err := os.Mkdir(filepath.Join(dir, "a.csv"), 0o777); err != nil {
				t.Fatal(err)
			}
			return dir
		}, "a.csv is not a regular file"},
		{"link to ours", func(t *testing.T, dir string) string {
			write(t, dir, "1", "2")
			if err := os.Rename(filepath.Join(dir, "a.csv"), filepath.Join(dir, "moved")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("moved", filepath.Join(dir, "a.csv")); err != nil {
				t.Skip(err)
			}
			return dir
		}, "a.csv is not a regular file"},
		{"dangling link", func(t *testing.T, dir string) string {
			if err := os.Symlink("nowhere", filepath.Join(dir, "a.csv")); err != nil {
				t.Skip(err)
			}
			return dir
		}, "a.csv is not a regular file"},
		{"out is a file", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "out"), "")
			return filepath.Join(dir, "out")
		}, "out is not a folder"},
		{"out below a file", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, "out"), "")
			return filepath.Join(dir, "out", "deeper")
		}, "make output folder"},
		{"no name", func(*testing.T, string) string { return "" }, "is empty"},
		{"torn index", func(t *testing.T, dir string) string {
			write(t, dir, "1", "2")
			put(t, filepath.Join(dir, indexName), `{"program": "adv`)
			return dir
		}, indexName + " is not an index of advsweep"},
		{"index of another program", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, indexName), `{"name": "other"}`)
			return dir
		}, indexName + " is not an index that this advsweep knows"},
		{"index of a later format", func(t *testing.T, dir string) string {
			put(t, filepath.Join(dir, indexName), `{"program": "advsweep", "format": 2, "files": {}}`)
			return dir
		}, indexName + " is not an index that this advsweep knows"},
		{"index is a folder", func(t *testing.T, dir string) string {
			if err := os.Mkdir(filepath.Join(dir, indexName), 0o777); err != nil {
				t.Fatal(err)
			}
			return dir
		}, indexName + " is not a regular file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			out := c.make(t, dir)
			before := tree(t, dir)
			_, err := Open(out, "a.csv", "b.json")
			if err == nil || !strings.HasPrefix(err.Error(), "outdir: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			// Who calls tells by the type what mends it; an empty name is a mistake of another
			// kind.
			if typed := errors.As(err, new(*TakenError)) || errors.As(err, new(*MakeError)); typed != (out != "") {
				t.Errorf("%T, want a *TakenError or *MakeError: %v", err, out != "")
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("error of several lines: %q", err)
			}
			if after := tree(t, dir); after != before {
				t.Errorf("the folder was %s, is now %s", before, after)
			}
		})
	}
}

// tree is all of dir as one string.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		data, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "[%s %v %q]", strings.TrimPrefix(path, dir), info.Mode(), data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A user's file may come while the sweep computes.
func TestFolderChecksAgain(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	put(t, filepath.Join(dir, "b.json"), "mine")
	if err := f.Write(files("1", "2")...); err == nil {
		t.Error("no error, want one about b.json")
	}
	holds(t, dir, "", "mine")
}

// A run may be killed at any point of Write. The next one must find each file
// whole, and replace it.
func TestFolderCrash(t *testing.T) {
	for _, at := range []string{"staged", "recorded", "one renamed", "all renamed"} {
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "old a", "old b")
			f := open(t, dir)
			changes := stage(t, f, files("new a", "new b")...)
			if at != "staged" {
				if err := f.record(root(t, f), map[string]string{"a.csv": hash([]byte("new a")), "b.json": hash([]byte("new b"))}); err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range changes[:map[string]int{"one renamed": 1, "all renamed": 2}[at]] {
				if err := c.to.Commit(c.name); err != nil {
					t.Fatal(err)
				}
			}
			// Dead here.
			write(t, dir, "newer a", "newer b")
			for _, c := range changes { // a dead process leaves these, until the next one comes
				c.drop()
			}
			holds(t, dir, "newer a", "newer b")
		})
	}
}

func TestFolderFailingWrite(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "old a", "old b")
	long := strings.Repeat("x", 300) // more than any system takes
	err := open(t, dir).Write(append(files("new a", "new b"), File{long, nil})...)
	if err == nil || !strings.Contains(err.Error(), long+": ") {
		t.Errorf("error %v, want one about the long name", err)
	}
	holds(t, dir, "old a", "old b")
}

// The first file is new, the second replaces one, the third cannot be renamed.
func TestFolderFailingRename(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	if err := f.Write(files("old a", "old b")[1:]...); err != nil {
		t.Fatal(err)
	}
	changes := stage(t, f, File{"a.csv", []byte("new")}, File{"b.json", []byte("new")}, File{"c", nil})
	changes[2].drop() // it cannot be renamed
	if err := f.record(root(t, f), map[string]string{"a.csv": hash([]byte("new")), "b.json": hash([]byte("new"))}); err != nil {
		t.Fatal(err)
	}
	if err := f.commit(root(t, f), changes); err == nil {
		t.Error("no error, want one about c")
	}
	holds(t, dir, "", "old b")
	write(t, dir, "1", "2")
	holds(t, dir, "1", "2")
}

// Runs that share a folder may refuse each other, but tear nothing.
func TestFolderTogether(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "start", "start")
	content := func(i int) string { return strings.Repeat(fmt.Sprint(i), 10_000) }
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			f, err := Open(dir, "a.csv")
			for range 5 {
				if err == nil {
					err = f.Write(File{"a.csv", []byte(content(i))})
				}
			}
			if err != nil && !strings.Contains(err.Error(), "advsweep wrote it") {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := os.ReadFile(filepath.Join(dir, "a.csv"))
	if err != nil {
		t.Fatal(err)
	}
	whole := string(got) == "start"
	for i := range 4 {
		whole = whole || string(got) == content(i)
	}
	if !whole {
		t.Errorf("a.csv has %d bytes of no single run", len(got))
	}
	holds(t, dir, string(got), "start")
	var m index
	data, err := os.ReadFile(filepath.Join(dir, indexName))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Errorf("index: %v", err)
	}
}

// A later run that makes no b.json must not leave that of an earlier one.
func TestFolderOutdated(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(t *testing.T, dir string)
		refuse string // in the error of Outdated
		after  string // in b.json
		gone   int    // files removed
	}{
		{"none", func(t *testing.T, dir string) {}, "", "", 0},
		{"ours", func(t *testing.T, dir string) { write(t, dir, "1", "2") }, "", "", 1},
		{"removed by its user", func(t *testing.T, dir string) {
			write(t, dir, "1", "2")
			if err := os.Remove(filepath.Join(dir, "b.json")); err != nil {
				t.Fatal(err)
			}
		}, "", "", 0},
		{"edited", func(t *testing.T, dir string) {
			write(t, dir, "1", "2")
			put(t, filepath.Join(dir, "b.json"), "2 and more")
		}, "b.json was changed since advsweep wrote it", "2 and more", 0},
		{"its user's", func(t *testing.T, dir string) { put(t, filepath.Join(dir, "b.json"), "mine") }, "", "mine", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.before(t, dir)
			f, err := Open(dir, "a.csv")
			if err != nil {
				t.Fatal(err)
			}
			err = f.Outdated("b.json")
			if c.refuse == "" && err != nil || c.refuse != "" && (err == nil || !strings.Contains(err.Error(), c.refuse)) {
				t.Errorf("error %v, want %q", err, c.refuse)
			}
			if err := f.Write(files("new", "")[:1]...); (err != nil) != (c.refuse != "") {
				t.Errorf("Write: error %v", err)
			}
			if gone := f.Removed(); len(gone) != c.gone {
				t.Errorf("removed %q, want %d", gone, c.gone)
			}
			a := "new"
			if c.refuse != "" {
				a = "1"
			}
			holds(t, dir, a, c.after)
		})
	}
}

// What was removed comes back when a later step fails.
func TestFolderOutdatedFailing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "old a", "old b")
	f := open(t, dir)
	changes := stage(t, f, File{"a.csv", nil})
	changes[0].drop() // it cannot be renamed
	if err := f.commit(root(t, f), append([]change{{name: "b.json"}}, changes...)); err == nil {
		t.Error("no error, want one about a.csv")
	}
	holds(t, dir, "old a", "old b")
}

// What a killed process left goes when the folder is opened.
func TestFolderLeavings(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "1", "2")
	put(t, filepath.Join(dir, ".tmp-advsweep-0123456789abcdef"), "half")
	old := time.Now().Add(-48 * time.Hour) // where no locks are kept, it goes by age
	if err := os.Chtimes(filepath.Join(dir, ".tmp-advsweep-0123456789abcdef"), old, old); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
	holds(t, dir, "1", "2")
}

// A disk that fails when the folder is synced is told of; the files are there.
func TestFolderSync(t *testing.T) {
	defer func(was func(*os.Root, string) error) { syncDir = was }(syncDir)
	failed := errors.New("input/output error")
	syncDir = func(*os.Root, string) error { return failed }
	dir := t.TempDir()
	if err := open(t, dir).Write(files("1", "2")...); !errors.Is(err, failed) || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %v, want %v of %s", err, failed, dir)
	}
	holds(t, dir, "1", "2")
}

// An index that is larger than any is not read.
func TestFolderLargeIndex(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, indexName), "")
	if err := os.Truncate(filepath.Join(dir, indexName), maxIndex+1); err != nil {
		t.Skip(err)
	}
	if _, err := Open(dir, "a.csv"); !errors.As(err, new(*TakenError)) {
		t.Errorf("error %v, want a *TakenError", err)
	}
}
