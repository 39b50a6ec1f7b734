package main

import (
	"strings"
	"testing"
)

// TestCheckMore: check makes and judges further attacks, says which, and refuses what it cannot
// judge by what is wrong.
func TestCheckMore(t *testing.T) {
	args := []string{"check", "--n", "5", "--steps", "2", "--bounds", "0,1", "--eps", "0.05", "-q"}
	code, stdout, stderr := advsweep(t, append(args, "--attack", "apgd-t:steps=5,rays:steps=20,square:steps=20")...)
	if code != 0 && code != exitFail {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"besides  apgd-t:steps=5,rays:steps=20,square:steps=20", "RayS, 20 queries", "Square, 20 queries", "Square, 100 queries"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("nothing says %q:\n%s", want, stdout)
		}
	}
	if code, _, stderr := advsweep(t, "check", "--norm", "l0"); code != exitUsage || !strings.Contains(stderr, "give linf, l2 or l1") {
		t.Errorf("--norm l0: exit code %d, %s", code, stderr)
	}
	if code, _, stderr := advsweep(t, "check", "--norm", "l1"); code != exitUsage || !strings.Contains(stderr, "as in 2,5,10,20") {
		t.Errorf("--norm l1 with the eps of linf: exit code %d, %s", code, stderr)
	}
	for more, want := range map[string]string{
		"":            "--attack is empty",
		"worst":       "name attacks",
		"ddn":         "--norm l2",
		"pgd:norm=l2": "--norm l2",
		"foo":         `unknown attack "foo"`,
	} {
		if code, _, stderr := advsweep(t, append(args, "--attack", more)...); code != exitUsage || !strings.Contains(stderr, want) {
			t.Errorf("--attack %q: exit code %d, %s; want %d and %q", more, code, stderr, exitUsage, want)
		}
	}
}
