package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"advsweep/backends"
	"advsweep/cluster"
	"advsweep/cpu"
	"advsweep/internal/plain"
	"advsweep/internal/words"
	"advsweep/pipeline"
	"advsweep/report"
	"advsweep/study"
	"advsweep/submit"

	"github.com/spf13/cobra"
)

// A planVerb is 'advsweep plan' with its flags.
type planVerb struct {
	out   string // a folder, or "" for the study's name
	quiet bool
}

func newPlan() *cobra.Command {
	v := &planVerb{}
	c := &cobra.Command{
		Use:   "plan STUDY.toml",
		Short: "Cut a study of many models into shards for many machines",
		Long: `Read a study file, and write a folder with its plan, shards, models and images.

A study file is TOML. Keys mean what the flags of 'advsweep sweep' with their names do:

  name   = "mnist"                  # default: the file's name
  attack = "fgsm,pgd:steps=20,noise"
  eps    = "0:0.3:0.025"
  bounds = "0,1"
  seeds  = [1, 2, 3]                # a run for each; default 1
  precision = ["float32"]           # a run for each; backend = "` + firstBackend(func(e backends.Entry) bool { return e.Accelerator }).Name + `" for GPUs (product = "fp32")

  [[model]]                         # a run for each
  file = "mlp"                      # embedded, or ONNX, safetensors, NPZ; paths start from the study file
  [[model]]
  file = "models/mine.onnx"
  name = "mine"                     # layers, activation, pixels as for sweep

  [[data]]                          # a run for each; none: the embedded images
  path = "mnist"                    # or images and labels; split, n, offset as for sweep
  n = 10000

  [shards]
  seconds = 60                      # that a shard takes, about,
  device = "cpu"                    # on one of: ` + classNames() + `; cpu is 8 cores, cpu:N is N

norm, loss, step, steps, restarts, decay, target, exact and rounded are known too. Each run is what
one 'advsweep sweep' does, and its files come out the same, byte for byte, whoever does the shards:

  advsweep work DIR             all devices of this machine
  advsweep serve DIR            NATS JetStream: machines that run 'advsweep work URL'
  advsweep submit DIR --on slurm, kubernetes
  advsweep status DIR, advsweep merge DIR, advsweep report DIR`,
		Example: "  advsweep plan study.toml\n  advsweep work study",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := given(c); err != nil {
				return err
			}
			return v.run(c, args[0])
		},
	}
	c.Flags().StringVar(&v.out, "out", "", "`DIR` for the study (default its name)")
	c.Flags().BoolVarP(&v.quiet, "quiet", "q", false, "no notes on standard error")
	return c
}

func classNames() string {
	var names []string
	for _, c := range pipeline.DeviceClasses() {
		names = append(names, c.Name)
	}
	return strings.Join(names, ", ")
}

func (v *planVerb) run(c *cobra.Command, path string) error {
	device, err := planDevice()
	if err != nil {
		return err
	}
	made, err := study.Make(path, release, device)
	if err != nil {
		return err
	}
	dir := cmp.Or(v.out, made.Plan.Name)
	folder, err := study.Create(dir, made.Plan, made.Inputs, made.Text)
	if err != nil {
		return err
	}
	for _, n := range made.Notes {
		fmt.Fprintf(c.ErrOrStderr(), "advsweep: %s\n", n)
	}
	st, err := folder.Status(time.Now())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "study\t%s, id %s\n", st.Name, st.ID)
	fmt.Fprintf(w, "runs\t%d\n", len(st.Runs))
	size := int64(0)
	for _, data := range made.Inputs {
		size += int64(len(data))
	}
	fmt.Fprintf(w, "inputs\t%d, %.1f MB\n", len(made.Inputs), float64(size)/1e6)
	fmt.Fprintf(w, "shards\t%d of about %v s; %s in all on one device of class %s\n", st.Total, made.Plan.Seconds, about(st.Expected), made.Plan.Class)
	if err := w.Flush(); err != nil {
		return err
	}
	if !v.quiet {
		fmt.Fprintf(c.ErrOrStderr(), "wrote %s; next: 'advsweep work %s', or serve, or submit\n", dir, dir)
	}
	return nil
}

// about writes seconds for people.
func about(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Second:
		return "less than a second"
	case d < 2*time.Minute:
		return "about " + d.Round(time.Second).String()
	case d < 48*time.Hour:
		return "about " + strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("about %.1f days", d.Hours()/24)
}

func newStatus() *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "status DIR",
		Short: "How far a study is: done, running, failed, time left",
		Long: `Print how far the study in DIR is, from its folder alone, whichever way it is worked on: shards done,
workers and what they have in hand, shards that failed with why, and about how long it will take. All results
are read and checked: how many there are of each fingerprint, what is damaged, what machines disagree about.`,
		Example: "  advsweep status study\n  advsweep status study --format json",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			folder, err := study.Open(args[0], release)
			if err != nil {
				return err
			}
			now := time.Now()
			st, err := folder.Status(now)
			if err != nil {
				return err
			}
			if format == "json" {
				enc := json.NewEncoder(c.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(statusJSON(st, now))
			}
			return printStatus(c.OutOrStdout(), args[0], st, now)
		},
	}
	c.Flags().StringVar(&format, "format", "table", "what goes to standard output: table or json")
	c.PreRunE = func(*cobra.Command, []string) error {
		if format != "table" && format != "json" {
			return usagef("--format %q, want table or json", format)
		}
		return nil
	}
	return c
}

func statusJSON(s *study.Status, now time.Time) any {
	type run struct {
		Name   string `json:"name"`
		Shards int    `json:"shards"`
		Done   int    `json:"done"`
		Failed int    `json:"failed"`
	}
	out := struct {
		Name    string              `json:"name"`
		ID      string              `json:"id"`
		Shards  int                 `json:"shards"`
		Done    int                 `json:"done"`
		Running int                 `json:"running"`
		Failed  int                 `json:"failed"`
		ETA     *float64            `json:"eta_seconds"` // null: not known
		Runs    []run               `json:"runs"`
		Workers []study.WorkerState `json:"workers"`
		Failure []study.Failure     `json:"failures"`
		// Of the results that are there.
		Disputes     []study.Dispute   `json:"disputes"`
		Damaged      []int             `json:"damaged_shards"`
		Fingerprints []study.Print     `json:"fingerprints"`
		Excluded     map[string]string `json:"excluded_workers"`
		Twice        int               `json:"done_twice"`
	}{Name: s.Name, ID: s.ID, Shards: s.Total, Done: s.Done, Running: s.Running(now), Failed: len(s.Failed), Runs: []run{},
		Workers: append([]study.WorkerState{}, s.Workers...), Failure: append([]study.Failure{}, s.Failed...),
		Disputes: append([]study.Dispute{}, s.Trust.Disputes...), Damaged: append([]int{}, s.Trust.Damaged...), Fingerprints: append([]study.Print{}, s.Trust.Prints...),
		Excluded: s.Trust.Excluded, Twice: s.Trust.Twice}
	if s.Known {
		eta := s.ETA.Seconds()
		out.ETA = &eta
	}
	for _, r := range s.Runs {
		out.Runs = append(out.Runs, run{r.Name, r.Total, r.Done, r.Failed})
	}
	return out
}

// printStatus writes s as tables: what is finished in one line, what is not in one each.
func printStatus(out io.Writer, dir string, s *study.Status, now time.Time) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "study\t%s, id %s\n", s.Name, s.ID)
	running := s.Running(now)
	fmt.Fprintf(w, "shards\t%d: %d done, %d running, %d failed", s.Total, s.Done, running, len(s.Failed))
	if n := len(s.Trust.Disputes); n > 0 {
		fmt.Fprintf(w, ", %d disputed", n)
	}
	fmt.Fprintf(w, "\n")
	if s.Trust.Twice > 0 {
		fmt.Fprintf(w, "verified\t%d shards were found the same by two workers\n", s.Trust.Twice)
	}
	switch {
	case s.Done == s.Total:
		fmt.Fprintf(w, "left\tnothing\n")
	case s.Known:
		fmt.Fprintf(w, "left\t%s at %d at a time\n", about(s.ETA.Seconds()), running)
	default:
		fmt.Fprintf(w, "left\t%s on one device of the planned class, as nobody is heard to work now\n", about(s.Left))
	}
	_ = w.Flush() // its errors come again below
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var open []study.RunStatus
	for _, r := range s.Runs {
		if r.Done < r.Total {
			open = append(open, r)
		}
	}
	// Those with failures first, then those under way
	slices.SortStableFunc(open, func(a, b study.RunStatus) int {
		return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(min(1, b.Done), min(1, a.Done)))
	})
	const most = 20
	for i, r := range open[:min(most, len(open))] {
		if i == 0 {
			fmt.Fprint(w, "\nrun\tdone\tshards\tfailed\n")
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", r.Name, r.Done, r.Total, r.Failed)
	}
	if more := len(open) - most; more > 0 {
		fmt.Fprintf(w, "and %d more runs\n", more)
	}
	if whole := len(s.Runs) - len(open); whole > 0 {
		fmt.Fprintf(w, "\n%d of %d runs have all their shards\n", whole, len(s.Runs))
	}
	first := true
	for _, one := range s.Workers {
		if !one.Alive(now) {
			continue
		}
		if first {
			fmt.Fprint(w, "\nworker\tdevice\tshard\tdone\tfailed\theard\n")
			first = false
		}
		shard := "none"
		if one.Shard >= 0 {
			shard = fmt.Sprintf("%d, for %s", one.Shard, now.Sub(one.Since).Round(time.Second))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%s ago\n", cell(one.Name), cell(one.Device), shard, one.Done, one.Failed, max(0, now.Sub(one.Updated)).Round(time.Second))
	}
	first = true
	for _, one := range s.Failed {
		if first {
			fmt.Fprint(w, "\nfailed\trun\tattempts\tworker\twhy\n")
			first = false
		}
		fmt.Fprintf(w, "shard %d\t%s\t%d\t%s\t%s\n", one.Shard, cell(one.Run), one.Attempts, cell(one.Worker), plain.Line(one.Message, plain.Message))
	}
	_ = w.Flush() // its errors come again below
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	printTrust(w, dir, s.Trust)
	return w.Flush()
}

func newRunShard(p *program) *cobra.Command {
	var f workFlags
	var tasks, index int
	c := &cobra.Command{
		Use:   "run-shard DIR",
		Short: "Do one array task's shards of a study: Slurm, Kubernetes, AWS Batch",
		Long: `Do this task's shards of the study in DIR, which all tasks of an array see: shards I, I+T, I+2T and so on, I
from SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX or AWS_BATCH_JOB_ARRAY_INDEX, or --index. What is done
already is left alone, so a task may be run again, or twice at once, and changes nothing.
'advsweep submit' writes the job file; 'advsweep merge DIR' puts the results together.`,
		Example: "  SLURM_ARRAY_TASK_ID=3 advsweep run-shard study --tasks 100\n  advsweep run-shard study --tasks 1 --index 0",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			folder, err := study.Open(args[0], release)
			if err != nil {
				return err
			}
			if !c.Flags().Changed("tasks") {
				tasks = len(folder.Shards)
			}
			if tasks < 1 {
				return usagef("--tasks %d, want at least 1", tasks)
			}
			if n, err := strconv.Atoi(os.Getenv("SLURM_CPUS_PER_TASK")); err == nil && n > 0 && !c.Flags().Changed("threads") {
				// Not every Slurm keeps a task from using the whole node
				f.threads = min(n, cpu.MaxThreads)
			}
			from := "--index"
			if !c.Flags().Changed("index") {
				if index, from, err = submit.Index(os.Getenv); err != nil {
					return err
				}
			}
			if index < 0 || index >= tasks {
				err := fmt.Errorf("%s is %d, want 0 to %d: --tasks is %d", from, index, tasks-1, tasks)
				if c.Flags().Changed("index") {
					return usageError{err}
				}
				return err
			}
			var mine []study.Shard
			for i := index; i < len(folder.Shards); i += tasks {
				mine = append(mine, folder.Shards[i])
			}
			return p.workOn(c, &f, folder, mine, fmt.Sprintf("%s-task%d", study.WorkerName(), index))
		},
	}
	c.Flags().IntVar(&tasks, "tasks", 0, "`T`, how many tasks share the study (default as many as shards)")
	c.Flags().IntVar(&index, "index", 0, "`I`, which of them this is, from 0, where no scheduler says so")
	f.add(c)
	return c
}

// workFlags are what every verb has that works on shards here: --backend, --device, --threads,
// --allow-mixed, --quiet.
type workFlags struct {
	backend string // of a backends.Entry, or "auto": what the study is planned for
	device  string // as backends.Spec.Devices; "" is all
	threads int    // of the CPU; 0 is one for each processor
	mixed   bool   // also does what was planned for another arithmetic
	quiet   bool
}

func (f *workFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.backend, "backend", "auto", "auto: what the study is planned for; "+words.Or(backends.Names()))
	c.Flags().StringVar(&f.device, "device", "all", "CUDA devices: a `LIST` as in 0,1, or all; each does shards of its own")
	addThreads(c, &f.threads)
	c.Flags().BoolVar(&f.mixed, "allow-mixed", false, "also compute what was planned for another backend, whose bits may differ; it is marked in the results")
	addQuiet(c, &f.quiet)
}

// workOn does shards of folder on the devices of this machine. name is that of the workers.
func (p *program) workOn(c *cobra.Command, f *workFlags, folder *study.Folder, shards []study.Shard, name string) error {
	devices, err := f.devices(folder.Plan, false)
	if err != nil {
		return err
	}
	bar := newProgress(c.ErrOrStderr(), f.quiet, "study")
	defer bar.finish()
	failed := 0
	job := study.Job{Folder: folder, Shards: shards, Mixed: f.mixed, Devices: devices, Name: name,
		Progress: func(done, total float64, note string) { bar.update(int(done*1000), int(total*1000)) },
		Failed: func(s study.Shard, err error) {
			failed++
			bar.finish()
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: shard %d of run %s failed: %v\n", s.Index, folder.Plan.Runs[s.Run].Name, err)
		},
		Log: func(format string, args ...any) {
			bar.finish()
			logLine(c.ErrOrStderr(), format, args...)
		}}
	err = job.Run(p.hard, c.Context().Done())
	bar.finish()
	if errors.Is(err, pipeline.ErrStopped) || errors.Is(err, context.Canceled) {
		done := 0
		for _, s := range shards {
			if folder.Has(s) {
				done++
			}
		}
		return &stoppedError{dir: folder.Dir, done: done, total: len(shards), study: true}
	}
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d shards failed: 'advsweep status %s' lists them; the same command tries them again, all others are safe", failed, len(shards), folder.Dir)
	}
	return nil
}

// A workVerb is 'advsweep work' with its flags.
type workVerb struct {
	*program
	here   workFlags
	server cluster.WorkOptions // of a server alone
}

func newWork(p *program) *cobra.Command {
	v := &workVerb{program: p}
	o := &v.server
	c := &cobra.Command{
		Use:   "work DIR|URL",
		Short: "Work on a study: on all devices of this machine, or for a server",
		Long: `Do the shards of the study in DIR on all devices of this machine, and merge them. Nothing needs to be
installed or running. After Ctrl-C or a kill the same command goes on; shards that were done are safe.

Given the URL that 'advsweep serve' prints, do shards of its study, a worker for each device, until it is
done. Models and images are fetched once, and kept in --cache by their SHA-256.`,
		Example: `  advsweep work study
  advsweep work nats://head:4222 --credentials worker.nk`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			url := isURL(args[0])
			for _, name := range []string{"credentials", "tls-ca", "study", "cache", "patience", "name"} {
				if !url && c.Flags().Changed(name) {
					return usagef("--%s is for a server, and %s is a folder", name, args[0])
				}
			}
			if url && c.Flags().Changed("allow-mixed") {
				return usagef("--allow-mixed with a server: it is 'advsweep serve' that takes it")
			}
			if o.Patience <= 0 {
				return usagef("--patience %v, want more than 0", o.Patience)
			}
			if c.Flags().Changed("patience") {
				o.FirstPatience = o.Patience
			}
			if url {
				return v.forServer(c, args[0])
			}
			return v.onFolder(c, args[0])
		},
	}
	v.here.add(c)
	c.Flags().StringVar(&o.Credentials, "credentials", "", "of a server: `FILE` that its --credentials names")
	c.Flags().StringVar(&o.TLSCA, "tls-ca", "", "of a server: `FILE` with who signed its certificate (default whom the system trusts)")
	c.Flags().StringVar(&o.Study, "study", "", "of a server: `ID` or name of the study, if it has several")
	c.Flags().StringVar(&o.Cache, "cache", "", "of a server: `DIR` for models and images (default the user's cache)")
	c.Flags().DurationVar(&o.Patience, "patience", 10*time.Minute, "of a server: how long to wait for it when it is away; where it was never there 30s are the default")
	c.Flags().StringVar(&o.Name, "name", "", "of this worker, for people (default the machine's and the process number)")
	return c
}

// onFolder does the shards of the study in dir, and merges it.
func (v *workVerb) onFolder(c *cobra.Command, dir string) error {
	folder, err := study.Open(dir, release)
	if err != nil {
		return err
	}
	unlock, err := folder.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := v.workOn(c, &v.here, folder, folder.Shards, study.WorkerName()); err != nil {
		return err
	}
	return mergeStudy(c, v.here.quiet, folder, v.here.mixed)
}

// mergeStudy puts all runs of folder together and writes their files, as sweep does.
func mergeStudy(c *cobra.Command, quiet bool, folder *study.Folder, mixed bool) error {
	bar := newProgress(c.ErrOrStderr(), quiet, "merge")
	defer bar.finish()
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "run\tattack\tclean %\taccuracy % at eps")
	done, runs := 0, folder.Plan.Runs
	err := folder.Merge(c.Context(), mixed, func(m study.Merged) error {
		name := runs[m.Index].Name
		if mixture := m.Manifest.Plain().Mixture(); mixture != "" {
			fmt.Fprintf(c.ErrOrStderr(), "advsweep: run %s: %s\n", name, mixture)
		}
		warn(c.ErrOrStderr(), m.Result)
		if err := report.Write(m.Dir, m.Manifest, m.Result); err != nil {
			return err
		}
		summarise(w, name, m.Result)
		done++
		bar.update(done, len(runs))
		return nil
	})
	bar.finish()
	if errors.Is(err, context.Canceled) {
		return &stoppedError{dir: folder.Dir, done: done, total: len(runs), study: true}
	}
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if _, err := c.OutOrStdout().Write(b.Bytes()); err != nil {
		return fmt.Errorf("standard output: %w", err)
	}
	if !quiet {
		fmt.Fprintf(c.ErrOrStderr(), "wrote %s for %d runs; 'advsweep report %s' makes one report\n", filepath.Join(folder.Dir, "runs"), len(runs), folder.Dir)
	}
	return nil
}

// summarise writes a line for each curve of a run: accuracy at a few eps.
func summarise(w io.Writer, name string, res *pipeline.Result) {
	E := len(res.Eps)
	var at []int
	for _, e := range []int{E / 4, E / 2, E - 1} {
		if len(at) == 0 || at[len(at)-1] != e {
			at = append(at, e)
		}
	}
	for _, curve := range res.Curves {
		var points []string
		for _, e := range at {
			points = append(points, fmt.Sprintf("%.1f at %.4g", 100*float64(curve.Correct[e])/float64(res.N), res.Eps[e]))
		}
		fmt.Fprintf(w, "%s\t%s\t%.1f\t%s\n", name, curve.Attack.Label(), 100*float64(res.Clean)/float64(res.N), strings.Join(points, ", "))
	}
}
