// Package study sweeps many models on many machines: it reads a study file, cuts its sweeps into
// shards, and keeps in one folder what becomes of them, whoever does them.
//
// A study is runs, one for each model, data, seed and precision; a run is what one "advsweep sweep"
// does, fixed by a record.Manifest. A shard is consecutive chunks of a run. What a shard finds
// depends on nothing else, so runs come out byte for byte as if one machine had done them.
package study

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"advsweep/pipeline"
	"advsweep/record"
)

// A Plan fixes a study: equal study files, models and images give equal plans.
type Plan struct {
	Version string  `json:"version"` // of advsweep; others may cut a run into other chunks
	Name    string  `json:"name"`
	Class   string  `json:"device_class"`  // that shards are sized for
	Seconds float64 `json:"shard_seconds"` // that a shard takes on it, about
	Runs    []Run   `json:"runs"`
}

// A Run is one sweep of a study.
type Run struct {
	Name     string          `json:"name"` // of its folder
	Called   Called          `json:"called"`
	Manifest record.Manifest `json:"manifest"`
	Model    string          `json:"model_input"` // SHA-256 of the input that holds the model
	Images   string          `json:"images_input"`
	// Shard i of the run has the chunks Ends[i-1] to Ends[i]-1; Ends[-1] stands for 0.
	Ends  []int     `json:"ends"`
	Costs []float64 `json:"seconds"` // that each shard is expected to take
}

// Called is what the study file calls the parts of a run.
type Called struct {
	Model string `json:"model"`
	Data  string `json:"data"`
}

// A Shard is the unit of work: chunks From to To-1 of a run.
type Shard struct {
	Index    int    // in the study
	ID       string // hexadecimal, SHA-256 of what it computes
	Run      int
	From, To int
	Seconds  float64 // expected
}

// Has reports whether chunk i of the run belongs to the shard.
func (s Shard) Has(i int) bool { return i >= s.From && i < s.To }

// JSON returns p in the one form that is hashed and compared.
func (p *Plan) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return nil, fmt.Errorf("study: plan: %w", err)
	}
	return append(data, '\n'), nil
}

// ID returns what tells studies apart: the first 12 hexadecimal digits of the SHA-256 of JSON.
func (p *Plan) ID() (string, error) {
	data, err := p.JSON()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:6]), nil
}

// Shards lists all shards, run by run.
func (p *Plan) Shards() ([]Shard, error) {
	var all []Shard
	for i, r := range p.Runs {
		data, err := r.Manifest.JSON()
		if err != nil {
			return nil, err
		}
		run := sha256.Sum256(data)
		from := 0
		for k, to := range r.Ends {
			id := sha256.Sum256(fmt.Appendf(nil, "advsweep shard\n%x\n%d %d\n", run, from, to))
			all = append(all, Shard{len(all), hex.EncodeToString(id[:]), i, from, to, r.Costs[k]})
			from = to
		}
	}
	return all, nil
}

// A VersionError says that another version of advsweep made a plan. It may cut runs into other
// chunks and write other records, so results of the two cannot be put together.
type VersionError struct{ Plan, Here string }

func (e *VersionError) Error() string {
	return fmt.Sprintf("study: the plan is by advsweep %s and this is %s: use %s on all machines, or plan the study again in another folder",
		cmp.Or(e.Plan, "of unknown version"), e.Here, cmp.Or(e.Plan, "the same"))
}

// ParsePlan reads what JSON wrote. It returns a *VersionError for a plan of another version of the
// program than version, this one's.
func ParsePlan(data []byte, version string) (*Plan, error) {
	p := new(Plan)
	d := json.NewDecoder(bytes.NewReader(data))
	if err := json.Unmarshal(data, new(json.RawMessage)); err != nil {
		return nil, fmt.Errorf("study: plan: %w", err)
	}
	if by := record.VersionOf(data); by != version {
		return nil, &VersionError{by, version}
	}
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("study: plan: %w", err)
	}
	if len(p.Runs) == 0 {
		return nil, fmt.Errorf("study: plan: no runs")
	}
	if !validName(p.Name) {
		return nil, fmt.Errorf("study: plan: bad name %.100q", p.Name)
	}
	if _, err := pipeline.DeviceClassOf(p.Class); err != nil {
		return nil, fmt.Errorf("study: plan: %.100q is no class of devices", p.Class)
	}
	if !(p.Seconds > 0) || math.IsInf(p.Seconds, 0) {
		return nil, fmt.Errorf("study: plan: shards of %v seconds", p.Seconds)
	}
	seen := map[string]bool{}
	for i := range p.Runs {
		r := &p.Runs[i]
		text, err := r.Manifest.JSON()
		if err != nil {
			return nil, err
		}
		if _, err := record.ParseManifest(text); err != nil { // checks what it holds
			return nil, fmt.Errorf("study: plan: run %d: %w", i, err)
		}
		// Counted and not listed: a plan of some kilobytes may claim two thousand million images.
		chunks := r.Manifest.Sweep().Chunks(r.Manifest.Data.N)
		switch {
		case !validName(r.Name) || seen[r.Name]:
			return nil, fmt.Errorf("study: plan: run %d: bad name %.100q", i, r.Name)
		case !validName(r.Called.Model) || !validName(r.Called.Data):
			return nil, fmt.Errorf("study: plan: run %s: bad name %.100q of its model, or %.100q of its data", r.Name, r.Called.Model, r.Called.Data)
		case !isHash(r.Model) || !isHash(r.Images):
			return nil, fmt.Errorf("study: plan: run %s: inputs %.100q and %.100q, want SHA-256 in hexadecimal", r.Name, r.Model, r.Images)
		case chunks > math.MaxInt32:
			return nil, fmt.Errorf("study: plan: run %s: more than %d chunks, want at most that: fewer images, eps or attacks", r.Name, math.MaxInt32)
		case len(r.Ends) == 0 || len(r.Costs) != len(r.Ends) || int64(r.Ends[len(r.Ends)-1]) != chunks || r.Ends[0] < 1 || !slices.IsSorted(r.Ends) || len(slices.Compact(slices.Clone(r.Ends))) != len(r.Ends):
			return nil, fmt.Errorf("study: plan: run %s: its shards do not cover its %d chunks", r.Name, chunks)
		}
		for _, s := range r.Costs {
			if !(s >= 0) || math.IsInf(s, 0) {
				return nil, fmt.Errorf("study: plan: run %s: a shard of %v seconds", r.Name, s)
			}
		}
		seen[r.Name] = true
	}
	return p, nil
}

// isHash reports whether s is a SHA-256 in lower-case hexadecimal.
func isHash(s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == sha256.Size && hex.EncodeToString(b) == s
}

// validName reports whether s is fit for a folder on every system, and for a command line: letters,
// digits, and -._ inside.
func validName(s string) bool {
	if s == "" || len(s) > 100 || s[0] == '-' || s[0] == '.' || s[len(s)-1] == '.' {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
		default:
			return false
		}
	}
	return true
}

// ShardsCSV lists the shards of p for people and scripts: index, id, run, first and last chunk,
// expected seconds.
func (p *Plan) ShardsCSV(shards []Shard) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	// Errors are ignored: a bytes.Buffer takes every write.
	_ = w.Write([]string{"index", "id", "run", "first_chunk", "last_chunk", "seconds"})
	for _, s := range shards {
		_ = w.Write([]string{strconv.Itoa(s.Index), s.ID, p.Runs[s.Run].Name, strconv.Itoa(s.From), strconv.Itoa(s.To - 1), strconv.FormatFloat(s.Seconds, 'g', 3, 64)})
	}
	w.Flush()
	return b.Bytes()
}
