package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"advsweep/internal/regular"
	"advsweep/internal/staged"
	"advsweep/study"

	"github.com/nats-io/nats.go/jetstream"
)

// A cache gives the inputs of a study. It reads them from a folder of this machine, where the name
// of a file is its SHA-256. What is not there, or is damaged, it fetches from the object store and
// puts there. Several workers and processes may use one folder. Only Input changes a field:
// fetched.
type cache struct {
	ctx    context.Context
	dir    string
	bucket jetstream.ObjectStore
	log    func(string, ...any)

	// Input holds mu while it fetches, so that other workers of this process wait rather than fetch
	// too.
	mu      sync.Mutex
	fetched int // how many inputs came from the object store
}

// Input returns the input with that SHA-256. It tries until ctx ends, or the study is gone from the
// server.
func (c *cache) Input(hash string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Join(c.dir, hash)
	if data, err := regular.ReadFrom(c.dir, hash, maxInput); err == nil {
		if study.Hash(data) == hash {
			return data, nil
		}
		c.log("%s is damaged: its SHA-256 is not its name; it is fetched anew", path)
	}
	var data []byte
	err := persist(c.ctx, objectTime, func(err error) { c.log("input %.12s: %v; trying again", hash, err) }, gone, func(ctx context.Context) (err error) {
		data, err = getObject(ctx, c.bucket, hash)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cluster: input %.12s: %w", hash, err)
	}
	if got := study.Hash(data); got != hash {
		return nil, fmt.Errorf("cluster: input %.12s came from the server with SHA-256 %.12s: the server's store is damaged, or not what it says", hash, got)
	}
	c.fetched++
	if err := c.keep(hash, data); err != nil {
		c.log("cannot keep an input, so it may be fetched again: %s: %v", path, regular.Cause(err))
	}
	return data, nil
}

// maxInput is how large a file of the cache may be, in bytes: more than any machine has memory for
// is not read to see whether it is damaged.
const maxInput = 1 << 38

// keep writes data to the cache so that no other process sees half of it. What killed processes left
// there it removes.
func (c *cache) keep(hash string, data []byte) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	root, err := regular.OpenRoot(c.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	staged.Sweep(root, ".")
	return staged.Write(root, hash, data, false)
}

// getObject returns the object of that name in bucket. It returns as soon as ctx ends. GetBytes
// alone does not: it reads until the deadline of ctx, though nothing comes any more. getObject also
// sets a deadline by the object's size. If the server was away in between the object never comes,
// and persist is to try again soon.
func getObject(ctx context.Context, bucket jetstream.ObjectStore, name string) ([]byte, error) {
	short, cancel := context.WithTimeout(ctx, messageTime)
	defer cancel()
	info, err := bucket.GetInfo(short, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithTimeout(ctx, getTime(info.Size))
	defer cancel()
	type got struct {
		data []byte
		err  error
	}
	done := make(chan got, 1)
	go func() {
		data, err := bucket.GetBytes(ctx, name)
		done <- got{data, err}
	}()
	select {
	case g := <-done:
		return g.data, g.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// getTime is how long an object of that many bytes may take to come: at 128 KiB a second, which is
// slow, and objectTime at most.
func getTime(bytes uint64) time.Duration {
	return min(objectTime, 2*messageTime+time.Duration(bytes>>17)*time.Second)
}
