package plain

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"plain", "gpu-07 (fp32)  ok", "gpu-07 (fp32)  ok"},
		{"other scripts", "Schüler 学生 \u05ea\u05dc\u05de\u05d9\u05d3 🐱 ♥\ufe0f", "Schüler 学生 \u05ea\u05dc\u05de\u05d9\u05d3 🐱 ♥\ufe0f"},
		{"colour", "\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m"},
		{"title of the window", "\x1b]0;x\x07", "\ufffd]0;x\ufffd"},
		{"NUL, backspace, DEL", "a\x00\b\x7f", "a\ufffd\ufffd\ufffd"},
		{"C1", "a\u009b31mb", "a\ufffd31mb"},
		{"C1 as a byte", "a\x9b31mb", "a\ufffd31mb"},
		{"bidi", "\u202eabc\u202c\u2066\u2069\u200e\u200f\u061c", "\ufffdabc" + strings.Repeat("\ufffd", 6)},
		{"no width", "a\u200bb\u200c\u200d\u2060\ufeff\u00ad", "a\ufffdb" + strings.Repeat("\ufffd", 5)},
		{"letters of no width", "\u3164\u115f\u034f", strings.Repeat("\ufffd", 3)},
		{"tags", "\U000e0041", "\ufffd"},
		{"no character", "\uffff\ue000", "\ufffd\ufffd"},
		{"no UTF-8", "a\xff\xc3(", "a\ufffd\ufffd("},
		{"lines", "\n one\r\ntwo\tthree\u2028four\u2029\u0085\v\ffive\n", " one two three four five"},
		{"breaks only", "\n\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Line(c.in, 1000); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"abc\n\n", 3, "abc"}, {"abc\nd", 4, "abc…"}, {"ab", 1, "…"}, {"a", 1, "a"},
		{"a", 0, ""}, {"a", -1, ""}, {strings.Repeat("x", 8<<20), 5, "xxxx…"},
	} {
		if got := Line(c.in, c.most); got != c.want {
			t.Errorf("%.20q to %d: %q, want %q", c.in, c.most, got, c.want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"one\n\ttwo\n":           "one\n\ttwo\n",
		"one\r\ntwo\rthree\vx":   "one\ntwo three x",
		"\x1b[2J\n\u202ea\u2028": "\ufffd[2J\n\ufffda",
	} {
		if got := Text(in, 1000); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	if got := Text("a\nb\nc", 4); got != "a\nb…" {
		t.Errorf("%q, want it cut", got)
	}
}

// TestEvery looks at each character there is.
func TestEvery(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		got := Line("a"+string(r)+"b", 10)
		for _, g := range got {
			if unicode.In(g, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Cs) {
				t.Fatalf("%U: %q", r, got)
			}
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\x1b[31m\u202e\nb\xff", 5)
	f.Fuzz(func(t *testing.T, s string, most int) {
		got := Line(s, most)
		if n := utf8.RuneCountInString(got); n > max(0, most) || !utf8.ValidString(got) || strings.ContainsAny(got, "\n\x1b\u009b\u202e") {
			t.Errorf("%q to %d: %q, of %d characters", s, most, got, n)
		}
		if again := Line(got, most); again != got {
			t.Errorf("%q, and again %q", got, again)
		}
		if text := Text(s, most); Text(text, most) != text || strings.Contains(text, "\x1b") {
			t.Errorf("%q to %d: %q", s, most, text)
		}
	})
}
