package record

import (
	"reflect"
	"strings"
	"testing"
	"unicode"

	"advsweep/attack"
)

// TestPlain fills all strings of a manifest with what no terminal should get, and wants none of it
// back.
func TestPlain(t *testing.T) {
	m := &Manifest{ClassNames: []string{"", ""}, Mixed: make([]Part, 2)}
	fill(reflect.ValueOf(m).Elem(), "a\x1b[31m\u202e\n"+strings.Repeat("b", 10_000))
	text := func(m *Manifest) string {
		data, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		return m.Device + m.Mixture() + string(data)
	}
	before, got := text(m), text(m.Plain())
	for _, bad := range []string{"\x1b", `\u001b`, "\u202e", `\n`} {
		if strings.Contains(got, bad) {
			t.Errorf("%q is there still", bad)
		}
	}
	if len(got) > 10_000 {
		t.Errorf("%d bytes are left of %d", len(got), len(before))
	}
	if text(m) != before {
		t.Error("the manifest itself is changed")
	}
	m = &Manifest{ClassNames: []string{"Ärmel 1"}, Layers: "784-10"}
	if !reflect.DeepEqual(m.Plain().ClassNames, m.ClassNames) || m.Plain().Layers != m.Layers {
		t.Errorf("%+v", m.Plain())
	}
}

// fill sets all strings in v but those of attacks, which ParseManifest checks.
func fill(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Struct:
		for i := range v.NumField() {
			if unicode.IsUpper(rune(v.Type().Field(i).Name[0])) {
				fill(v.Field(i), s)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			fill(v.Index(i), s)
		}
	}
}

// TestParseManifestNames wants names of attacks, which stand in every table, to be names.
func TestParseManifestNames(t *testing.T) {
	for name, ok := range map[string]bool{"fgsm": true, "pgd × 3": true, "": true, "\x1b[31mfgsm": false, "a\nb": false, "\u202efgsm": false, strings.Repeat("a", 101): false} {
		m := Manifest{Attacks: []attack.Attack{attack.FGSM()}, Eps: []float64{0, 0.1}, Bounds: "none", Classes: 10}
		m.Data.N, m.Attacks[0].Name = 5, name
		data, err := m.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(data); (err == nil) != ok || err != nil && (strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 300) {
			t.Errorf("%q: %.300v", name, err)
		}
	}
}
