package simulate

import (
	"errors"

	"advsweep/cluster/protocol"
	"advsweep/study"
)

// A Mistake is a rule of the protocol that a run breaks on purpose. A test wants each to be found.
type Mistake string

// None is no mistake.
const (
	None             Mistake = ""
	AckBeforeKeep    Mistake = "a result is taken off the queue before it is in the folder"
	Unchecked        Mistake = "results are not checked"
	DisputeForgotten Mistake = "a shard that came out different counts all the same"
	AvoidIgnored     Mistake = "workers do what they are to leave to others"
	WrongStays       Mistake = "what an excluded worker found stays"
)

// Mistakes lists all.
var Mistakes = []Mistake{AckBeforeKeep, Unchecked, DisputeForgotten, AvoidIgnored, WrongStays}

// store returns s with the mistake in it, where it is one of the store.
func (m Mistake) store(s protocol.Store, w *world) protocol.Store {
	switch m {
	case None, AckBeforeKeep, AvoidIgnored:
		return s
	case Unchecked:
		return unchecked{s, w}
	case DisputeForgotten:
		return forgetful{s}
	case WrongStays:
		return lenient{s, w}
	}
	w.s.fail("unknown mistake %q", m)
	return s
}

type unchecked struct {
	protocol.Store
	w *world
}

func (unchecked) Check(study.Shard, *study.Result) error { return nil }

func (u unchecked) Put(s study.Shard, encoded []byte) (study.Settled, error) {
	settled, err := u.Store.Put(s, encoded)
	if errors.As(err, new(*study.DamagedError)) {
		err = u.w.disk.Write("shards/"+s.ID[:2]+"/"+s.ID, encoded, true)
	}
	return settled, err
}

type forgetful struct{ protocol.Store }

func (f forgetful) Put(s study.Shard, encoded []byte) (study.Settled, error) {
	settled, err := f.Store.Put(s, encoded)
	if isDispute(err) {
		err = nil
	}
	return settled, err
}

type lenient struct {
	protocol.Store
	w *world
}

func (l lenient) Exclude(worker, why string) ([]int, error) {
	l.w.excluded[worker] = true
	return nil, nil
}

func (l lenient) SetAside(func(study.Shard, *study.Result) bool) ([]int, error) { return nil, nil }
