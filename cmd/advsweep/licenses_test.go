package main

import (
	"os"
	"strings"
	"testing"
)

func TestLicenses(t *testing.T) {
	list := do(t, "licenses")
	for _, want := range []string{"gonum.org/v1/plot ", "github.com/nats-io/nats.go ", "MNIST images", "CC-BY-SA-3.0", "licenses --full"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	if n := strings.Count(list, "\n"); n > 80 {
		t.Errorf("%d lines, want one a part", n)
	}
	want, err := os.ReadFile("../../THIRD_PARTY_LICENSES")
	if err != nil {
		t.Fatal(err)
	}
	if do(t, "licenses", "--full") != string(want) {
		t.Error("--full is not THIRD_PARTY_LICENSES: run 'make licenses'")
	}
}
