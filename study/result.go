package study

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"advsweep/record"
)

// A Result is what a shard has found.
type Result struct {
	Arithmetic record.Arithmetic
	Chunks     [][]byte // the payload of each chunk of the shard
}

// The bytes of a result, numbers little-endian:
//
//	"advshard", version u32, length u32 of what follows, {"id", "arithmetic"} as JSON,
//	number of chunks u32, for each length u64 and payload, SHA-256 of all before it [32]
const (
	resultMagic   = "advshard"
	resultVersion = 1
)

type resultHead struct {
	ID         string            `json:"id"`
	Arithmetic record.Arithmetic `json:"arithmetic"`
}

// Encode returns r, of the shard with that id, as bytes. Equal results give equal bytes.
func (r *Result) Encode(id string) ([]byte, error) {
	head, err := json.Marshal(resultHead{id, r.Arithmetic})
	if err != nil {
		return nil, fmt.Errorf("study: result: %w", err)
	}
	b := binary.LittleEndian.AppendUint32([]byte(resultMagic), resultVersion)
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
	if v := binary.LittleEndian.Uint32(data[len(resultMagic):]); v != resultVersion {
		return bad("format version %d, want %d", v, resultVersion)
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
	r := &Result{Arithmetic: head.Arithmetic}
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
