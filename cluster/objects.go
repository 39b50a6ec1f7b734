package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A store names an object store on the server.
type store struct{ name string }

func (s store) stream() string { return "OBJ_" + s.name }

// objects is an object store of a study. Its get reads chunk by chunk, with requests that a worker
// may make: ObjectStore.Get makes a consumer.
type objects struct {
	jetstream.ObjectStore
	name   string
	stream jetstream.Stream
}

// openObjects opens the store s.
func openObjects(ctx context.Context, js jetstream.JetStream, s store) (*objects, error) {
	o, err := js.ObjectStore(ctx, s.name)
	if err != nil {
		return nil, err
	}
	stream, err := js.Stream(ctx, s.stream())
	return &objects{o, s.name, stream}, err
}

// errDamagedObject is of an object whose chunks are not there or are not those that were put.
var errDamagedObject = errors.New("cluster: the object is damaged")

// get returns the object of that name. Its error is errDamagedObject if it is not whole.
func (o *objects) get(ctx context.Context, name string) ([]byte, error) {
	short, cancel := context.WithTimeout(ctx, messageTime)
	defer cancel()
	info, err := o.GetInfo(short, name)
	if err != nil {
		return nil, err
	}
	want, err := jetstream.DecodeObjectDigest(info.Digest)
	if err != nil || !nuid(info.NUID) || info.Opts != nil && info.Opts.Link != nil {
		return nil, fmt.Errorf("%w: %s has no digest, or none of its own chunks", errDamagedObject, name)
	}
	ctx, cancel = context.WithTimeout(ctx, getTime(info.Size))
	defer cancel()
	chunks := "$O." + o.name + ".C." + info.NUID
	var data []byte // grows by what comes: nobody can make it large by saying that it is
	sum := sha256.New()
	for next := uint64(1); uint64(len(data)) < info.Size; {
		try, cancel := context.WithTimeout(ctx, messageTime) // a server that died answers nothing
		m, err := o.stream.GetMsg(try, next, jetstream.WithGetMsgSubject(chunks))
		cancel()
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, fmt.Errorf("%w: %s has %d of %d bytes", errDamagedObject, name, len(data), info.Size)
		}
		if err != nil {
			return nil, err
		}
		data = append(data, m.Data...)
		_, _ = sum.Write(m.Data) // a hash never fails
		next = m.Sequence + 1
	}
	if got := sum.Sum(nil); uint64(len(data)) != info.Size || string(got) != string(want) {
		return nil, fmt.Errorf("%w: %s has %d bytes of SHA-256 %.12s, want %d of %.12s", errDamagedObject, name, len(data), hex.EncodeToString(got), info.Size, hex.EncodeToString(want))
	}
	return data, nil
}

// nuid reports whether s can be the last token of a subject of chunks, as clients make them.
func nuid(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// resultPrefix begins the names of large results.
const resultPrefix = "result-"

// isResult reports whether name is one that a worker gives a large result.
func isResult(name string) bool {
	return len(name) > len(resultPrefix) && name[:len(resultPrefix)] == resultPrefix && nuid(name[len(resultPrefix):])
}

// getTime is how long an object of that many bytes may take to come: at 128 KiB a second, which is
// slow, and objectTime at most.
func getTime(bytes uint64) time.Duration {
	return min(objectTime, 2*messageTime+time.Duration(min(bytes, 1<<40)>>17)*time.Second)
}
