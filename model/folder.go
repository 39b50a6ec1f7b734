package model

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"advsweep/internal/filekind"
	"advsweep/model/internal/formats"
)

// A hugging is what files beside a model's say of it, as the program transformers writes them.
//
// Formats: huggingface.co/docs/transformers, "Configuration" and "Image Processor".
type hugging struct {
	dir  string
	kind string // the architecture, or ""
	mean []float64
	std  []float64
}

// besideOf reads what is beside the file at path. ok is false if there is nothing of this form.
func besideOf(path string) (h hugging, ok bool) {
	return hugged(filepath.Dir(path))
}

// hugged reads what the files of that form in dir say.
func hugged(dir string) (h hugging, ok bool) {
	config, _ := readSmall(filepath.Join(dir, "config.json")) // none is as good as a broken one
	images, _ := readSmall(filepath.Join(dir, "preprocessor_config.json"))
	return huggingOf(dir, config, images)
}

// huggingOf is hugged of what the two files hold.
func huggingOf(dir string, config, images []byte) (h hugging, ok bool) {
	var c struct {
		Architectures []string `json:"architectures"`
		Type          string   `json:"model_type"`
	}
	var p struct {
		Mean      []float64 `json:"image_mean"`
		Std       []float64 `json:"image_std"`
		Normalize *bool     `json:"do_normalize"`
	}
	h.dir = dir
	if json.Unmarshal(config, &c) == nil {
		h.kind = c.Type
		if len(c.Architectures) > 0 {
			h.kind = c.Architectures[0]
		}
	}
	if json.Unmarshal(images, &p) == nil && (p.Normalize == nil || *p.Normalize) && len(p.Mean) == len(p.Std) && len(p.Mean) <= formats.MaxRank {
		h.mean, h.std = p.Mean, p.Std
	}
	return h, h.kind != "" || len(h.mean) > 0
}

// tell adds what h knows to what reading the model gave: how to export what could not be read, and
// how images are normalised where the model does not do so itself.
func (h hugging) tell(m *Model, err error) (*Model, error) {
	switch {
	case err != nil && h.kind != "":
		return nil, fmt.Errorf("%w; %s", err, h.export())
	case err != nil || len(h.mean) == 0:
		return m, err
	}
	if _, ok := m.FirstFactor(); !ok {
		m.Notes = append(slices.Clone(m.Notes), "preprocessor_config.json beside it says that its images are "+h.normalised()+", and the model does not begin with that: it may be missing")
	}
	return m, nil
}

// export says how a model of transformers becomes a file that is read.
func (h hugging) export() string {
	s := fmt.Sprintf("config.json in its folder tells of %s of transformers: optimum-cli export onnx --model %s OUT makes ONNX of it", formats.Quote(h.kind), formats.Quote(h.dir))
	if len(h.mean) > 0 {
		s += "; its images are " + h.normalised() + ", which has to be put into the model"
	}
	return s
}

func (h hugging) normalised() string {
	s := fmt.Sprintf("normalised by mean %.5v and std %.5v", h.mean, h.std)
	if lo, hi, ok := h.line(); ok {
		s += fmt.Sprintf(", which is pixels from %.4g to %.4g", lo, hi)
	}
	return s
}

// line returns what pixels 0 and 1 become, if that is one pair for all channels.
func (h hugging) line() (lo, hi float64, ok bool) {
	for i, std := range h.std {
		l, u := -h.mean[i]/std, (1-h.mean[i])/std
		if i > 0 && (l != lo || u != hi) || !(std > 0) {
			return 0, 0, false
		}
		lo, hi = l, u
	}
	return lo, hi, len(h.std) > 0
}

// ofFolder says what the folder at path is, which is no file, and which file in it to name.
func ofFolder(path string) error {
	if _, err := os.Stat(filepath.Join(path, "saved_model.pb")); err == nil {
		return notModel(filekind.SavedModel)
	}
	var there []string
	if all, err := os.ReadDir(path); err == nil {
		for _, e := range all {
			if ext := filepath.Ext(e.Name()); e.Type().IsRegular() && slices.Contains([]string{".onnx", ".safetensors", ".npz"}, ext) && len(there) < 8 {
				there = append(there, formats.Quote(e.Name()))
			}
		}
	}
	err := fmt.Errorf("a directory, want a file")
	if len(there) > 0 {
		err = fmt.Errorf("%w: name %s in it", err, strings.Join(there, " or "))
	}
	if h, ok := hugged(path); ok && h.kind != "" {
		err = fmt.Errorf("%w; %s", err, h.export())
	}
	return err
}
