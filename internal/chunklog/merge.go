package chunklog

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"
)

// Merge writes into the folder dst the whole run of which srcs hold parts. Its chunks.log has the
// chunks in order: the same bytes whatever the order of srcs, and those of a run that finished them
// in order. A merge that was killed goes on when it is called again.
//
// It returns an error, and leaves dst alone, unless every chunk is in exactly one of srcs, of
// one manifest: *OtherRunError, *CorruptError, *VersionError, or one that names the chunks.
func Merge(dst string, srcs ...string) (err error) {
	if len(srcs) == 0 {
		return errors.New("chunklog: merge: no folders given")
	}
	var logs []*Log
	defer func() {
		for _, l := range logs {
			l.Close()
		}
	}()
	owner := map[int]*Log{}
	for _, src := range srcs {
		if same, err := sameFolder(dst, src); err != nil || same {
			if err == nil {
				err = remedy.Want(remedy.Folder, fmt.Errorf("chunklog: merge: %s is to be read and written: %s", dst, instead))
			}
			return err
		}
		l, err := Read(src)
		if err != nil {
			return err
		}
		logs = append(logs, l)
		if first := logs[0]; l.id != first.id {
			return otherRun(src, l.manifest, first.dir, first.manifest)
		} else if l.chunks != first.chunks {
			return &OtherRunError{Dir: src, Than: first.dir, Fields: []Field{{"chunks", fmt.Sprint(l.chunks), fmt.Sprint(first.chunks)}}}
		}
		if err := overlap(owner, l); err != nil {
			return err
		}
		for i := range l.frames {
			owner[i] = l
		}
	}
	first := logs[0]
	if missing := gaps(slices.Sorted(maps.Keys(owner)), first.chunks); len(missing) > 0 {
		return fmt.Errorf("chunklog: merge: %s in none of %s: finish these runs or add the folder that has them",
			ranges(missing), strings.Join(srcs, ", "))
	}
	out, err := Open(dst, first.manifest, first.chunks)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	// What a killed merge left is the first chunks in order; else dst is a run of its own.
	end := int64(headerSize)
	for i := range out.Done() {
		if fr, ok := out.frames[i]; !ok || fr.offset != end {
			return remedy.Want(remedy.Folder, fmt.Errorf("chunklog: merge: %s already holds chunks of this run, not from a merge: %s", dst, instead))
		}
		end += int64(overhead) + out.frames[i].length
	}
	for i := range first.chunks {
		payload, err := owner[i].Get(i)
		if err != nil {
			return err
		}
		if err := out.Append(i, payload); err != nil {
			return err
		}
	}
	return nil
}

// overlap returns an error that names the chunks of l that another folder has too.
func overlap(owner map[int]*Log, l *Log) error {
	var twice []span
	var other *Log
	for _, i := range slices.Sorted(maps.Keys(l.frames)) {
		// one other folder is enough to name
		if o := owner[i]; o != nil && (other == nil || o == other) {
			other, twice = o, extend(twice, i)
		}
	}
	if other == nil {
		return nil
	}
	return fmt.Errorf("chunklog: merge: %s in both %s and %s: give each shard once", ranges(twice), other.dir, l.dir)
}

func sameFolder(a, b string) (bool, error) {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	if errB != nil {
		return false, fmt.Errorf("chunklog: merge: %s: %w", b, regular.Cause(errB))
	}
	return errA == nil && os.SameFile(infoA, infoB), nil // Open says what is wrong with a
}

// A span is the chunks first to last.
type span struct{ first, last int }

// extend adds chunk i, which lies behind all of spans.
func extend(spans []span, i int) []span {
	if n := len(spans); n > 0 && spans[n-1].last == i-1 {
		spans[n-1].last = i
		return spans
	}
	return append(spans, span{i, i})
}

// gaps gives what lies in [0, chunks) and not in the sorted done.
func gaps(done []int, chunks int) []span {
	var missing []span
	next := 0
	for _, i := range append(done, chunks) {
		if i > next {
			missing = append(missing, span{next, i - 1})
		}
		next = i + 1
	}
	return missing
}

// ranges writes spans as "chunk 3 is" or "chunks 0-2, 7 are", the first of them if there are many.
func ranges(spans []span) string {
	if len(spans) == 1 && spans[0].first == spans[0].last {
		return fmt.Sprintf("chunk %d is", spans[0].first)
	}
	const show = 20
	var b bytes.Buffer
	for i, s := range spans[:min(show, len(spans))] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, s.first)
		if s.last > s.first {
			fmt.Fprintf(&b, "-%d", s.last)
		}
	}
	if len(spans) > show {
		b.WriteString(" and more")
	}
	return fmt.Sprintf("chunks %s are", b.String())
}
