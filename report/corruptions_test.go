package report_test

import (
	"encoding/json"
	"strings"
	"testing"

	"advsweep/corrupt"
	"advsweep/record"
	"advsweep/report"
)

func score(name string, severity, right int, extra bool) corrupt.Score {
	return corrupt.Score{Corruption: name, Severity: severity, Extra: extra, Count: corrupt.Count{Right: right, N: 10}}
}

// TestCorruptions: counts worked out by hand in the table, the CSV and the JSON, and null for what
// was not asked for.
func TestCorruptions(t *testing.T) {
	c := report.Corruptions{Meta: record.Meta{Version: "0"}, Folder: "C", Result: &corrupt.Result{}}
	for s := 1; s <= 5; s++ {
		c.Scores = append(c.Scores, score("fog\x1b[31m", s, 11-2*s, false)) // 9 7 5 3 1
	}
	for s := 1; s <= 5; s++ {
		c.Scores = append(c.Scores, score("spatter", s, 10, true))
	}
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 2 || files[0].Name != "corruptions.csv" || files[1].Name != "corruptions.json" {
		t.Fatalf("files %q", files)
	}
	if got := string(files[0].Data); !strings.HasPrefix(got, "corruption,severity,n,correct,accuracy,ci_low,ci_high\nfog\x1b[31m,1,10,9,0.9,0.59") || strings.Count(got, "\n") != 11 {
		t.Errorf("CSV:\n%s", got)
	}
	var v map[string]any
	if err := json.Unmarshal(files[1].Data, &v); err != nil {
		t.Fatal(err)
	}
	mean, _ := v["mean_corruption"].(map[string]any)
	if v["clean"] != nil || v["spatial"] != nil || v["data"] != nil || mean["correct"] != 25. || mean["answers"] != 50. || mean["accuracy"] != 0.5 || len(v["rows"].([]any)) != 10 {
		t.Errorf("JSON:\n%s", files[1].Data)
	}
	table := func() string {
		var b strings.Builder
		if err := c.Table(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	text := table()
	for _, want := range []string{"mean corruption accuracy  25/50  50.0 %", "1 corruption × 5 severities", "90.0  70.0   50.0   30.0   10.0", "spatter, not in the mean"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") || strings.Contains(text, "spatial") {
		t.Errorf("a terminal obeys this, or it speaks of a grid:\n%q", text)
	}
	// A grid alone.
	grid := corrupt.Grid{Rotations: 1, Shifts: 3, Pixels: 1}
	c.Folder, c.Result = "", &corrupt.Result{Clean: corrupt.Count{Right: 9, N: 10}, Spatial: &corrupt.SpatialResult{Grid: grid, Transformations: grid.Transformations(), Worst: corrupt.Count{Right: 2, N: 10}}}
	for i := range 9 {
		c.Spatial.Each = append(c.Spatial.Each, corrupt.Count{Right: 9 - i%4, N: 10}) // least at 3 and 7
	}
	if files, err = c.Files(); err != nil || len(files) != 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	if got := string(files[0].Data); !strings.Contains(got, "\nclean,,10,9,0.9,") || !strings.Contains(got, "\nspatial,,10,2,0.2,") || strings.Count(got, "\n") != 3 {
		t.Errorf("CSV:\n%s", got)
	}
	if got := string(files[2].Data); !strings.HasPrefix(got, "rotation,right,down,n,correct,accuracy,ci_low,ci_high\n0,-1,-1,10,9,0.9,") || strings.Count(got, "\n") != 10 {
		t.Errorf("CSV of the grid:\n%s", got)
	}
	if err := json.Unmarshal(files[1].Data, &v); err != nil {
		t.Fatal(err)
	}
	spatial := v["spatial"].(map[string]any)
	most := spatial["most_fooling"].(map[string]any)
	if v["mean_corruption"] != nil || most["right"] != -1. || most["down"] != 0. || most["correct"] != 6. || spatial["mean"].(map[string]any)["correct"] != 69. {
		t.Errorf("JSON: %v", spatial)
	}
	text = table()
	for _, want := range []string{"clean accuracy 9/10 90.0 %", "worst spatial accuracy 2/10 20.0 %", "mean 69/90 76.7 %", "most fooled 6/10 60.0 %", "under all 9 transformations", "rotated 0°, -1 right, 0 down"} {
		if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
