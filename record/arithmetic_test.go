package record

import (
	"encoding/json"
	"testing"
)

// TestPartJSON wants the names that manifests of mixed runs have had from the first, an unknown
// field to be refused, and no letter escaped that Indented leaves alone.
func TestPartJSON(t *testing.T) {
	p := Part{Arithmetic{"cuda", "float32", "3xtf32 <b>", "12ab"}, 3, 7}
	m := Manifest{Mixed: []Part{p}}
	data, err := m.JSON()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
      "backend": "cuda",
      "precision": "float32",
      "arithmetic": "3xtf32 <b>",
      "fingerprint": "12ab",
      "from": 3,
      "to": 7
    }`
	var got struct {
		Mixed []json.RawMessage `json:"mixed"`
	}
	if err := json.Unmarshal(data, &got); err != nil || len(got.Mixed) != 1 || string(got.Mixed[0]) != want {
		t.Fatalf("error %v, got %s, want %s", err, got.Mixed, want)
	}
	var back Part
	if err := json.Unmarshal([]byte(want), &back); err != nil || back != p {
		t.Errorf("came back as %+v: %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"backend": "cpu", "product": "float32"}`), &back); err == nil {
		t.Error("a field that parts do not have: no error")
	}
}

// TestArithmeticJSON wants the names that results of shards have: they are part of what is stored
// and sent.
func TestArithmeticJSON(t *testing.T) {
	data, err := json.Marshal(Arithmetic{"cpu", "float64", "float64", "99"})
	if want := `{"backend":"cpu","precision":"float64","product":"float64","fingerprint":"99"}`; err != nil || string(data) != want {
		t.Errorf("got %s, %v, want %s", data, err, want)
	}
}

// TestPlanned wants a fingerprint to be free, and all else to decide.
func TestPlanned(t *testing.T) {
	m := &Manifest{Meta: Meta{Backend: "cpu", Precision: "float32"}, Arithmetic: "float32 dense"}
	a := m.Planned()
	if want := (Arithmetic{"cpu", "float32", "float32 dense", ""}); a != want {
		t.Fatalf("got %+v, want %+v", a, want)
	}
	a.Fingerprint = "12ab"
	if !a.Planned(m) {
		t.Error("another fingerprint is taken for another arithmetic")
	}
	for _, other := range []Arithmetic{{"cuda", "float32", "float32 dense", ""}, {"cpu", "float64", "float32 dense", ""}, {"cpu", "float32", "float32", ""}} {
		if other.Planned(m) {
			t.Errorf("%+v is taken for planned", other)
		}
	}
}
