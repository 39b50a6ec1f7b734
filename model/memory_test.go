package model

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// padded is a file with a layer list. The small one below gives [2, 2, 2] twice and then 3 numbers:
// 19 of four bytes.
func padded(t *testing.T, list string) []byte {
	t.Helper()
	quoted, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return listedFile(string(quoted))
}

func TestMemory(t *testing.T) {
	const (
		small = `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv"},{"type":"batchnorm","name":"bn"},{"type":"linear","name":"fc"}]}`
		large = `{"input":[1,4,4],"layers":[{"type":"conv2d","name":"conv","pad":8000},{"type":"avgpool2d","kernel":8001},{"type":"batchnorm","name":"bn"},{"type":"linear","name":"fc"}]}`
	)
	for _, c := range []struct {
		name, list string
		ask        uint64
		env, want  string
	}{
		{"as much as is asked for", small, 76, "", ""},
		{"a byte less", small, 75, "", "layer fc: one image takes 76 bytes up to here, want at most 75, as was asked for: ADVSWEEP_MODEL_MEMORY=BYTES allows more"},
		{"as much as the environment says", small, 0, "76", ""},
		{"a byte less in the environment", small, 0, "75", "layer fc: one image takes 76 bytes up to here, want at most 75, as ADVSWEEP_MODEL_MEMORY says: "},
		{"what is asked for wins", small, 76, "1", ""},
		{"padding of a gigabyte", large, 1 << 30, "", "layer conv: one image takes 2048512032 bytes up to here, want at most 1073741824"},
		{"no number", small, 0, "16GB", "ADVSWEEP_MODEL_MEMORY is 16GB, want a number of bytes"},
		{"none at all", small, 0, "0", "ADVSWEEP_MODEL_MEMORY is 0, want a number of bytes"},
		{"the machine's", small, 0, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(EnvMemory, c.env)
			path := filepath.Join(t.TempDir(), "f.safetensors")
			if err := os.WriteFile(path, padded(t, c.list), 0o666); err != nil {
				t.Fatal(err)
			}
			_, err := LoadAsking(path, "", Ask{Memory: c.ask})
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, "model: "+path+": ", c.want)
		})
	}
}

// The error of memory can be asked for, and the machine's is known here.
func TestMemoryError(t *testing.T) {
	m := Memory{most: 100, from: "here"}
	if err := m.Take(10, 8); err != nil {
		t.Fatal(err)
	}
	err := m.Take(3, 8)
	if e, ok := errors.AsType[*MemoryError](err); !ok || *e != (MemoryError{104, 100, "here"}) {
		t.Errorf("error %v, want of 104 bytes", err)
	}
	if all := machineMemory(); all.most < 1<<26 || all.most > 1<<50 {
		t.Errorf("a quarter of this machine's memory is %d bytes (%s)", all.most, all.from)
	}
	if none := (Memory{}); none.Take(1<<30, 1<<20) != nil {
		t.Error("the zero Memory has a bound")
	}
}
