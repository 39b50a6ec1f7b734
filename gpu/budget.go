//go:build cuda && linux && cgo

package gpu

// A budget is how many rows fit on the device. open sets plan and planned for the model. open and
// afterLoad set rowsMax. whole and halve set microbatch, for each batch.
type budget struct {
	plan       plan
	planned    int // rows that pass through the layers at a time, as planned
	rowsMax    int // the most rows of a batch
	microbatch int // as planned, or fewer if memory is short
}

// open plans for model m on d, which holds the weights and no images.
func (b *budget) open(d *device, m deviceModel) error {
	free, err := d.freeMemory()
	if err != nil {
		return err
	}
	b.plan = m.plan()
	b.planned = b.plan.microbatch(free, d.multiprocessors, m.widest())
	b.rowsMax = b.plan.batch(free, b.planned)
	return nil
}

// afterLoad plans for the loaded images on d. held is how many bytes a batch holds: the next batch
// has them too.
func (b *budget) afterLoad(d *device, held int64) error {
	free, err := d.freeMemory()
	if err != nil {
		return err
	}
	b.rowsMax = b.plan.batch(free+held, b.planned)
	return nil
}

// whole makes the microbatch as large as planned.
func (b *budget) whole() { b.microbatch = b.planned }

// halve makes the microbatch half as large, but not less than the plan's least.
func (b *budget) halve() {
	least := b.plan.least
	b.microbatch = max(least, b.microbatch/2/least*least)
}

// smallest tells whether halve can do no more.
func (b *budget) smallest() bool { return b.microbatch <= b.plan.least }
