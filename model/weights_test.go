package model

import (
	"archive/zip"
	"encoding/binary"
	"math"
	"runtime"
	"testing"

	"advsweep/model/internal/formats"
)

// Weights of every type and order are those of the file, and reading takes little memory beside
// them: most counts bytes that are allocated for each byte of the file, beside half a MiB. What is
// allocated bounds what is in memory at once. The bytes of the file itself are given here.
func TestWeightsMemory(t *testing.T) {
	const rows, columns = 256, 4096
	value := func(i int) float32 { return float32(i%251-125) / 8 } // a number of all types
	raw := func(width int, put func(b []byte, v float32)) []byte {
		b := make([]byte, width*rows*columns)
		for i := range rows * columns {
			put(b[width*i:], value(i))
		}
		return b
	}
	half := raw(2, func(b []byte, v float32) {
		h, _ := formats.ToHalf(float64(v))
		binary.LittleEndian.PutUint16(b, h)
	})
	bfloat := raw(2, func(b []byte, v float32) { binary.LittleEndian.PutUint16(b, uint16(math.Float32bits(v)>>16)) })
	single := raw(4, func(b []byte, v float32) { binary.LittleEndian.PutUint32(b, math.Float32bits(v)) })
	big := raw(4, func(b []byte, v float32) { binary.BigEndian.PutUint32(b, math.Float32bits(v)) })
	double := raw(8, func(b []byte, v float32) { binary.LittleEndian.PutUint64(b, math.Float64bits(float64(v))) })
	safe := func(dtype string, data []byte) []byte {
		f := file(raw1(dtype, rows, columns))
		copy(f[len(f)-len(data):], data)
		return f
	}
	npz := func(method uint16, descr, fortran string, data []byte) []byte {
		return archive(t, method, "fc.weight.npy", npyFile(descr, fortran, "256, 4096", data), "fc.bias.npy", npyFile("<f2", "False", "256,", make([]byte, 512)))
	}
	as := func(i int) int { return i }
	for _, c := range []struct {
		name string
		file []byte
		most float64
		from func(i int) int // which number of the file is number i of the weights
	}{
		{"float32.safetensors", safe("F32", single), 1, as},
		{"float64.safetensors", safe("F64", double), 1, as},
		{"float16.safetensors", safe("F16", half), 2, as},
		{"bfloat16.safetensors", safe("BF16", bfloat), 2, as},
		{"float32.npz", npz(zip.Store, "<f4", "False", single), 1, as},
		{"float64.npz", npz(zip.Store, "<f8", "False", double), 1, as},
		{"float16.npz", npz(zip.Store, "<f2", "False", half), 2, as},
		{"big.npz", npz(zip.Store, ">f4", "False", big), 1, as},
		{"fortran.npz", npz(zip.Store, "<f4", "True", single), 2, func(i int) int { return i%columns*rows + i/columns }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, err := Decode(c.name, c.file)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			got := after.TotalAlloc - before.TotalAlloc
			if most := uint64(c.most*float64(len(c.file))) + 1<<19; got > most {
				t.Errorf("%d bytes allocated for a file of %d, want at most %d", got, len(c.file), most)
			}
			w := formats.Wide(m.Layers[0].Params()[0].Tensor)
			for i, got := range w {
				if want := float64(value(c.from(i))); got != want {
					t.Fatalf("weight %d is %v, want %v", i, got, want)
				}
			}
			if len(w) != rows*columns {
				t.Errorf("%d weights, want %d", len(w), rows*columns)
			}
		})
	}
}

// Weights that were packed well are read all the same, in memory that comes as they do.
func TestPackedWeights(t *testing.T) {
	data := archive(t, zip.Deflate, "fc.weight.npy", npyFile("<f4", "False", "256, 4096", make([]byte, 4<<20)), "fc.bias.npy", npyFile("<f4", "False", "256,", make([]byte, 1024)))
	if len(data) > 1<<16 {
		t.Fatalf("%d bytes, want zeros to be packed", len(data))
	}
	m, err := Decode("f.npz", data)
	if err != nil || m.String() != "4096-256" {
		t.Errorf("%v, %v", m, err)
	}
}

// raw1 is the weight of a Linear, with zeros.
func raw1(dtype string, rows, columns int) raw { return raw{"fc.weight", dtype, []int{rows, columns}} }
