package pipeline

import "advsweep/backend"

// A Meter is a Backend that says where its time and its arithmetic went. The counts do not depend
// on the backend's threads or on the processor.
type Meter interface {
	Backend
	// Spent returns what each part of the work took since the backend was opened. What is between
	// two calls of the backend is in no part, nor is backend.Writing, which is not its work.
	Spent() backend.Spent
}

// SpentBy returns what b spent. ok is false if b is no Meter.
func SpentBy(b Backend) (spent backend.Spent, ok bool) {
	m, ok := b.(Meter)
	if !ok {
		return spent, false
	}
	return m.Spent(), true
}
