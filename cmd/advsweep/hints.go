package main

import (
	"errors"
	"fmt"

	"advsweep/internal/chunklog"
	"advsweep/internal/remedy"
	"advsweep/study"
)

// hints says which flag gives what an error needs.
var hints = map[remedy.Need]string{
	remedy.Folder:     "--out DIR chooses the folder",
	remedy.Mixed:      "--allow-mixed mixes them all the same",
	remedy.ServeMixed: "'advsweep serve --allow-mixed' mixes them",
	remedy.Credential: "give --credentials FILE, on workers a copy of the file of 'advsweep serve --credentials'; serve makes it if it is not there",
	remedy.Authority:  "--tls-ca FILE names that certificate",
	remedy.TLS:        "'advsweep serve' takes them by --tls-cert and --tls-key",
	remedy.Cache:      "give --cache DIR",
	remedy.Study:      "choose one with --study",
	remedy.Store:      "give a larger --store-bytes",
	remedy.Listen:     "--listen HOST:PORT is the address",
	remedy.External:   "use the .creds file with --nats",
	remedy.AckWait:    "it is --ack-wait",
	remedy.Attempts:   "it is --attempts",
}

// hinted adds to err the flag that mends it, if one does.
func hinted(err error) error {
	var r *remedy.Error
	var other *chunklog.OtherRunError
	need := remedy.Need("")
	switch {
	case errors.As(err, &r):
		need = r.Need
	case errors.As(err, new(*study.MixedError)):
		need = remedy.Mixed
	case errors.As(err, new(*chunklog.LockedError)), errors.As(err, new(*chunklog.VersionError)), errors.As(err, &other) && other.Than == "here":
		need = remedy.Folder
	}
	if hint := hints[need]; hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}
