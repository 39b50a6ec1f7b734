package model

import (
	"strings"
	"testing"
)

type odd struct{ ReLU }

func (odd) Kind() string { return "odd" }

// The writer of layer lists refuses what it has no row for by itself, without Validate before it.
func TestUnknownLayerList(t *testing.T) {
	m := MLP(3, 2, 2)
	m.Layers[1] = odd{}
	list, err := m.layerList()
	if want := "layer 1 is model.odd, want"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("layer list %s, error %v, want an error that contains %q", list, err, want)
	}
}

// A row that says another name than its layer, or a name twice, is found when the program starts.
func TestTableOf(t *testing.T) {
	for _, rows := range [][]kind{{{name: "even", layer: odd{}}}, {{name: "odd", layer: odd{}}, {name: "odd"}}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("tableOf(%v) did not panic", rows)
				}
			}()
			tableOf(rows)
		}()
	}
}
