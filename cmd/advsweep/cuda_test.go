//go:build cuda && linux && cgo

package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"advsweep/backends"
	"advsweep/cpu"
	"advsweep/gpu"
	"advsweep/report"
)

// needCUDA skips t where there is no device, and fails it where ADVSWEEP_GPU=require says that
// there must be one.
func needCUDA(t *testing.T) []gpu.Info {
	t.Helper()
	infos, err := gpu.Devices()
	switch {
	case err == nil:
		return infos
	case errors.Is(err, gpu.ErrUnavailable) && os.Getenv("ADVSWEEP_GPU") != "require":
		t.Skip(err)
	}
	t.Fatal(err)
	return nil
}

// simulated tells whether devices are those of internal/cusim, which is slow.
func simulated(infos []gpu.Info) bool { return strings.HasPrefix(infos[0].Name, "cusim") }

// inProcess runs advsweep in a process of its own with more environment.
func inProcess(t *testing.T, env string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), exe, args...)
	cmd.Env = append(append(os.Environ(), "ADVSWEEP_TEST_PROGRAM=1"), strings.Fields(env)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// hardware is what a JSON file says of it.
var hardware = regexp.MustCompile(`"(backend|device)": ".*"`)

var seconds = regexp.MustCompile(`(?s)"seconds": \{.*?\}`)

// unnamed is a result file without its times and the names of the hardware.
func unnamed(file []byte) []byte { return hardware.ReplaceAll(seconds.ReplaceAll(file, nil), nil) }

// closeCSV fails unless the cells of two files are equal or, as tensor cores round otherwise,
// numbers within 1e-3 of each other.
func closeCSV(t *testing.T, name string, got, want []byte) {
	t.Helper()
	a, err := csv.NewReader(bytes.NewReader(got)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	b, err := csv.NewReader(bytes.NewReader(want)).ReadAll()
	if err != nil || len(a) != len(b) {
		t.Fatalf("%s: %d rows, want %d (%v)", name, len(a), len(b), err)
	}
	for i := range a {
		for j := range a[i] {
			x, err1 := strconv.ParseFloat(a[i][j], 64)
			y, err2 := strconv.ParseFloat(b[i][j], 64)
			if a[i][j] != b[i][j] && !(err1 == nil && err2 == nil && math.Abs(x-y) <= 1e-3*(1+math.Abs(y))) {
				t.Errorf("%s: row %d: %q, want %q", name, i, a[i][j], b[i][j])
			}
		}
	}
}

// TestCUDADemo runs the whole demo on a device and, at the same eps only, on the CPU. Product fp32
// must give the same files, but for the times and the names of the hardware; tensor cores the same
// curves and pictures, and so the same signs, and logits nearby.
func TestCUDADemo(t *testing.T) {
	infos := needCUDA(t)
	many := []string{"--n", "30", "--eps", "0,0.05,0.1", "--steps", "3"}
	if !simulated(infos) {
		many = []string{"--n", "1000"}
	}
	// less than a tile of rows: what takes time is the tile
	few := []string{"--n", "32", "--eps", "0.025,0.05,0.1", "--steps", "2"}
	for _, c := range []struct {
		name, product, bounds string
		size                  []string
	}{
		{"fp32", "fp32", "none", many},
		{"fp32/bounds", "fp32", "0,1", many},
		{infos[0].MathMode, "", "none", few},
		{infos[0].MathMode + "/bounds", "", "0,1", few},
	} {
		if c.product == "" && infos[0].MathMode == "fp32" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Setenv(gpu.EnvMathMode, c.product)
			onGPU, onCPU := t.TempDir(), t.TempDir()
			args := append([]string{"demo", "--bounds", c.bounds}, c.size...)
			do(t, append(args, "--backend", "cuda", "--out", onGPU)...)
			// what BIM carries from step to step on the CPU rounds otherwise
			if c.product == "fp32" {
				t.Setenv(cpu.EnvDense, "1")
			}
			do(t, append(args, "--backend", "cpu", "--precision", "float32", "--exact=false", "--out", onCPU)...)
			product := c.product
			if product == "" {
				product = infos[0].MathMode
			}
			// that one rounds products where Go does not fuse
			exact := c.product == "fp32" && cpu.Kernels()[0] != "go"
			files, err := os.ReadDir(onCPU)
			if err != nil {
				t.Fatal(err)
			}
			if more, err := os.ReadDir(onGPU); err != nil || len(more) != len(files) {
				t.Errorf("files %v of the device, error %v, want %v", more, err, files)
			}
			for _, f := range files {
				got, want := read(t, onGPU, f.Name()), read(t, onCPU, f.Name())
				if filepath.Ext(f.Name()) == ".json" && f.Name()[0] != '.' {
					v := decode(t, got)
					// not in a curve, which is the same on any device
					device, named := v["device"].(string)
					if suffix := infos[0].Image + " " + product; v["backend"] != "cuda" || named && !strings.HasSuffix(device, suffix) || f.Name() == report.RunName && !named {
						t.Errorf("%s: backend %v, device %v, want cuda, … %s", f.Name(), v["backend"], v["device"], suffix)
					}
					if f.Name() != report.RunName && v["precision"] != "float32" {
						t.Errorf("%s: precision %v, want float32", f.Name(), v["precision"])
					}
				}
				switch {
				case f.Name() == ".advsweep.json" || f.Name() == report.RunName: // hashes of files with times; threads, device and times
				case filepath.Ext(f.Name()) == ".csv" && !exact:
					closeCSV(t, f.Name(), got, want)
				case filepath.Ext(f.Name()) == ".json" && strings.Contains(f.Name(), "curve") && !exact:
				case strings.HasSuffix(f.Name(), "-image.json") && !exact:
					closePredictions(t, f.Name(), got, want)
				case !bytes.Equal(unnamed(got), unnamed(want)):
					t.Errorf("%s differs from that of the CPU", f.Name())
				}
			}
		})
	}
}

// closePredictions wants the same classes, and logits within 1e-4 of the largest. Both backends
// keep, in each layer, the bound of an n-term float32 dot product, γₙ·Σ|aᵢbᵢ| with n at most 1024:
// 6e-5 of Σ|aᵢbᵢ|. Most of the rounding errors under it cancel: 6e-7 of the largest logit is seen
// with products rounded to nearest, and tensor cores cut off.
func closePredictions(t *testing.T, name string, got, want []byte) {
	t.Helper()
	for _, when := range []string{"original", "adversarial"} {
		a, b := decode(t, got, when)[when].(map[string]any), decode(t, want, when)[when].(map[string]any)
		if a["class"] != b["class"] {
			t.Errorf("%s: %s: class %v, want %v", name, when, a["class"], b["class"])
		}
		y, z, top := a["logits"].([]any), b["logits"].([]any), 0.0
		for _, v := range z {
			top = max(top, math.Abs(v.(float64)))
		}
		if len(y) != len(z) || len(z) == 0 {
			t.Fatalf("%s: %s: %d logits, want %d", name, when, len(y), len(z))
		}
		for o := range z {
			if got, want := y[o].(float64), z[o].(float64); !(math.Abs(got-want) <= 1e-4*top) {
				t.Errorf("%s: %s: logit %d is %v, want %v ± %v", name, when, o, got, want, 1e-4*top)
			}
		}
	}
}

// TestCUDATF32 wants the precision in the results, and that a product of other digits cannot come
// in by the environment.
func TestCUDATF32(t *testing.T) {
	infos := needCUDA(t)
	out := t.TempDir()
	args := []string{"attack", "--eps", "0.1", "--out", out, "--quiet"}
	if !slices.Contains(infos[0].MathModes, "tf32") {
		code, _, stderr := advsweep(t, append(args, "--precision", "tf32")...)
		if code != exitError || !strings.Contains(stderr, "tf32 needs 8.0") || !strings.Contains(stderr, "use --backend cpu") {
			t.Errorf("exit code %d, %q", code, stderr)
		}
		return
	}
	do(t, append(args, "--precision", "tf32")...) // auto
	if v := decode(t, read(t, out, "attack.json")); v["backend"] != "cuda" || v["precision"] != "tf32" || !strings.HasSuffix(v["device"].(string), " tf32") {
		t.Errorf("backend %v, precision %v, device %v", v["backend"], v["precision"], v["device"])
	}
	t.Setenv(gpu.EnvMathMode, "tf32")
	code, _, stderr := advsweep(t, append(args, "--backend", "cuda")...)
	if code != exitError || !strings.Contains(stderr, "give --precision tf32") {
		t.Errorf("tf32 by the environment: exit code %d, %q", code, stderr)
	}
}

// TestCUDARefusals names devices that are not there.
func TestCUDARefusals(t *testing.T) {
	infos := needCUDA(t)
	for _, device := range []string{"99", "x", "0,0", "", "-1", "0,", "all,0"} {
		for _, backend := range []string{"auto", "cuda"} {
			code, stdout, stderr := advsweep(t, "sweep", "--backend", backend, "--device", device, "--out", t.TempDir())
			if code != exitUsage || !strings.HasPrefix(stderr, "advsweep: --device: ") || !strings.Contains(stderr, "here: 0 ("+infos[0].Name+")") || stdout != "" {
				t.Errorf("--backend %s --device %q: exit code %d, %q", backend, device, code, stderr)
			}
		}
	}
}

// TestCUDADevices wants of every device what its results will say.
func TestCUDADevices(t *testing.T) {
	infos := needCUDA(t)
	t.Setenv(gpu.EnvMathMode, "")
	var devices []backends.Device
	if err := json.Unmarshal([]byte(do(t, "devices", "--format", "json")), &devices); err != nil {
		t.Fatal(err)
	}
	devices = slices.DeleteFunc(devices, func(d backends.Device) bool { return d.Backend != "cuda" })
	if len(devices) != len(infos) {
		t.Fatalf("%+v: want %+v", devices, infos)
	}
	out := t.TempDir()
	for _, d := range devices {
		in := infos[*d.Index]
		if d.Name != in.Name || d.Memory != in.Memory || d.Image != in.Image || d.MathMode != in.MathMode || !slices.Contains(d.MathModes, d.MathMode) {
			t.Errorf("%+v of %+v", d, in)
		}
	}
	do(t, "attack", "--index", "0", "--eps", "0", "--attack", "noise", "--out", out)
	if got := decode(t, read(t, out, "attack.json"))["device"]; got != devices[0].Device {
		t.Errorf("device %q in the list, %q in the result", devices[0].Device, got)
	}
}

// TestCUDATwoDevices splits the images between devices: the same bytes.
func TestCUDATwoDevices(t *testing.T) {
	needCUDA(t)
	const env = "CUSIM_DEVICES=2 " + gpu.EnvMathMode + "=fp32"
	_, list, _ := inProcess(t, env, "devices", "--format", "csv")
	if strings.Count(list, "\ncuda,true") < 2 {
		t.Skipf("fewer than two devices:\n%s", list)
	}
	var first []byte
	for _, device := range []string{"0", "all", "1,0"} {
		out := t.TempDir()
		code, _, stderr := inProcess(t, env, "sweep", "--device", device, "--attack", "fgsm,bim,noise", "--steps", "2", "--n", "7", "--eps", "0,0.025,0.05,0.1",
			"--bounds", "0,1", "--out", out)
		if code != exitDone {
			t.Fatalf("--device %s: exit code %d\n%s", device, code, stderr)
		}
		got := read(t, out, "curve.csv")
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("--device %s gives\n%swant, as --device 0,\n%s", device, got, first)
		}
		names := decode(t, read(t, out, report.RunName))["device"].(string)
		if n, want := strings.Count(names, "cuda:"), 2; device != "0" && n != want || device == "0" && n != 1 {
			t.Errorf("--device %s: device %q", device, names)
		}
	}
}

// TestCUDAFallback takes the device away from a program that can do CUDA: auto says why it takes
// the CPU, and no one else does.
func TestCUDAFallback(t *testing.T) {
	infos, err := gpu.Devices()
	sim := err == nil && simulated(infos)
	for _, c := range []struct {
		name, env string
		sim       bool // needs the simulator
		why       string
		loud      bool // with --quiet, too
	}{
		{"no driver", "ADVSWEEP_LIBCUDA=/nowhere/libcuda.so", false, "/nowhere/libcuda.so", false},
		{"no memory", "CUSIM_MEMORY=1000000", true, "OutOfMemory", true},
		{"too old", "CUSIM_CC=61", true, "compute capability 6.1", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.sim && !sim {
				t.Skip("not the simulator of internal/cusim")
			}
			out := t.TempDir()
			args := []string{"sweep", "--n", "3", "--eps", "0", "--out", out}
			code, _, stderr := inProcess(t, c.env, args...)
			note, rest, _ := strings.Cut(stderr, "\n")
			if code != exitDone || !strings.HasPrefix(note, "advsweep: using the CPU: ") || !strings.Contains(note, c.why) || !strings.HasPrefix(rest, "wrote ") {
				t.Errorf("exit code %d, want 0 and one line with %q in\n%s", code, c.why, stderr)
			}
			if v := decode(t, read(t, out, "curve.json")); v["backend"] != "cpu" {
				t.Errorf("backend %v, want cpu", v["backend"])
			}
			code, _, stderr = inProcess(t, c.env, append(args, "--quiet")...)
			if code != exitDone || strings.Contains(stderr, c.why) != c.loud || strings.Count(stderr, "\n") > 1 {
				t.Errorf("quiet: exit code %d, %q, want a line: %v", code, stderr, c.loud)
			}
			if code, _, stderr = inProcess(t, c.env, append(args, "--precision", "float64")...); code != exitDone || strings.Contains(stderr, "using") {
				t.Errorf("float64: exit code %d, %q", code, stderr)
			}
			for _, more := range []string{"--backend cuda", "--device 0", "--precision tf32"} {
				code, _, stderr := inProcess(t, c.env, append(args, strings.Fields(more)...)...)
				if code != exitError || !strings.Contains(stderr, c.why) || !strings.Contains(stderr, "; use --backend cpu") || strings.Count(stderr, "\n") > 1 {
					t.Errorf("%s: exit code %d, want %d, with %q on standard error: %s", more, code, exitError, c.why, stderr)
				}
			}
		})
	}
}

// TestCUDAExact asks for what only the CPU can do: auto takes the CPU for it.
func TestCUDAExact(t *testing.T) {
	needCUDA(t)
	out := t.TempDir()
	do(t, "sweep", "--exact", "--n", "3", "--eps", "0,0.1", "--out", out)
	if v := decode(t, read(t, out, "curve.json")); v["backend"] != "cpu" {
		t.Errorf("--exact: backend %v, want cpu", v["backend"])
	}
	read(t, out, "images.csv")
	code, _, stderr := advsweep(t, "sweep", "--exact", "--device", "0", "--out", out)
	if code != exitUsage || !strings.Contains(stderr, "only the CPU") {
		t.Errorf("--exact --device 0: exit code %d, %q", code, stderr)
	}
}

func TestCUDABench(t *testing.T) {
	needCUDA(t)
	t.Setenv(gpu.EnvMathMode, "fp32")
	text := do(t, "bench", "--backend", "cuda", "--works", "Forward,Gradient,Step,Sweep,W1", "--n", "5", "--eps", "0.1", "--steps", "2", "--benchtime", "1ns")
	checkBench(t, text, "cuda", map[string]int{"Forward": 1, "Gradient": 1, "Step": 1, "Sweep": 3, "W1": 2})
}
