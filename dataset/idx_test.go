package dataset

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"runtime"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// idx is a plain IDX file.
func idx(t testing.TB, shape []int, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteIDX(&b, shape, data); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

func TestIDXRoundTrip(t *testing.T) {
	for _, shape := range [][]int{{1}, {1000}, {1, 1, 1}, {7, 3, 5}, {100, 28, 28}, {2, 3, 4, 5}, {300, 300}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(i * i >> 3)
		}
		plain := idx(t, shape, data)
		for name, file := range map[string][]byte{"plain": plain, "gzip": gz(t, plain)} {
			got, err := ReadIDX(name, file, len(shape))
			if err != nil {
				t.Errorf("%s %v: %v", name, shape, err)
				continue
			}
			if diff := cmp.Diff(shape, []int(got.Shape())); diff != "" {
				t.Errorf("%s shape (-want +got):\n%s", name, diff)
			}
			if !bytes.Equal(got.Data().([]byte), data) {
				t.Errorf("%s %v: data changed", name, shape)
			}
		}
	}
}

func TestReadIDXErrors(t *testing.T) {
	good := idx(t, []int{2, 3, 4}, make([]byte, 24))
	random := make([]byte, 6000) // does not compress
	for i, x := 0, uint32(1); i < len(random); i++ {
		x = x*1664525 + 1013904223
		random[i] = byte(x >> 24)
	}
	goodZip := gz(t, idx(t, []int{10, 20, 30}, random))
	head := func(tail ...byte) []byte { return append([]byte{0, 0, 8, 3}, tail...) }
	dims := func(d ...byte) []byte { return head(append(d, make([]byte, 24)...)...) }
	change := func(file []byte, i int, b byte) []byte {
		file = bytes.Clone(file)
		file[(i+len(file))%len(file)] ^= b
		return file
	}
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"one byte", []byte{0}, "truncated: header of 1 bytes, want 16"},
		{"half of gzip's magic", []byte{0x1f}, "truncated: header of 1 bytes"},
		{"header cut", good[:15], "truncated: header of 15 bytes, want 16"},
		{"header only", good[:16], "truncated: 0 bytes after the header, want 24"},
		{"data cut", good[:39], "truncated: 23 bytes after the header, want 24"},
		{"data long", append(bytes.Clone(good), 0), "oversized: 25 bytes after the header, want 24"},
		{"not IDX", []byte("\x89PNG\r\n\x1a\n and so on and on"), "magic 0x89504e47, want 0x803"},
		{"text of four bytes", []byte("abc\n"), "magic 0x6162630a, want 0x803"},
		{"magic", change(good, 0, 1), "magic 0x1000803, want 0x803"},
		{"little endian", []byte{3, 8, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0}, "magic 0x3080000, want 0x803"},
		{"signed byte", change(good, 2, 0x08^0x09), "the type is signed byte, want unsigned byte"},
		{"float", change(good, 2, 0x08^0x0d), "magic 0xd03, want 0x803: the type is float, want unsigned byte"},
		{"unknown type", change(good, 2, 0x08^0x77), "magic 0x7703, want 0x803"},
		{"rank 1", idx(t, []int{3}, make([]byte, 3)), "magic 0x801, want 0x803: the rank is 1, want 3"},
		{"rank 4", idx(t, []int{1, 1, 1, 1}, make([]byte, 1)), "the rank is 4, want 3"},
		{"no images", dims(0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4), "dimension 0 of 3 is 0"},
		{"no width", dims(0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0), "dimension 2 of 3 is 0"},
		{"product of 96 bits", dims(255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255), "overflow"},
		{"product wraps to 0", dims(128, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 4), "overflow"},
		{"product of 63 bits", dims(128, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 1), "truncated: 24 bytes after the header"},
		{"2 GiB declared", dims(0, 1, 0, 0, 0, 0, 128, 0, 0, 0, 0, 1), "truncated: 24 bytes after the header, want 2147483648"},

		{"gzip magic only", []byte{0x1f, 0x8b}, "truncated: the gzip stream ends early"},
		{"gzip of nothing", gz(t, nil), "truncated: header of 0 bytes, want 16"},
		{"gzip, header cut", gz(t, good[:15]), "truncated: header of 15 bytes, want 16"},
		{"gzip, data cut", gz(t, good[:39]), "truncated: 23 bytes after the header, want 24"},
		{"gzip, data long", gz(t, append(bytes.Clone(good), 0)), "oversized: more than 24 bytes after the header"},
		{"gzip, not IDX", gz(t, []byte("hello, world, hello, world")), "magic 0x68656c6c, want 0x803"},
		{"gzip in gzip", gz(t, gz(t, good)), "magic 0x1f8b"},
		{"gzip, method", change(goodZip, 2, 1), "gzip: invalid header"},
		{"gzip, deflate corrupt", change(goodZip, 10, 7), "flate: corrupt input"},
		{"gzip, data corrupt", change(goodZip, 100, 7), "gzip: invalid checksum"},
		{"gzip, checksum", change(goodZip, -8, 1), "gzip: invalid checksum"},
		{"gzip, length", change(goodZip, -1, 1), "gzip: invalid checksum"},
		{"gzip, stream cut", goodZip[:len(goodZip)/2], "truncated: the gzip stream ends early"},
		{"gzip, trailer cut", goodZip[:len(goodZip)-1], "truncated: the gzip stream ends early"},
		{"gzip, second member", append(bytes.Clone(goodZip), goodZip...), "oversized: more than 6000 bytes after the header"},
		{"gzip, tail", append(bytes.Clone(goodZip), make([]byte, 12)...), "oversized: more bytes after the gzip stream, which are no gzip"},
		{"gzip, a byte more", append(bytes.Clone(goodZip), 0), "truncated: the gzip stream ends early"},
		{"gzip, declares the impossible", gz(t, dims(0, 1, 0, 0, 0, 0, 128, 0, 0, 0, 0, 1)), "declares 2147483648 bytes"},
		{"gzip, product overflows", gz(t, dims(255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255)), "overflow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ReadIDX("dir/some-file", c.data, 3)
			if got != nil {
				t.Errorf("ReadIDX = %v, want nil", got.Shape())
			}
			wantError(t, err, "dataset: dir/some-file: ", c.want)
		})
	}
	if _, err := ReadIDX("f", good, 0); err == nil {
		t.Error("rank 0: error is nil")
	}
}

// A small file must not take much memory, whatever it claims: allocated bytes
// are those of the whole call, freed or not.
func TestReadIDXMemory(t *testing.T) {
	zeros := func(declared, held int) []byte {
		header := idx(t, []int{1}, []byte{0})[:4]
		header = append(header, byte(declared>>24), byte(declared>>16), byte(declared>>8), byte(declared))
		return append(header, make([]byte, held)...)
	}
	const mib = 1 << 20
	bomb := gz(t, zeros(1000, 64*mib))
	claim := gz(t, zeros(60*mib, 64<<10)) // too small to hold what it claims
	big := gz(t, zeros(32*mib, 32*mib))
	// 60 MiB claimed by a file that could hold as much, but holds 100 bytes:
	// gzip's header carries the rest as an extra field.
	padded := gz(t, zeros(60*mib, 100))
	padded[3] |= 4
	padded = append(append(padded[:10:10], append([]byte{0xff, 0xff}, make([]byte, 0xffff)...)...), padded[10:]...)
	for _, c := range []struct {
		name  string
		data  []byte
		most  int
		fails bool
	}{
		{"bomb", bomb, mib, true},
		{"claim without content", claim, mib, true},
		{"claim in a padded file", padded, 2 * mib, true},
		{"2 GiB in a plain file", zeros(1<<31-1, 100), mib, true},
		{"honest, compressed a thousandfold", big, 3 * 32 * mib, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := ReadIDX("f", c.data, 1)
			runtime.ReadMemStats(&after)
			if (err != nil) != c.fails {
				t.Errorf("error is %v, want one: %t", err, c.fails)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > uint64(c.most) {
				t.Errorf("%d bytes allocated for a file of %d, want at most %d (%v)", got, len(c.data), c.most, err)
			}
		})
	}
}

type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestWriteIDXErrors(t *testing.T) {
	// Neither a constant nor one shift: those do not compile where int has 32 bits.
	tooLong := 1 << 30
	tooLong *= 4
	for _, c := range []struct {
		name  string
		w     io.Writer
		shape []int
		n     int
		want  string
	}{
		{"no shape", io.Discard, nil, 1, "rank 0"},
		{"rank 256", io.Discard, make([]int, 256), 1, "rank 256"},
		{"zero", io.Discard, []int{0}, 0, "dimension 0 is 0"},
		{"negative", io.Discard, []int{2, -1}, 2, "dimension 1 is -1"},
		{"33 bits", io.Discard, []int{1, tooLong}, 2, "dimension 1 is"},
		{"short", io.Discard, []int{2, 2}, 3, "3 bytes, want [2 2]"},
		{"wraps", io.Discard, []int{1 << 30, 1 << 30, 16}, 0, "0 bytes, want"},
		{"header fails", &failing{0}, []int{1}, 1, "short write"},
		{"data fails", &failing{1}, []int{1}, 1, "short write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantError(t, WriteIDX(c.w, c.shape, make([]byte, c.n)), "dataset: ", c.want)
		})
	}
	if err := WriteIDX(&failing{0}, []int{1}, []byte{0}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("error is %v, want the writer's own in it", err)
	}
}

// FuzzReadIDX: no panic, no memory beyond what the file can back, and what is
// read and written again reads the same.
func FuzzReadIDX(f *testing.F) {
	images := idx(f, []int{2, 3, 4}, []byte("abcdefghijklmnopqrstuvwx"))
	labels := idx(f, []int{5}, []byte{1, 2, 3, 4, 5})
	f.Add([]byte{}, 3)
	f.Add(images, 3)
	f.Add(gz(f, images), 3)
	f.Add(labels, 1)
	f.Add(gz(f, labels), 1)
	f.Add(gz(f, labels)[:20], 1)
	f.Add(append(gz(f, labels), gz(f, images)...), 1)
	f.Add(gz(f, append([]byte{0, 0, 8, 1, 0, 1, 0, 0}, make([]byte, 1<<16)...)), 1)
	f.Add([]byte{0, 0, 8, 3, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255}, 3)
	f.Add([]byte{0, 0, 13, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}, 2)
	f.Fuzz(func(t *testing.T, data []byte, rank int) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		a, err := ReadIDX("f", data, rank)
		runtime.ReadMemStats(&after)
		// Twice the data while it grows, and gzip's and our own buffers.
		if got, most := after.TotalAlloc-before.TotalAlloc, uint64(len(data))*maxDeflate*3+4<<20; got > most {
			t.Fatalf("%d bytes allocated for a file of %d, want at most %d", got, len(data), most)
		}
		if err != nil {
			return
		}
		again := idx(t, a.Shape(), a.Data().([]byte))
		b, err := ReadIDX("f", again, rank)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Shape().Eq(b.Shape()) || !bytes.Equal(a.Data().([]byte), b.Data().([]byte)) {
			t.Fatalf("read, written and read: %v became %v, or its data changed", a.Shape(), b.Shape())
		}
	})
}
