package study

import "time"

// A Status is how far a study is.
type Status struct {
	Name     string
	ID       string
	Total    int // shards
	Done     int
	Failed   []Failure
	Workers  []WorkerState
	Expected float64 // seconds of the device class, of all shards
	Left     float64 // of those that are not done
	ETA      time.Duration
	Known    bool // ETA
	Runs     []RunStatus
	Trust    Trust
}

// Trust is what is known of the results beyond that they are there.
type Trust struct {
	Disputes []Dispute
	Damaged  []int             // shards whose files are no results: they are done again
	Prints   []Print           // how many results there are of each fingerprint, most first
	Excluded map[string]string // workers whose results are not taken, and why
	Twice    int               // shards that two workers found the same
}

// A RunStatus is how far a run is.
type RunStatus struct {
	Name        string
	Total, Done int
	Failed      int
}

// heard is how long after its last heartbeat a worker counts as alive.
const heard = 45 * time.Second

// Alive reports whether a heartbeat of w came lately.
func (w WorkerState) Alive(now time.Time) bool { return now.Sub(w.Updated) < heard }

// Running counts the workers that are alive and have a shard in hand. It is no more than there are
// shards to do: a worker that was killed had one in hand that another may have done since.
func (s *Status) Running(now time.Time) (n int) {
	for _, w := range s.Workers {
		if w.Shard >= 0 && w.Alive(now) {
			n++
		}
	}
	return min(n, s.Total-s.Done-len(s.Failed))
}

// Status reads how far the study is, from its folder alone.
func (f *Folder) Status(now time.Time) (*Status, error) {
	id, err := f.Plan.ID()
	if err != nil {
		return nil, err
	}
	s := &Status{Name: f.Plan.Name, ID: id, Total: len(f.Shards)}
	sc, err := f.scan()
	if err != nil {
		return nil, err
	}
	done := sc.done
	s.Trust = Trust{Disputes: sc.disputes, Damaged: sc.damaged, Prints: sc.prints, Twice: sc.twice}
	if s.Trust.Excluded, err = f.Excluded(); err != nil {
		return nil, err
	}
	if s.Failed, err = f.Failures(); err != nil {
		return nil, err
	}
	if s.Workers, err = f.Workers(); err != nil {
		return nil, err
	}
	for _, r := range f.Plan.Runs {
		s.Runs = append(s.Runs, RunStatus{Name: r.Name})
	}
	for i, shard := range f.Shards {
		r := &s.Runs[shard.Run]
		r.Total++
		s.Expected += shard.Seconds
		if done[i] {
			s.Done++
			r.Done++
		} else {
			s.Left += shard.Seconds
		}
	}
	for _, one := range s.Failed {
		s.Runs[f.Shards[one.Shard].Run].Failed++
		s.Left -= f.Shards[one.Shard].Seconds
	}
	// Each worker at the speed that all had so far, in seconds spent for a second expected.
	var busy, expected float64
	for _, w := range s.Workers {
		if sane(w.Busy) && sane(w.Expected) {
			busy += w.Busy
			expected += w.Expected
		}
	}
	if running := s.Running(now); running > 0 && expected > 0 {
		// No more than a hundred years, which is what a time.Duration holds of them.
		seconds := min(s.Left*busy/expected/float64(running), 100*365*24*3600)
		s.ETA, s.Known = time.Duration(seconds*float64(time.Second)), true
	}
	return s, nil
}

// sane reports whether a worker can have spent so many seconds.
func sane(seconds float64) bool { return seconds >= 0 && seconds < 1e10 }
