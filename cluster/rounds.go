package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
	"advsweep/internal/staged"
	"advsweep/study"
)

// A storeError says that the store of the server does not keep or give what it is asked to, and
// will not by itself. All that counts is in the study's folder.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// maxRounds is how many rounds in a row may end with a storeError though no shard was done.
const maxRounds = 5

// serveRounds serves f until all shards are closed. When the store of the server that Serve brings
// fails, it begins another round: it ends the server, removes the store, and starts the server
// again at the same address, with queues made anew from the folder. Workers only see that the
// server is away for a moment. A store of another server it cannot mend.
func serveRounds(ctx context.Context, stop <-chan struct{}, f *study.Folder, n names, o ServeOptions) error {
	if o.look == 0 {
		o.look = 5 * time.Second
	}
	arrived, done, idle := o.Arrived, 0, 0
	o.Arrived = func(s study.Shard, r *study.Result) { // one at a time
		done++
		if arrived != nil {
			arrived(s, r)
		}
	}
	for {
		before := done
		err := serveRound(ctx, stop, f, n, &o)
		var broken *storeError
		switch {
		case !errors.As(err, &broken):
			return err
		case o.URL != "":
			return fmt.Errorf("%w: look at that server and serve the study again; what is done is safe", err)
		}
		if idle++; done > before {
			idle = 0
		}
		if idle == maxRounds {
			return remedy.Want(remedy.External, fmt.Errorf("%w; that was so %d times in a row, and no shard was done in between: look at the disk of %s and serve the study again, or use a server that exists; what is done is safe", err, idle, f.Dir))
		}
		o.Log("%v: the server starts again with a new store; what is done is safe in %s", broken, f.Dir)
		if err := clear(ctx, stop, f.Dir, o.Log); err != nil {
			return err
		}
	}
}

// clear removes the server's store in dir, and waits until dir has room for another.
func clear(ctx context.Context, stop <-chan struct{}, dir string, log func(string, ...any)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heed(ctx, stop, cancel)
	report := func(err error) {
		log("waiting for room on the disk of %s: %v", dir, regular.Cause(err))
	}
	return persist(ctx, time.Minute, report, nil, func(context.Context) error {
		if err := os.RemoveAll(filepath.Join(dir, study.StoreName)); err != nil {
			return err
		}
		return hasRoom(dir)
	})
}

// hasRoom returns an error if a file of a few mebibytes cannot be written to dir. It leaves none.
func hasRoom(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := staged.Stage(root, ".", make([]byte, 4<<20), true)
	if err != nil {
		return err
	}
	f.Drop()
	return nil
}
