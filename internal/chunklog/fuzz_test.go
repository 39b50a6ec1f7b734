package chunklog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"
)

// FuzzRead reads a log of any bytes. With seal, the checksums of the header and of each frame are
// first made right, so that what they would hide is reached too. What is accepted must stand in the
// file as it is read, whole and in place, and the rest must be no frame.
func FuzzRead(f *testing.F) {
	f.Add([]byte{}, false)
	f.Add(newBytesLog(9).b, false)
	for _, l := range []*bytesLog{
		newBytesLog(9).add(0, payload(0)).add(4, payload(4)).add(3, nil),
		newBytesLog(9).add(1, payload(1)).add(1, payload(1)).add(2, payload(2)).raw(1, 2, 3),
		newBytesLog(9).head(3, 1<<40).add(0, nil),
		newBytesLog(9).add(0, payload(0)).head(5, 300).raw(make([]byte, 100)...),
		newBytesLog(9).add(0, []byte(marker)).raw([]byte(marker)...).raw(make([]byte, 60)...),
	} {
		f.Add(l.b, false)
		f.Add(l.b, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, seal bool) {
		data = bytes.Clone(data)
		if seal {
			resign(data)
		}
		h, err := readHeader("log", bytes.NewReader(data))
		if err != nil {
			named(t, err)
			return
		}
		l := &Log{dir: "dir", id: h.id, chunks: h.chunks, file: memory{bytes.NewReader(data)}}
		if err := l.scan(bytes.NewReader(data), int64(len(data))); err != nil {
			named(t, err)
			return
		}
		// The judge: the same log written anew, chunk by chunk as it stands in the file.
		again := header{h.id, h.chunks}.encode()
		seen := map[int]bool{}
		for int64(len(again)) < l.end {
			i := int(le.Uint32(data[len(again)+4:]))
			if i < 0 || i >= h.chunks {
				t.Fatalf("chunk %d of %d", i, h.chunks)
			}
			got, err := l.Get(i)
			if err != nil {
				t.Fatal(err)
			}
			seen[i] = true
			again = append(again, encodeFrame(h.id, int64(len(again)), i, got)...)
		}
		if int64(len(again)) != l.end || l.end > int64(len(data)) || !bytes.Equal(again, data[:l.end]) {
			t.Fatalf("the log differs from its chunks written again, %d bytes of %d", l.end, len(data))
		}
		if len(seen) != l.Done() {
			t.Fatalf("%d chunks, %d in the file", l.Done(), len(seen))
		}
		for at := l.end + 1; at+int64(frameHead) <= int64(len(data)); at++ {
			if isHead(h.id, at, data[at:at+int64(frameHead)]) {
				t.Fatalf("a frame at byte %d was cut off with the torn end at %d", at, l.end)
			}
		}
	})
}

func named(t *testing.T, err error) {
	if !errors.As(err, new(*CorruptError)) && !errors.As(err, new(*VersionError)) {
		t.Fatalf("error %T: %v", err, err)
	}
}

// resign makes the checksums right wherever something begins like a header or a frame.
func resign(b []byte) {
	if len(b) < headerSize {
		return
	}
	copy(b, newBytesLog(1).b[:12])
	h := header{[sha256.Size]byte(b[16:48]), int(le.Uint32(b[12:])&0xff) + 1}
	copy(b, h.encode())
	for at := headerSize; at+overhead <= len(b); {
		head := b[at : at+frameHead]
		if !bytes.HasPrefix(head, []byte(marker)) {
			at++
			continue
		}
		le.PutUint32(head[frameHead-4:], headSum(h.id, int64(at), head))
		length := le.Uint64(head[8:])
		if length > uint64(len(b)-at-overhead) {
			at++
			continue
		}
		n := int(length)
		copy(b[at:], encodeFrame(h.id, int64(at), int(le.Uint32(head[4:])), b[at+frameHead:at+frameHead+n]))
		at += overhead + n
	}
}

// A memory is a log that is not on a disk.
type memory struct{ *bytes.Reader }

func (memory) WriteAt([]byte, int64) (int, error) { return 0, errors.ErrUnsupported }
func (memory) Sync() error                        { return errors.ErrUnsupported }
func (memory) Truncate(int64) error               { return errors.ErrUnsupported }
func (memory) Close() error                       { return nil }
