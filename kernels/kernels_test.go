package kernels

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestFresh holds the hash in the first line of each image to that of the sources it was made from:
// every .cu and .cuh file, in the order of their names, its name, a newline and its bytes.
func TestFresh(t *testing.T) {
	files, err := filepath.Glob("*.cu*")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d sources, %v", len(files), err)
	}
	slices.Sort(files)
	h := sha256.New()
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(h, "%s\n%s", name, data)
	}
	for arch, ptx := range map[string]string{"75": sm75, "80": sm80} {
		first, _, _ := strings.Cut(ptx, "\n")
		if want := fmt.Sprintf("compute_%s, sha256 %x)", arch, h.Sum(nil)); !strings.Contains(first, want) {
			t.Errorf("sm%s.ptx is not made from these sources: run make kernels\nit begins with  %s\nand not with    %s", arch, first, want)
		}
		if want := "\n.version 7.0\n.target sm_" + arch + "\n"; !strings.Contains(ptx, want) {
			t.Errorf("sm%s.ptx lacks %q, which drivers from CUDA 11.0 on take", arch, want)
		}
	}
}

func TestImage(t *testing.T) {
	for capability, want := range map[int]string{75: "sm_75", 80: "sm_80", 86: "sm_80", 90: "sm_80", 120: "sm_80"} {
		ptx, name, tensorCores, err := Image(capability)
		if err != nil || name != want || tensorCores != (capability >= 80) {
			t.Errorf("%d: %s, tensor cores %v, %v; want %s", capability, name, tensorCores, err, want)
		}
		for _, kernel := range []string{"affine_forward_fp32_128", "sign_step", "count"} {
			if !strings.Contains(ptx, ".entry "+kernel+"(") {
				t.Errorf("%d: no kernel %s", capability, kernel)
			}
		}
		if got := strings.Contains(ptx, ".entry affine_forward_3xtf32_64("); got != tensorCores {
			t.Errorf("%d: 3xtf32 is there: %v", capability, got)
		}
	}
	if _, _, _, err := Image(70); err == nil || !strings.Contains(err.Error(), "Turing") {
		t.Errorf("70: %v, want an error that says what is needed", err)
	}
}
