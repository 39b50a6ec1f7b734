package model

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFolder: what lies beside a model's file, in the form of transformers, is told, and what a
// folder is that was given for a file.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mlp := file(raw{"fc.weight", "F32", []int{2, 3}})
	conv := file(raw{"conv.weight", "F32", []int{2, 3, 3, 3}})
	config := []byte(`{"architectures":["ResNetForImageClassification"],"model_type":"resnet"}`)
	uneven := []byte(`{"image_mean":[0.485,0.456,0.406],"image_std":[0.229,0.224,0.225]}`)

	bad := write("hf/model.safetensors", conv)
	write("hf/config.json", config)
	write("hf/preprocessor_config.json", uneven)
	for _, path := range []string{bad, filepath.Dir(bad)} {
		_, err := Load(path)
		for _, want := range []string{"ResNetForImageClassification", "optimum-cli export onnx --model", "mean [0.485 0.456 0.406] and std [0.229 0.224 0.225]"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", path, err, want)
			}
		}
	}
	if _, err := Load(filepath.Dir(bad)); err == nil || !strings.Contains(err.Error(), "name model.safetensors in it") {
		t.Errorf("a folder: %v", err)
	}

	good := write("vit/model.safetensors", mlp)
	write("vit/preprocessor_config.json", []byte(`{"image_mean":[0.5,0.5],"image_std":[0.5,0.5]}`))
	if m, err := Load(good); err != nil || len(m.Notes) != 1 || !strings.Contains(m.Notes[0], "pixels from -1 to 1") {
		t.Errorf("a model beside its preprocessing: %v, %+v", err, m)
	}
	for _, none := range []string{`{"image_mean":[0.5],"image_std":[0.5],"do_normalize":false}`, `{"image_mean":[0.5]}`, `{"image_mean":"x","image_std":[1]}`, `[`} {
		write("vit/preprocessor_config.json", []byte(none))
		if m, err := Load(good); err != nil || len(m.Notes) != 0 {
			t.Errorf("beside %s: %v, %+v", none, err, m)
		}
	}
	write("tf/saved_model.pb", nil)
	if _, err := Load(filepath.Join(dir, "tf")); err == nil || !strings.Contains(err.Error(), "a TensorFlow SavedModel, want ONNX") {
		t.Errorf("a SavedModel: %v", err)
	}
}

// TestKinds: a file of another kind is named, whatever its name says, and a safetensors file whose
// first bytes look like another kind keeps its own error.
func TestKinds(t *testing.T) {
	for _, name := range []string{"m.safetensors", "m.npz", "m.bin", "m.tflite"} {
		if _, err := Decode(name, []byte("\x1c\x00\x00\x00TFL3\x00\x00\x00\x00")); err == nil || !strings.Contains(err.Error(), "a TFLite model, want ONNX, safetensors or NPZ: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	header := `{"a.weight":{"dtype":"Q4","shape":[2,1],"data_offsets":[0,8]}}`
	header += strings.Repeat(" ", 0x280-len(header)) // the length begins as a pickle does
	if _, err := Decode("m.safetensors", join(header, 8)); err == nil || !strings.Contains(err.Error(), "dtype Q4") {
		t.Errorf("a header of 0x280 bytes: %v", err)
	}
}

// FuzzHugging: nothing that the files say panics, and words are one line.
func FuzzHugging(f *testing.F) {
	f.Add([]byte(`{"architectures":["A"],"model_type":"a"}`), []byte(`{"image_mean":[0.5],"image_std":[0.5],"do_normalize":true}`))
	f.Add([]byte(`{"model_type":"a\nb"}`), []byte(`{"image_mean":[1e308,0],"image_std":[0,1e-308]}`))
	f.Add([]byte(`[`), []byte(`{"image_mean":[],"image_std":[]}`))
	f.Fuzz(func(t *testing.T, config, images []byte) {
		h, ok := huggingOf("dir", config, images)
		if !ok {
			return
		}
		m := MLP(2, 2)
		if got, err := h.tell(m, nil); err != nil || got == nil || strings.Contains(strings.Join(got.Notes, ""), "\n") {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := h.tell(nil, errors.New("e")); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q", err)
		}
	})
}
