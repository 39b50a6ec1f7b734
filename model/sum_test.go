package model

import (
	"bytes"
	"crypto/sha256"
	"testing"
)

// A sum is the hash that it is made of, however what is hashed is cut, and wherever it begins to
// run beside its writer.
func TestSum(t *testing.T) {
	data := make([]byte, sumDirect+10*sumPiece+77)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	for _, c := range []struct {
		name        string
		write, size int
	}{
		{"nothing", 1, 0},
		{"little", 1000, 12345},
		{"as much as is hashed at once", sumDirect, sumDirect},
		{"one byte more", sumDirect + 1, sumDirect + 1},
		{"in pieces", 100_003, len(data)},
		{"in pieces of the hash's own size", sumPiece, len(data)},
		{"whole", len(data), len(data)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSum(sha256.New())
			defer s.Close()
			for at := 0; at < c.size; {
				// The writer's memory is its own again after Write.
				piece := bytes.Clone(data[at:min(at+c.write, c.size)])
				if n, err := s.Write(piece); n != len(piece) || err != nil {
					t.Fatalf("wrote %d of %d bytes, %v", n, len(piece), err)
				}
				at += len(piece)
				clear(piece)
			}
			want := sha256.Sum256(data[:c.size])
			for range 2 {
				if got := s.Sum(nil); !bytes.Equal(got, want[:]) {
					t.Fatalf("hash %x, want %x", got, want)
				}
			}
			s.Write([]byte("more"))
			want = sha256.Sum256(append(data[:c.size:c.size], "more"...))
			if got := s.Sum(nil); !bytes.Equal(got, want[:]) {
				t.Errorf("hash with more %x, want %x", got, want)
			}
			s.Reset()
			want = sha256.Sum256(nil)
			if got := s.Sum(nil); !bytes.Equal(got, want[:]) {
				t.Errorf("hash after Reset %x, want %x", got, want)
			}
		})
	}
}
