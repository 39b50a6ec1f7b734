package dataset

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"advsweep/internal/regular"
	"advsweep/internal/words"
)

var tarFormat = fileFormat{
	Format: Format{
		Name: ".tar.gz", Files: "as cifar-10-binary.tar.gz or cifar-100-python.tar.gz are given out",
		Holds: "the files of MNIST and CIFAR, under their names; other archives are to be unpacked",
	},
	sniff: func(name string, start []byte) bool {
		return strings.HasSuffix(name, ".tar") || bytes.HasPrefix(start, []byte("\x1f\x8b")) && (strings.HasSuffix(name, ".tar.gz") || strings.HasSuffix(name, ".tgz"))
	},
	read: readTar,
}

// maxUnpacked is the most that the files of all known sets hold, and some more.
const maxUnpacked = 256 << 20

// readTar reads the files of a known data set from an archive, into memory.
func readTar(file string, q *Query) (*Stored, error) {
	f, size, err := regular.Open(file)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", file, err)
	}
	defer f.Close()
	files, err := unpack(f, size, q.Split)
	if err != nil {
		return nil, fmt.Errorf("dataset: %s: %w", file, regular.Cause(err))
	}
	s, err := openIn(&folder{path: file, files: files, inner: files}, q)
	if err != nil {
		return nil, err
	}
	s.set.Source.Images.Name = filepath.Base(file) + ": " + s.set.Source.Images.Name
	s.set.Source.Labels.Name = filepath.Base(file) + ": " + s.set.Source.Labels.Name
	return s, nil
}

// unpack returns the files of the archive r that belong to a known set.
func unpack(r io.Reader, size int64, split string) (memory, error) {
	stream := bufio.NewReader(r)
	var plain io.Reader = stream
	if magic, _ := stream.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(stream)
		if err != nil {
			return nil, err
		}
		plain = z
	}
	// A bomb of other files costs time only, and a bound keeps that short.
	const mostRead = 1 << 30
	limited := &io.LimitedReader{R: plain, N: mostRead}
	archive := tar.NewReader(limited)
	files := memory{}
	var others []string
	total := int64(0)
	for n := 0; ; n++ {
		h, err := archive.Next()
		if err == io.EOF && limited.N > 0 {
			break
		} else if err != nil && limited.N > 0 {
			return nil, fmt.Errorf("archive: %w", gzipError(err))
		}
		if limited.N <= 0 || n > 10000 {
			return nil, fmt.Errorf("archive of more than %d bytes or 10000 files, want one of MNIST or CIFAR: unpack it, and give the folder", mostRead)
		}
		name := path.Clean("/" + h.Name)[1:]
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if !slices.ContainsFunc(folderFormats, func(f folderFormat) bool { return f.unpack != nil && f.unpack(path.Base(name)) }) {
			if len(others) < 5 {
				others = append(others, fmt.Sprintf("%.40q", h.Name))
			}
			continue
		}
		if total += h.Size; h.Size > maxUnpacked || total > maxUnpacked {
			return nil, fmt.Errorf("%.60q: %d bytes up to here, want at most %d", h.Name, total, int64(maxUnpacked))
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return nil, fmt.Errorf("%.60q: %w", h.Name, gzipError(err))
		}
		files[name] = data
	}
	if len(files) == 0 {
		if len(others) == 0 {
			return nil, errors.New("an empty archive, want the files of MNIST or CIFAR")
		}
		return nil, fmt.Errorf("an archive that holds %s, want the files of MNIST or CIFAR: unpack it, and give the folder", words.And(others))
	}
	return files, nil
}

// A memory is a file system of files in memory, by their whole names. Folders are not listed.
type memory map[string][]byte

func (m memory) Open(name string) (fs.File, error) {
	info, err := m.Stat(name)
	if err != nil {
		return nil, err
	}
	return memoryFile{bytes.NewReader(m[name]), info}, nil
}

func (m memory) Stat(name string) (fs.FileInfo, error) {
	if _, ok := m[name]; !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return memoryInfo{path.Base(name), int64(len(m[name]))}, nil
}

type memoryFile struct {
	*bytes.Reader
	info fs.FileInfo
}

func (f memoryFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f memoryFile) Close() error               { return nil }

type memoryInfo struct {
	name string
	size int64
}

func (i memoryInfo) Name() string       { return i.name }
func (i memoryInfo) Size() int64        { return i.size }
func (i memoryInfo) Mode() fs.FileMode  { return 0o400 }
func (i memoryInfo) ModTime() time.Time { return time.Time{} }
func (i memoryInfo) IsDir() bool        { return false }
func (i memoryInfo) Sys() any           { return nil }
