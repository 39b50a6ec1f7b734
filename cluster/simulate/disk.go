package simulate

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// A disk is the study's folder in memory. It is slow and at times full. At a power cut what was
// written without being synced is lost, and what was removed may be there again.
//
// Reading takes no time and hands control to nobody, so that readers may be several goroutines.
type disk struct {
	w    *world
	full bool

	mu      sync.Mutex
	files   map[string][]byte
	synced  map[string][]byte // as after a power cut
	removed map[string]bool   // removals that are not synced
}

func newDisk(w *world) *disk {
	return &disk{w: w, files: map[string][]byte{}, synced: map[string][]byte{}, removed: map[string]bool{}}
}

var errFull = errors.New("no space left on device")

// wait is what a write takes before it happens. The process may be killed meanwhile.
func (d *disk) wait() {
	if p := d.w.s.current; p != nil {
		p.pause(d.w.s.between(0, d.w.conf.slow))
	}
}

func (d *disk) Read(name string, most int64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	data, ok := d.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if int64(len(data)) > most {
		return nil, errors.New("too large")
	}
	return slices.Clone(data), nil
}

func (d *disk) Write(name string, data []byte, durable bool) error {
	d.wait()
	if d.full {
		d.w.s.count("disk full")
		return errFull
	}
	d.w.s.trace("disk", "write "+name, len(data))
	d.set(name, data, durable)
	d.w.written(name, data)
	return nil
}

func (d *disk) Create(name string, data []byte) error {
	d.wait()
	d.mu.Lock()
	_, ok := d.files[name]
	d.mu.Unlock()
	switch {
	case ok:
		return fs.ErrExist
	case d.full:
		d.w.s.count("disk full")
		return errFull
	}
	d.w.s.trace("disk", "create "+name, len(data))
	d.set(name, data, true)
	d.w.written(name, data)
	return nil
}

func (d *disk) set(name string, data []byte, durable bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files[name] = slices.Clone(data)
	if !durable {
		return
	}
	d.synced[name] = d.files[name]
	delete(d.removed, name)
	for other := range d.removed { // the folder is synced with it
		if path.Dir(other) == path.Dir(name) {
			delete(d.removed, other)
			delete(d.synced, other)
		}
	}
}

func (d *disk) Remove(name string) error {
	d.wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.files[name]; !ok {
		for other := range d.files {
			if strings.HasPrefix(other, name+"/") {
				return errors.New("directory not empty")
			}
		}
		return nil
	}
	d.w.s.trace("disk", "remove "+name, 0)
	delete(d.files, name)
	if _, ok := d.synced[name]; ok {
		d.removed[name] = true
	}
	return nil
}

func (d *disk) List(dir string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.files {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
			first, _, _ := strings.Cut(rest, "/")
			names = append(names, first)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// cut is a power cut.
func (d *disk) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	var removed []string
	for name := range d.removed {
		removed = append(removed, name)
	}
	slices.Sort(removed)
	for _, name := range removed {
		if d.w.s.chance(0.5) {
			delete(d.synced, name)
		} else {
			d.w.s.trace("disk", "is there again "+name, 0)
		}
	}
	clear(d.removed)
	d.files = map[string][]byte{}
	for name, data := range d.synced {
		d.files[name] = data
	}
}

// damage changes a byte of a result.
func (d *disk) damage() (name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for name := range d.files {
		if strings.HasPrefix(name, "shards/") {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return ""
	}
	slices.Sort(all)
	name = all[d.w.s.rng.IntN(len(all))]
	data := slices.Clone(d.files[name])
	data[d.w.s.rng.IntN(len(data))] ^= 1 << d.w.s.rng.IntN(8)
	d.files[name] = data
	if _, ok := d.synced[name]; ok {
		d.synced[name] = data
	}
	return name
}
