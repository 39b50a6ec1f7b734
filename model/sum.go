package model

import (
	"hash"
	"sync"
)

// A sum is a hash that is computed beside the reading of a file: most of the time of reading a
// large one went into waiting for its hash. What is written is copied, as io.Writer wants it. The
// first bytes are hashed at once, so that a small file starts nothing. Close ends it.
type sum struct {
	hash.Hash
	direct int         // bytes that are still hashed at once
	free   chan []byte // pieces that nobody fills or hashes; all of them are here once all is hashed
	full   chan []byte // nil: nothing is hashed beside the reading yet
	ended  sync.WaitGroup
}

const (
	sumDirect = 4 << 20 // bytes
	sumPieces = 4
	sumPiece  = 64 << 10 // bytes, that stay in a cache
)

func newSum(h hash.Hash) *sum { return &sum{Hash: h, direct: sumDirect} }

// Write hashes p, or hands it over.
func (s *sum) Write(p []byte) (int, error) {
	if s.full == nil {
		if len(p) <= s.direct {
			s.direct -= len(p)
			return s.Hash.Write(p)
		}
		s.start()
	}
	for rest := p; len(rest) > 0; {
		piece := <-s.free
		n := copy(piece[:cap(piece)], rest)
		s.full <- piece[:n]
		rest = rest[n:]
	}
	return len(p), nil
}

func (s *sum) start() {
	s.free, s.full = make(chan []byte, sumPieces), make(chan []byte, sumPieces)
	for range sumPieces {
		s.free <- make([]byte, 0, sumPiece)
	}
	s.ended.Go(func() {
		for piece := range s.full {
			s.Hash.Write(piece) // which never fails
			s.free <- piece
		}
	})
}

// Sum appends the hash of all that was written.
func (s *sum) Sum(b []byte) []byte {
	s.wait()
	return s.Hash.Sum(b)
}

// Reset forgets all that was written.
func (s *sum) Reset() {
	s.wait()
	s.Hash.Reset()
}

// wait returns when all that was written is hashed.
func (s *sum) wait() {
	if s.full == nil {
		return
	}
	var all [sumPieces][]byte
	for i := range all {
		all[i] = <-s.free
	}
	for _, piece := range all {
		s.free <- piece
	}
}

// Close ends what Write has started. Nothing may be written after it.
func (s *sum) Close() {
	if s.full != nil {
		close(s.full)
		s.ended.Wait()
	}
}
