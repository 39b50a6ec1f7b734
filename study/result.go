package study

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"advsweep/internal/plain"
	"advsweep/record"
)

// A Result is what a shard has found.
type Result struct {
	Arithmetic record.Arithmetic
	Chunks     [][]byte // the payload of each chunk of the shard
	By         Author   // who computed it; the zero Author if that is not known
	// Confirmed lists the other workers that found the same.
	Confirmed []Author
}

// An Author is a worker, by what it says of itself.
type Author struct {
	Worker  string `json:"worker"` // see WorkerName
	Machine string `json:"machine,omitempty"`
	Build   string `json:"build,omitempty"` // of the program: record.Build
}

func (a Author) String() string {
	if a == (Author{}) {
		return "a worker that is not known"
	}
	var more []string
	if a.Machine != "" && !strings.HasPrefix(a.Worker, a.Machine) {
		more = append(more, "on "+a.Machine)
	}
	if a.Build != "" {
		more = append(more, "build "+a.Build)
	}
	if len(more) == 0 {
		return a.Worker
	}
	return a.Worker + " (" + strings.Join(more, ", ") + ")"
}

// AuthorOf is the worker of that name on this machine.
func AuthorOf(worker string) Author {
	return Author{Worker: worker, Machine: machineName(), Build: record.Build()}
}

// sound returns an error if a has a name that no worker gives itself.
func (a Author) sound() error {
	for _, name := range []string{a.Worker, a.Machine} {
		if name != "" && !validName(name) {
			return fmt.Errorf("a worker or machine called %q", plain.Line(name, 40))
		}
	}
	if plain.Line(a.Build, maxBuild) != a.Build {
		return fmt.Errorf("a build called %q", plain.Line(a.Build, 40))
	}
	return nil
}

// maxBuild is how many characters the name of a build has at most.
const maxBuild = 40

// ResultFormat is the version of the bytes of a result, and of the payloads in it. Programs of
// different formats cannot work on one study.
const ResultFormat = 2

// The bytes of a result, numbers little-endian:
//
//	"advshard", version u32, length u32 of what follows, {"id", "arithmetic", "by", "confirmed"} as
//	JSON, number of chunks u32, for each length u64 and payload, SHA-256 of all before it [32]
//
// Version 1 had no "by" and no "confirmed". It is still read.
const (
	resultMagic  = "advshard"
	oldestResult = 1
	maxResult    = 1 << 30 // bytes
)

type resultHead struct {
	ID         string            `json:"id"`
	Arithmetic record.Arithmetic `json:"arithmetic"`
	By         Author            `json:"by"`
	Confirmed  []Author          `json:"confirmed,omitempty"`
}

// Same reports whether r and other have found the same, whoever computed them.
func (r *Result) Same(other *Result) bool {
	return slices.EqualFunc(r.Chunks, other.Chunks, bytes.Equal)
}

// hash tells what results have found apart: 16 hexadecimal digits of the SHA-256 of all chunks.
func (r *Result) hash() string {
	h := sha256.New()
	for _, c := range r.Chunks {
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(c))))
		h.Write(c)
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Encode returns r, of the shard with that id, as bytes. Results that are equal, and by the same
// workers, give equal bytes.
func (r *Result) Encode(id string) ([]byte, error) {
	head, err := json.Marshal(resultHead{id, r.Arithmetic, r.By, r.Confirmed})
	if err != nil {
		return nil, fmt.Errorf("study: result: %w", err)
	}
	b := binary.LittleEndian.AppendUint32([]byte(resultMagic), ResultFormat)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(r.Chunks)))
	for _, c := range r.Chunks {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(c)))
		b = append(b, c...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...), nil
}

// DecodeResult reads what Encode wrote for shard s. Any damage is an error. The result shares the
// memory of data.
func DecodeResult(s Shard, data []byte) (*Result, error) {
	bad := func(format string, args ...any) (*Result, error) {
		return nil, fmt.Errorf("study: result of shard %d: "+format, append([]any{s.Index}, args...)...)
	}
	if len(data) < len(resultMagic)+12+sha256.Size || !bytes.HasPrefix(data, []byte(resultMagic)) {
		return bad("no result: %d bytes", len(data))
	}
	if v := binary.LittleEndian.Uint32(data[len(resultMagic):]); v < oldestResult || v > ResultFormat {
		return bad("it is of format %d, and this build of advsweep, %s, reads %d to %d: use one build on all machines", v, record.Build(), oldestResult, ResultFormat)
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return bad("damaged: its SHA-256 does not fit")
	}
	rest := body[len(resultMagic)+4:]
	take := func(n uint64) ([]byte, error) {
		if n > uint64(len(rest)) {
			return nil, errors.New("cut short")
		}
		out := rest[:n:n]
		rest = rest[n:]
		return out, nil
	}
	u32 := func() (uint32, error) {
		b, err := take(4)
		if err != nil {
			return 0, err
		}
		return binary.LittleEndian.Uint32(b), nil
	}
	n, err := u32()
	if err != nil {
		return bad("%w", err)
	}
	text, err := take(uint64(n))
	if err != nil {
		return bad("%w", err)
	}
	var head resultHead
	if err := json.Unmarshal(text, &head); err != nil {
		return bad("%w", err)
	}
	if head.ID != s.ID {
		return bad("it is of shard id %.12s, want %.12s", head.ID, s.ID)
	}
	r := &Result{Arithmetic: head.Arithmetic, By: head.By, Confirmed: head.Confirmed}
	for _, a := range append([]Author{r.By}, r.Confirmed...) {
		if err := a.sound(); err != nil {
			return bad("%w", err)
		}
	}
	if n, err = u32(); err != nil {
		return bad("%w", err)
	}
	if int64(n) != int64(s.To-s.From) || int64(n) > math.MaxInt32 {
		return bad("%d chunks, want %d", n, s.To-s.From)
	}
	for range n {
		length, err := take(8)
		if err != nil {
			return bad("%w", err)
		}
		chunk, err := take(binary.LittleEndian.Uint64(length))
		if err != nil {
			return bad("%w", err)
		}
		r.Chunks = append(r.Chunks, chunk)
	}
	if len(rest) > 0 {
		return bad("%d bytes too many", len(rest))
	}
	return r, nil
}
