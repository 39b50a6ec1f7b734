package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"advsweep/backends"
	"advsweep/cluster"
	"advsweep/cpu"
	"advsweep/internal/plain"
	"advsweep/internal/remedy"
	"advsweep/model"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/spf13/cobra"
)

// A serveVerb is 'advsweep serve' with its flags.
type serveVerb struct {
	*program
	server cluster.ServeOptions
	web    string // address of the web page, or "none"
	quiet  bool
}

func newServe(p *program) *cobra.Command {
	v := &serveVerb{program: p}
	o := &v.server
	c := &cobra.Command{
		Use:   "serve DIR",
		Short: "Hand out a study's shards to workers on any machines, by NATS JetStream",
		Long: `Hand out the shards of the study in DIR to 'advsweep work URL', which may run on any machines, come and go. The
NATS server is inside; --nats uses one that exists. A shard whose worker dies goes to another; one that
fails again and again is noted, and the others go on. Results are checked; --verify has some shards done twice,
and a worker that was wrong is excluded and its results are done again. When all are done the study is merged, as by
'advsweep merge', and serve ends. Killed or stopped at any moment, the same command goes on.

Workers show what is in a file: an nkey's seed, made in DIR/worker.nk unless --credentials names another file, or
USER:PASSWORD. They can take shards, send results and read models and images, and no more. Only this machine can
reach the server unless --listen says otherwise. --tls-cert and --tls-key encrypt.`,
		Example: `  advsweep serve study
  advsweep serve study --listen 0.0.0.0:4222 --credentials worker.nk
  advsweep serve study --nats tls://nats.example:4222 --credentials mine.creds`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if o.URL != "" && c.Flags().Changed("listen") {
				return usagef("--listen with --nats: a server of our own or one that exists")
			}
			return v.run(c, args[0])
		},
	}
	fl := c.Flags()
	fl.StringVar(&o.Listen, "listen", "127.0.0.1:4222", "`HOST:PORT` of the NATS server; port 0: any that is free")
	fl.StringVar(&o.URL, "nats", "", "`URL` of a NATS server that exists, instead")
	fl.StringVar(&o.Credentials, "credentials", "", "`FILE` with what workers must show (default worker.nk in DIR, made if it is not there)")
	fl.StringVar(&o.TLSCert, "tls-cert", "", "`FILE` with the server's certificate")
	fl.StringVar(&o.TLSKey, "tls-key", "", "`FILE` with its key")
	fl.StringVar(&o.TLSCA, "tls-ca", "", "`FILE` with who signed the certificate of --nats (default whom the system trusts)")
	fl.StringVar(&v.web, "http", "127.0.0.1:8222", "`HOST:PORT` of the web page, loopback only; none: no page")
	fl.DurationVar(&o.AckWait, "ack-wait", cluster.AckWait, "time without a sign of life after which a shard goes to another worker")
	fl.IntVar(&o.Attempts, "attempts", cluster.Attempts, "times that a shard is tried")
	fl.Int64Var(&o.StoreBytes, "store-bytes", 0, "bound of the server's store on disk (default three quarters of what is free)")
	fl.BoolVar(&o.AllowMixed, "allow-mixed", false, "also take results of backends whose bits may differ from those planned; it is marked in the results")
	fl.Float64Var(&o.Verify, "verify", 0.01, "fraction of shards that a second worker does too, and one of each worker; 0: none")
	addQuiet(c, &v.quiet)
	return c
}

func (v *serveVerb) run(c *cobra.Command, dir string) error {
	o := v.server
	folder, err := study.Open(dir, release)
	if err != nil {
		return err
	}
	if o.URL == "" && o.TLSCA != "" {
		return usagef("--tls-ca goes with --nats: workers take it to check this server's certificate")
	}
	unlock, err := folder.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	stderr := c.ErrOrStderr()
	pg, err := newPage(folder)
	if err != nil {
		return err
	}
	if v.web != "none" {
		url, end, err := pg.open(v.web)
		if err != nil {
			return err
		}
		defer end()
		if !v.quiet {
			fmt.Fprintf(stderr, "advsweep: the page is %s\n", url)
		}
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		go pg.load(ctx)
	}
	bar := newProgress(stderr, v.quiet, "study")
	defer bar.finish()
	o.Log = func(format string, args ...any) {
		logLine(stderr, format, args...)
	}
	o.Ready = func(url, credentials string) {
		if v.quiet {
			return
		}
		if o.URL != "" {
			if id, err := folder.Plan.ID(); err == nil {
				fmt.Fprintf(stderr, "advsweep: the study's id on the server is %s\n", id)
			}
		}
		command := "advsweep work " + url
		if credentials != "" {
			command += " --credentials " + credentials
		}
		if o.TLSCert != "" {
			command += " --tls-ca CA-FILE"
		}
		fmt.Fprintf(stderr, "advsweep: workers: %s\n", command)
	}
	o.Arrived = pg.arrived
	o.Fingerprint = ownFingerprint
	var last cluster.Snapshot
	o.Progress = func(s cluster.Snapshot) {
		last = s
		pg.progress(s)
		if len(s.Workers) > 0 { // until there are any time says nothing
			bar.update(s.Done+s.Failed, s.Total)
		}
	}
	err = cluster.Serve(v.hard, c.Context().Done(), folder, o)
	bar.finish()
	if err == nil && !v.quiet && o.Verify > 0 {
		fmt.Fprintf(stderr, "advsweep: %s\n", verified(last))
	}
	if errors.Is(err, pipeline.ErrStopped) || errors.Is(err, context.Canceled) {
		st, failed := folder.Status(time.Now())
		if failed != nil {
			return failed
		}
		return &stoppedError{dir: dir, done: st.Done, total: st.Total, study: true}
	}
	if err != nil {
		return err
	}
	if err := folder.Missing(); err != nil {
		return fmt.Errorf("%w: 'advsweep status %s' lists what failed; the same command tries it again, all else is safe", err, dir)
	}
	pg.say("merging", false)
	err = mergeStudy(c, v.quiet, folder, o.AllowMixed)
	pg.say("", true)
	return err
}

// ownFingerprint returns what this machine computes with, if a is of a backend that computes the same
// on all machines, as the CPU does. GPUs of several kinds differ, and those of the workers count; and
// so does a CPU without AVX2, whose plain Go fuses no products on amd64.
func ownFingerprint(a record.Arithmetic) (fingerprint string, ok bool) {
	e, err := backends.Lookup(a.Backend)
	if err != nil || e.Accelerator || runtime.GOARCH == "amd64" && cpu.Kernels()[0] == "go" {
		return "", false
	}
	same := true
	fingerprint, err = pipeline.Fingerprint(func(m *model.Model) (pipeline.Backend, error) {
		b, got, err := e.Open(m, backends.Spec{Precision: a.Precision, MathMode: a.MathMode, Shared: true})
		same = same && got == a.MathMode
		return b, err
	})
	return fingerprint, err == nil && same
}

// verified says how many shards were done twice.
func verified(s cluster.Snapshot) string {
	v := s.Verified
	text := fmt.Sprintf("%d of %d shards were done twice on different machines, all alike", v.Twice, s.Total)
	if v.Machines < v.Twice {
		text = fmt.Sprintf("%d of %d shards were done twice by different workers, %d of them on different machines, all alike", v.Twice, s.Total, v.Machines)
	}
	if v.Missed > 0 {
		text += fmt.Sprintf("; for %d more no second worker was there", v.Missed)
	}
	return text
}

// logLine writes a line about what others did and said.
func logLine(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "advsweep: %s\n", plain.Line(fmt.Sprintf(format, args...), plain.Message))
}

// isURL tells a server from a folder.
func isURL(s string) bool { return strings.Contains(s, "://") }

// forServer works for the server at url.
func (v *workVerb) forServer(c *cobra.Command, url string) error {
	o := v.server
	stderr := c.ErrOrStderr()
	o.Version = release
	o.Devices = func(plan *study.Plan) ([]study.Device, error) { return v.here.devices(plan, true) }
	o.Log = func(format string, args ...any) {
		logLine(stderr, format, args...)
	}
	err := cluster.Work(v.hard, c.Context().Done(), url, o)
	if errors.Is(err, pipeline.ErrStopped) || errors.Is(err, context.Canceled) {
		return errors.New("stopped: what it had in hand goes to another worker")
	}
	if errors.As(err, new(*study.MixedError)) { // the flag of this verb is for folders
		return remedy.Want(remedy.ServeMixed, err)
	}
	if err == nil && !v.here.quiet {
		fmt.Fprintln(stderr, "advsweep: the study is done")
	}
	return err
}
