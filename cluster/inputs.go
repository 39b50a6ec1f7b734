package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"advsweep/internal/regular"
	"advsweep/internal/staged"
	"advsweep/study"
)

// A cache gives the inputs of a study. It reads them from a folder of this machine, where the name
// of a file is its SHA-256. What is not there, or is damaged, it fetches from the object store and
// puts there. Several workers and processes may use one folder. Only Input changes a field:
// fetched.
type cache struct {
	ctx    context.Context
	dir    string
	bucket *objects
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
		data, err = c.bucket.get(ctx, hash)
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
