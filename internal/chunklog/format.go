package chunklog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"

	"advsweep/internal/regular"
)

// chunks.log, all numbers little-endian:
//
//	header   "advchunk", version u32, chunks u32, SHA-256 of manifest.json [32], CRC-32C of all that u32
//	frame    "\xffchk", chunk u32, length of payload u64, CRC-32C u32, payload, SHA-256 [32]
//	frame ...
//
// Each Append writes one frame and syncs it before the next, so a crash leaves at most one bad
// frame, with nothing behind it: the torn end, which is cut off. Any other bad frame is damage,
// and is refused.
//
// Two checksums: the CRC-32C covers the first 16 bytes of a frame, so that its length can be
// trusted before the payload is read, and so that a search for frames behind a bad one costs
// one pass; the SHA-256 covers the frame, so that a damaged payload is never taken for a
// result, whatever its length. Both begin with the manifest's SHA-256 and the frame's offset:
// a frame counts only in its own run at its own place, and no payload, or old block that the
// file system brings back, passes for one.
const (
	magic   = "advchunk"
	marker  = "\xffchk"
	version = 1

	headerSize = len(magic) + 4 + 4 + sha256.Size + 4
	frameHead  = len(marker) + 4 + 8 + 4
	overhead   = frameHead + sha256.Size
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

// A header is what the log begins with.
type header struct {
	id     [sha256.Size]byte // SHA-256 of manifest.json
	chunks int
}

func (h header) encode() []byte {
	b := le.AppendUint32([]byte(magic), version)
	b = le.AppendUint32(b, uint32(h.chunks))
	b = append(b, h.id[:]...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func readHeader(path string, r io.ReaderAt) (header, error) {
	b := make([]byte, headerSize)
	n, err := r.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return header{}, fmt.Errorf("chunklog: read %s: %w", path, regular.Cause(err))
	}
	bad := func(reason string) (header, error) {
		return header{}, &CorruptError{File: path, Chunk: -1, Reason: reason}
	}
	if !bytes.HasPrefix(b[:n], []byte(magic)) {
		return bad("no log of chunks")
	}
	if n < len(magic)+4 {
		return bad("header cut short")
	}
	// Before all else: another version may have another header.
	if v := le.Uint32(b[len(magic):]); v != version {
		return header{}, &VersionError{File: path, Got: int64(v), Want: version}
	}
	if n < headerSize {
		return bad("header cut short")
	}
	h := header{chunks: int(le.Uint32(b[12:]) & math.MaxInt32), id: [sha256.Size]byte(b[16:48])}
	if h.chunks < 1 || !bytes.Equal(b, h.encode()) {
		return bad("header damaged")
	}
	return h, nil
}

// A frame says where a chunk stands in the log.
type frame struct {
	offset int64 // of the frame
	length int64 // of the payload
}

// place is what both checksums of a frame begin with.
func place(id [sha256.Size]byte, offset int64) (p [sha256.Size + 8]byte) {
	copy(p[:], id[:])
	le.PutUint64(p[sha256.Size:], uint64(offset))
	return p
}

// encodeFrame gives the frame of a chunk that stands at offset.
func encodeFrame(id [sha256.Size]byte, offset int64, chunk int, payload []byte) []byte {
	b := make([]byte, 0, overhead+len(payload))
	b = append(b, marker...)
	b = le.AppendUint32(b, uint32(chunk))
	b = le.AppendUint64(b, uint64(len(payload)))
	b = le.AppendUint32(b, headSum(id, offset, b))
	b = append(b, payload...)
	h := sha256.New()
	p := place(id, offset)
	h.Write(p[:])
	h.Write(b)
	return h.Sum(b)
}

func headSum(id [sha256.Size]byte, offset int64, head []byte) uint32 {
	p := place(id, offset)
	return crc32.Update(crc32.Checksum(p[:], castagnoli), castagnoli, head[:frameHead-4])
}

// isHead reports whether a frame begins with head, at offset.
func isHead(id [sha256.Size]byte, offset int64, head []byte) bool {
	return bytes.HasPrefix(head, []byte(marker)) && le.Uint32(head[frameHead-4:]) == headSum(id, offset, head)
}

// scan finds the whole frames of the log, the first size bytes of r, and sets l.frames and
// l.end. l has its id and number of chunks. Memory is taken for what is there, never for what
// a length says.
func (l *Log) scan(r io.ReaderAt, size int64) error {
	l.frames, l.end = map[int]frame{}, int64(headerSize)
	for l.end < size {
		i, fr, whole, err := l.next(r, size)
		if err != nil {
			return err
		}
		if !whole {
			// Torn, unless something was appended after it.
			at, found, err := l.findHead(r, l.end+1, size)
			if err != nil {
				return err
			}
			if found {
				return l.corrupt(i, l.end, fmt.Sprintf("damaged, with more chunks behind it, at byte %d", at))
			}
			return nil
		}
		if i < 0 || i >= l.chunks {
			return l.corrupt(i, l.end, fmt.Sprintf("want 0 to %d", l.chunks-1))
		}
		if first, ok := l.frames[i]; ok {
			same, err := equal(io.NewSectionReader(r, first.offset+int64(frameHead), first.length),
				io.NewSectionReader(r, fr.offset+int64(frameHead), fr.length))
			if err != nil {
				return l.failed("read", err)
			}
			if !same {
				return l.corrupt(i, l.end, fmt.Sprintf("here for the second time and different from byte %d", first.offset))
			}
		} else {
			l.frames[i] = fr
		}
		l.end += int64(overhead) + fr.length
	}
	return nil
}

// next reads the frame at l.end. It is whole if it lies within size and its checksums are
// right. i is -1 if the frame's head does not say what chunk it is.
func (l *Log) next(r io.ReaderAt, size int64) (i int, fr frame, whole bool, err error) {
	rest := size - l.end - int64(overhead)
	if rest < 0 {
		return -1, frame{}, false, nil
	}
	var b [frameHead]byte
	if err := readFull(r, b[:], l.end); err != nil {
		return -1, frame{}, false, l.failed("read", err)
	}
	if !isHead(l.id, l.end, b[:]) {
		return -1, frame{}, false, nil
	}
	i = -1
	if c := le.Uint32(b[4:]); c <= math.MaxInt32 {
		i = int(c)
	}
	length := le.Uint64(b[8:])
	if length > uint64(rest) {
		return i, frame{}, false, nil
	}
	h := sha256.New()
	p := place(l.id, l.end)
	h.Write(p[:])
	h.Write(b[:])
	var sum [sha256.Size]byte
	_, err = io.Copy(h, io.NewSectionReader(r, l.end+int64(frameHead), int64(length)))
	if err == nil {
		err = readFull(r, sum[:], l.end+int64(frameHead)+int64(length))
	}
	if err != nil {
		return i, frame{}, false, l.failed("read", err)
	}
	return i, frame{l.end, int64(length)}, [sha256.Size]byte(h.Sum(nil)) == sum, nil
}

// findHead finds the first head of a frame in [from, size).
func (l *Log) findHead(r io.ReaderAt, from, size int64) (int64, bool, error) {
	buf := make([]byte, min(1<<16, max(0, size-from)))
	for from+int64(frameHead) <= size {
		b := buf[:min(int64(len(buf)), size-from)]
		if err := readFull(r, b, from); err != nil {
			return 0, false, l.failed("read", err)
		}
		at := 0
		for at+frameHead <= len(b) {
			n := bytes.Index(b[at:len(b)-frameHead+len(marker)], []byte(marker))
			if n < 0 {
				break
			}
			at += n
			if isHead(l.id, from+int64(at), b[at:at+frameHead]) {
				return from + int64(at), true, nil
			}
			at++
		}
		from += int64(len(b) - frameHead + 1) // what begins later is not whole in b
	}
	return 0, false, nil
}

// readFull fills b with what stands at offset; that the file ends before is an error.
func readFull(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// equal reports whether two stretches of the log hold the same bytes.
func equal(a, b *io.SectionReader) (bool, error) {
	if a.Size() != b.Size() {
		return false, nil
	}
	ha, hb := sha256.New(), sha256.New()
	_, errA := io.Copy(ha, a)
	_, errB := io.Copy(hb, b)
	return bytes.Equal(ha.Sum(nil), hb.Sum(nil)), errors.Join(errA, errB)
}
