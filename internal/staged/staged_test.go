package staged

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func openRoot(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// names lists the files of root.
func names(t *testing.T, root *os.Root) string {
	t.Helper()
	entries, err := os.ReadDir(root.Name())
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestWrite(t *testing.T) {
	root := openRoot(t)
	if err := root.Mkdir("sub", 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "sub/a"} {
		for _, want := range []string{"one", "", "three"} {
			if err := Write(root, name, []byte(want), want != ""); err != nil {
				t.Fatal(err)
			}
			if got, err := root.ReadFile(name); string(got) != want || err != nil {
				t.Errorf("%s: %q, %v, want %q", name, got, err, want)
			}
		}
	}
	if err := Write(root, "none/a", nil, true); !errors.Is(err, os.ErrNotExist) || strings.Contains(err.Error(), "none") {
		t.Errorf("into a folder that is not there: %v", err)
	}
	if err := Write(root, "../a", nil, true); err == nil {
		t.Error("a file outside of the folder was written")
	}
	if err := Write(root, "sub", nil, true); err == nil { // a folder has that name
		t.Error("a folder was replaced")
	}
	if got := names(t, root); got != "a sub" {
		t.Errorf("%s is left, want a and sub", got)
	}
}

// TestIs wants the pattern to take only what this package makes: it may be a folder of the user's.
func TestIs(t *testing.T) {
	for name, want := range map[string]bool{
		prefix + "0123456789abcdef": true, prefix + "0123456789abcde": false, prefix + "0123456789abcdef0": false, prefix + "0123456789ABCDEF": false,
		"a" + prefix + "0123456789abcdef": false, ".tmp-123": false, prefix: false, "": false,
	} {
		if Is(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// TestSweep wants what is being written to stay, and what a killed writer left to go.
func TestSweep(t *testing.T) {
	root := openRoot(t)
	left, mine := prefix+"00000000000000aa", ".tmp-mine"
	for _, name := range []string{left, mine} {
		if err := root.WriteFile(name, nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	folder, link := prefix+"00000000000000bb", prefix+"00000000000000cc"
	if err := root.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := root.Symlink(mine, link); err != nil {
		link = ""
	}
	f, err := Stage(root, ".", []byte("text"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Drop()
	now := time.Now()
	sweep(root, ".", now)
	if _, err := root.Stat(left); (err == nil) != !renamesOpen {
		t.Errorf("what a writer left: %v", err)
	}
	if !renamesOpen { // no locks: it goes by age
		return
	}
	sweep(root, ".", now.Add(2*abandoned))
	want := []string{mine, f.tmp, folder}
	if link != "" {
		want = append(want, link)
	}
	slices.Sort(want)
	if got := names(t, root); got != strings.Join(want, " ") {
		t.Errorf("%s is left, want %s", got, want)
	}
	if err := f.Commit("whole"); err != nil {
		t.Error(err)
	}
	if got, err := root.ReadFile("whole"); string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	sweep(root, "none", now) // there is nothing to say
}

// TestSwept has another machine that knows nothing of our locks remove the file before it is named.
func TestSwept(t *testing.T) {
	root := openRoot(t)
	f, err := Stage(root, ".", []byte("text"), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := root.Remove(f.tmp); err != nil {
		t.Skip("what is open cannot be removed here:", err)
	}
	if err := f.Commit("a"); err != nil {
		t.Error(err)
	}
	if got, _ := root.ReadFile("a"); string(got) != "text" || names(t, root) != "a" {
		t.Errorf("%q in %s", got, names(t, root))
	}
}

// TestTogether has many write one file while others sweep.
func TestTogether(t *testing.T) {
	root := openRoot(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				if err := Write(root, "a", fmt.Appendf(nil, "%d", i), false); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 100 {
				Sweep(root, ".")
			}
		})
	}
	wg.Wait()
	if got, _ := root.ReadFile("a"); string(got) != "99" || names(t, root) != "a" {
		t.Errorf("%q in %s", got, names(t, root))
	}
}

// TestDrop wants a file that was dropped to be gone, and one that was committed to stay.
func TestDrop(t *testing.T) {
	root := openRoot(t)
	for _, commit := range []bool{false, true} {
		f, err := Stage(root, ".", nil, false)
		if err != nil {
			t.Fatal(err)
		}
		if commit {
			if err := f.Commit("a"); err != nil {
				t.Fatal(err)
			}
		}
		f.Drop()
		f.Drop()
		if want := map[bool]string{true: "a"}[commit]; names(t, root) != want {
			t.Errorf("committed %v: %q is left", commit, names(t, root))
		}
	}
}

// TestSyncDir wants a disk that fails to be told of.
func TestSyncDir(t *testing.T) {
	if !syncsDirs {
		t.Skip("no folder is synced here")
	}
	defer func(was func(*os.File) error) { fsync = was }(fsync)
	root := openRoot(t)
	for _, c := range syncErrors {
		var synced string
		fsync = func(f *os.File) error {
			synced = filepath.Base(f.Name())
			return &os.PathError{Op: "sync", Path: "secret", Err: c.err}
		}
		for what, err := range map[string]error{"SyncDir": SyncDir(root.Name()), "SyncDirIn": SyncDirIn(root, "."), "Write": Write(root, "a", nil, true)} {
			if told := errors.Is(err, c.err); told != c.failure || !told && err != nil || told && strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v: got %v, a failure: %v", what, c.err, err, c.failure)
			}
		}
		if synced == "" {
			t.Error("nothing was synced")
		}
	}
	fsync = func(*os.File) error { t.Error("a folder is synced for a file that need not last"); return nil }
	if err := Write(root, "b", nil, false); err != nil {
		t.Error(err)
	}
}
