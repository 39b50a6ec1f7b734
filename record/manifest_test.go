package record

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"advsweep/attack"
	"advsweep/pipeline"
)

// TestManifestWork wants a manifest of default chunks to be as it was before there were others, and
// other chunks to come back.
func TestManifestWork(t *testing.T) {
	m := Manifest{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 0.1}, Bounds: "none", Classes: 10}
	m.Data.N = 5
	for _, work := range []int{0, 494} {
		m.Work = work
		data, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(data, []byte(`"work"`)); got != (work != 0) {
			t.Errorf("work %d: told %v\n%s", work, got, data)
		}
		back, err := ParseManifest(data)
		if err != nil {
			t.Fatal(err)
		}
		if got := back.Sweep().ChunkWork; got != work {
			t.Errorf("ChunkWork %d, want %d", got, work)
		}
	}
	m.Work = -1
	data, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseManifest(data); err == nil {
		t.Error("work of -1: no error")
	}
}

// TestManifestClaims refuses what would take memory that nothing backs.
func TestManifestClaims(t *testing.T) {
	for name, change := range map[string]func(m *Manifest){
		"images": func(m *Manifest) {
			n := int64(math.MaxInt32) + 1
			m.Data.N = int(n) // below 0 where int has 32 bits
		},
		"classes": func(m *Manifest) { m.Classes = pipeline.MaxClasses + 1 },
		"cells": func(m *Manifest) {
			m.Classes, m.Eps = pipeline.MaxClasses, nil
			for e := range 1000 {
				m.Eps = append(m.Eps, float64(e))
			}
		},
		"eps": func(m *Manifest) {
			m.Eps = make([]float64, attack.MaxEps+1)
			for e := range m.Eps {
				m.Eps[e] = float64(e)
			}
		},
		"attacks": func(m *Manifest) { m.Attacks = slices.Repeat(m.Attacks, pipeline.MaxAttacks+1) },
	} {
		m := Manifest{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 0.1}, Bounds: "none", Classes: 10}
		m.Data.N = 5
		change(&m)
		data, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestVersionOf reads the version of manifests and plans of any version, and none where there is
// none.
func TestVersionOf(t *testing.T) {
	for text, want := range map[string]string{
		`{"version": "0.1.0"}`:                      "0.1.0",
		`{"version": "9.9", "unknown": [1, "two"]}`: "9.9",
		`{}`:                  "",
		`{"version": 1}`:      "",
		`{"version": "0.1.0"`: "",
		`not JSON`:            "",
		``:                    "",
	} {
		if got := VersionOf([]byte(text)); got != want {
			t.Errorf("%s: version %q, want %q", text, got, want)
		}
	}
}
