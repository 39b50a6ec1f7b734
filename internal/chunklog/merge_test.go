package chunklog

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMerge(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	whole := fill(t, at("whole"), 9, upTo(9)...)
	fill(t, at("a"), 9, 0, 3, 6)
	fill(t, at("b"), 9, 7, 4, 1) // in another order
	fill(t, at("c"), 9, 8, 5, 2)
	srcs := []string{at("a"), at("b"), at("c")}
	for range 6 {
		rand.Shuffle(len(srcs), func(i, j int) { srcs[i], srcs[j] = srcs[j], srcs[i] })
		dst := filepath.Join(t.TempDir(), "merged")
		for range 2 { // again does nothing
			if err := Merge(dst, srcs...); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(logBytes(t, dst), whole) {
				t.Fatalf("%v: not the bytes of one run in order", srcs)
			}
		}
		// What a kill leaves of a merge.
		writeLog(t, dst, whole[:rand.IntN(len(whole))])
		if err := Merge(dst, srcs...); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(logBytes(t, dst), whole) {
			t.Fatalf("%v: not the bytes of one run after a kill", srcs)
		}
	}
	one := filepath.Join(t.TempDir(), "one")
	if err := Merge(one, at("whole")); err != nil || !bytes.Equal(logBytes(t, one), whole) {
		t.Errorf("merge of a whole run: %v", err)
	}
}

func TestMergeRefuses(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	fill(t, at("low"), 9, 0, 1, 2, 3)
	fill(t, at("high"), 9, 4, 5, 6, 7, 8)
	fill(t, at("middle"), 9, 2, 3, 7)
	fill(t, at("top"), 9, 8)
	fill(t, at("ten"), 10, 4)
	fill(t, at("none"), 9)
	fill(t, at("random"), 9, 5)
	os.Mkdir(at("empty"), 0o777)
	other, err := Open(at("other"), []byte(`{"attack":"fgsm","eps":[0,0.2],"seed":1}`), 9)
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	bad := fill(t, at("bad"), 9, 4, 5, 6, 7, 8)
	bad[headerSize+frameHead] ^= 1
	writeLog(t, at("bad"), bad)
	for _, test := range []struct {
		name, dst string
		srcs      []string
		want      []string
		as        any
	}{
		{name: "none", want: []string{"no folders given"}},
		{name: "overlap", srcs: []string{"low", "high", "middle"}, want: []string{"chunks 2-3 are in both " + at("low") + " and " + at("middle")}},
		{name: "overlap of one", srcs: []string{"top", "high"}, want: []string{"chunk 8 is in both " + at("top") + " and " + at("high")}},
		{name: "one folder twice", srcs: []string{"low", "low"}, want: []string{"chunks 0-3 are in both"}},
		{name: "gap", srcs: []string{"middle"}, want: []string{"chunks 0-1, 4-6, 8 are in none of " + at("middle")}},
		{name: "gap of one", srcs: []string{"low", "top"}, want: []string{"chunks 4-7 are in none of"}},
		{name: "other manifest", srcs: []string{"low", "other"}, want: []string{at("other"), "eps: 0,0.2, " + at("low") + " 0,0.1"}, as: new(*OtherRunError)},
		{name: "other number of chunks", srcs: []string{"low", "ten"}, want: []string{at("ten"), "chunks: 10, " + at("low") + " 9"}, as: new(*OtherRunError)},
		{name: "corrupt", srcs: []string{"low", "bad"}, want: []string{at("bad"), "chunk 4 at byte 52"}, as: new(*CorruptError)},
		{name: "no run", srcs: []string{"low", "empty"}, want: []string{at("empty"), "holds no run"}},
		{name: "missing folder", srcs: []string{"low", "nowhere"}, want: []string{at("nowhere")}},
		{name: "into itself", dst: "low", srcs: []string{"low", "high"}, want: []string{at("low"), "read and written"}},
		{name: "into another run", dst: "other", srcs: []string{"low", "high"}, want: []string{at("other"), "eps: 0,0.2, here 0,0.1"}, as: new(*OtherRunError)},
		{name: "into a run", dst: "random", srcs: []string{"low", "high"}, want: []string{at("random"), "already holds chunks"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "merged")
			if test.dst != "" {
				dst = at(test.dst)
			}
			var srcs []string
			for _, s := range test.srcs {
				srcs = append(srcs, at(s))
			}
			before := snapshot(t, root)
			err := Merge(dst, srcs...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
			if test.as != nil && !errors.As(err, test.as) {
				t.Errorf("error %T, want %T", err, test.as)
			}
			if snapshot(t, root) != before {
				t.Error("a folder changed")
			}
			if _, err := os.Stat(dst); test.dst == "" && err == nil {
				t.Error("a refused merge made its folder")
			}
		})
	}
}

func TestRanges(t *testing.T) {
	for _, test := range []struct {
		done   []int
		chunks int
		want   string
	}{
		{nil, 1, "chunk 0 is"},
		{nil, 5, "chunks 0-4 are"},
		{[]int{0}, 2, "chunk 1 is"},
		{[]int{1}, 2, "chunk 0 is"},
		{[]int{1, 2, 4, 8}, 10, "chunks 0, 3, 5-7, 9 are"},
	} {
		if got := ranges(gaps(test.done, test.chunks)); got != test.want {
			t.Errorf("%v of %d: %q, want %q", test.done, test.chunks, got, test.want)
		}
	}
	if got := gaps([]int{0, 1}, 2); len(got) != 0 {
		t.Errorf("nothing is missing, got %v", got)
	}
	var odd []int
	for i := 1; i < 1000; i += 2 {
		odd = append(odd, i)
	}
	if got := ranges(gaps(odd, 1000)); !strings.HasSuffix(got, ", 38 and more are") {
		t.Errorf("many ranges: %q", got)
	}
}
