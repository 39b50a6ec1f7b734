package dataset

import (
	"bytes"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A reader that panics costs an error that names the file, of every table of formats.
func TestReadersPanic(t *testing.T) {
	folders, files, pairs, pictures := folderFormats, fileFormats, pairFormats, pictureFormats
	defer func() { folderFormats, fileFormats, pairFormats, pictureFormats = folders, files, pairs, pictures }()
	var none []int
	const magic = "toyformat"
	isToy := func(start []byte) bool {
		return strings.HasPrefix(magic, string(start)) || strings.HasPrefix(string(start), magic)
	}
	folderFormats = append([]folderFormat{{
		found: func(d *folder, _ string) string { return d.first("toy.dir") },
		read:  func(_ *folder, q *Query, _ string) (*Stored, error) { return nil, os.ErrInvalid.(*os.PathError) },
	}}, folders...)
	fileFormats = append([]fileFormat{{
		sniff: func(_ string, start []byte) bool { return isToy(start) },
		read:  func(string, *Query) (*Stored, error) { return nil, map[int]error{}[none[1]] },
	}}, files...)
	pairFormats = append([]pairFormat{{
		sniff: isToy,
		read:  func(io.Reader, int64, bool) (*array, error) { return nil, map[int]error{}[none[2]] },
	}}, pairs...)
	picture := pictures[0] // PNG
	picture.decode = func(io.Reader) (image.Image, error) { return nil, map[int]error{}[none[3]] }
	pictureFormats = []pictureFormat{picture}

	dir := t.TempDir()
	var drawn bytes.Buffer
	if err := png.Encode(&drawn, image.NewGray(image.Rect(0, 0, 2, 2))); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"toy.file": magic, "folder/toy.dir": magic, "pictures/cat/1.png": drawn.String(), "pictures/dog/2.png": drawn.String()} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	file, folder, album := filepath.Join(dir, "toy.file"), filepath.Join(dir, "folder"), filepath.Join(dir, "pictures")
	for _, c := range []struct {
		name string
		open func() (*Set, error)
		want []string
	}{
		{"folder", func() (*Set, error) { return Load(folder, "test") }, []string{"dataset: " + folder + ": a bug in advsweep", "interface conversion"}},
		{"file", func() (*Set, error) { return Load(file, "test") }, []string{"dataset: " + file + ": a bug in advsweep", "range [1]"}},
		{"pair", func() (*Set, error) { return Read(file, file) }, []string{"dataset: " + file, ": a bug in advsweep", "range [2]"}},
		{"picture", func() (*Set, error) { return Load(album, "test") }, []string{"dataset: " + album + ": ", "cat/1.png: a bug in advsweep", "range [3]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			set, err := c.open()
			if err == nil || set != nil {
				t.Fatalf("%v, %v, want an error", set, err)
			}
			for _, part := range append(c.want, "report it, with the file") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q, want %q in it", err, part)
				}
			}
			if strings.Count(err.Error(), "dataset: ") != 1 {
				t.Errorf("error %q names the package more than once", err)
			}
		})
	}
}
