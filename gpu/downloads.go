//go:build cuda && linux && cgo

package gpu

import (
	"strings"
	"unsafe"

	"gorgonia.org/cu"
)

// A downloads gathers results on their way to the host, so that one wait brings all of them. The
// copies go to pinned memory: only those run beside the host, while a copy to other memory waits
// for its end.
//
// reserve changes the size of host. downloadRows starts a copy. finish and forget end all of them.
type downloads struct {
	*device
	most int // the most bytes of host: mostPinned, or less in a test
	host pinned
	used int      // bytes of host that copies fill
	read []func() // for each copy, what takes it out of host once it is there
}

// mostPinned bounds the pinned memory, which other programs can't use. It holds the outcomes of
// 800,000 rows of ten classes. More come down in pieces, with a wait for each.
const mostPinned = 64 << 20

// reserve makes room for so many bytes, up to most, unless copies are under way.
func (d *downloads) reserve(bytes int) error {
	if d.used > 0 {
		return nil
	}
	const others = 8 * 16 // what is rounded up, and one word more: see collect
	return d.growPinned(&d.host, min(bytes+others, d.most))
}

// downloadRows starts the copy of rows of width elements from src. finish calls read for each piece
// of the rows, in the order of the copies. first is the first row of the piece, which is valid
// during the call. Where the pinned memory is full, downloadRows waits for what was started before.
func downloadRows[T any](d *downloads, src cu.DevicePtr, rows, width int, read func(first int, piece []T)) error {
	size := width * int(unsafe.Sizeof(*new(T)))
	for done := 0; done < rows; {
		if err := d.reserve((rows - done) * size); err != nil {
			return err
		}
		first, n := done, min(rows-done, (d.host.size-d.used)/size)
		if n <= 0 && d.used > 0 {
			if err := d.finish(); err != nil {
				return err
			}
			continue
		}
		if n <= 0 { // one row is larger than most
			if err := d.growPinned(&d.host, size); err != nil {
				return err
			}
			continue
		}
		piece := unsafe.Slice((*T)(unsafe.Add(d.host.p, d.used)), n*width)
		if err := cu.MemcpyDtoHAsync(unsafe.Pointer(&piece[0]), at(src, first, size), int64(n*size), d.stream); err != nil {
			return d.errorf(err, "download %d bytes after %s", n*size, strings.Join(d.since, ", "))
		}
		d.read = append(d.read, func() { read(first, piece) })
		d.used += (n*size + 15) / 16 * 16 // every piece is aligned
		done += n
	}
	return nil
}

// downloadTo starts the copy of dst from src. dst has it after finish.
func downloadTo[T any](d *downloads, dst []T, src cu.DevicePtr) error {
	return downloadRows(d, src, len(dst), 1, func(first int, piece []T) { copy(dst[first:], piece) })
}

// finish waits for all that was launched, and hands on what has come down.
func (d *downloads) finish() error {
	read := d.read
	d.used, d.read = 0, nil
	if err := d.wait(); err != nil {
		return err
	}
	for _, f := range read {
		f()
	}
	return nil
}

// forget ends the copies after an error, and hands on nothing.
func (d *downloads) forget() {
	if d.used > 0 {
		_ = d.wait() // the error that there was says why
	}
	d.used, d.read = 0, nil
}

// close frees the pinned memory.
func (d *downloads) close() error { return d.unpin(&d.host) }
