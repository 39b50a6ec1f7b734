package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"advsweep/study"
)

// A storeError says that the store of the server does not keep or give what it is asked to, and
// will not by itself. All that counts is in the study's folder.
type storeError struct{ error }

func (e *storeError) Unwrap() error { return e.error }

// serveRounds serves f until all is settled. When the store of the server that Serve brings fails,
// it begins another round: it ends the server, removes the store, and starts the server again at
// the same address, with queues made anew from the folder. Workers only see that the server is away
// for a moment.
func serveRounds(ctx context.Context, stop <-chan struct{}, f *study.Folder, n names, o ServeOptions) error {
	for {
		err := serveRound(ctx, stop, f, n, &o)
		var broken *storeError
		if !errors.As(err, &broken) || o.URL != "" {
			return err
		}
		o.Log("%v: the server starts again with a new store; all that is done is safe in %s", broken, f.Dir)
		if err := os.RemoveAll(filepath.Join(f.Dir, study.StoreName)); err != nil {
			return err
		}
	}
}
