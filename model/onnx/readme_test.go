package onnx

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// README.md of package model names every operator.
func TestREADME(t *testing.T) {
	data, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	words := strings.FieldsFunc(string(data), func(r rune) bool { return strings.ContainsRune(" ,;|`.:\n", r) })
	for op := range operators {
		op = op[strings.LastIndexByte(op, '.')+1:] // without its domain
		if !slices.Contains(words, op) {
			t.Errorf("operator %s is not in README.md", op)
		}
	}
}
