package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"advsweep/internal/remedy"
	"advsweep/pipeline"
	"advsweep/record"
	"advsweep/study"

	"github.com/nats-io/nats.go"
)

// certificate writes a certificate for this machine, signed by itself, and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	what := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "advsweep test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, what, what, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret})))
	return cert, key
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAccess comes to servers with each kind of credential, by TLS and without, rightly and
// wrongly.
func TestAccess(t *testing.T) {
	cert, key := certificate(t)
	dir := t.TempDir()
	password, other, nkey, wrongKey := filepath.Join(dir, "password"), filepath.Join(dir, "other"), filepath.Join(dir, "nkey"), filepath.Join(dir, "wrong")
	write(t, password, "worker:secret\n")
	write(t, other, "worker:guess\n")
	if err := createCredential(wrongKey); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name        string
		serve       ServeOptions
		credentials string // the worker's
		ca          string
		want        string // what the worker says; "" is that it works
	}{
		{"nkey, made anew", ServeOptions{Credentials: nkey}, nkey, "", ""},
		{"nkey, another one", ServeOptions{Credentials: nkey}, wrongKey, "", "refuses the credential"},
		{"nkey, none", ServeOptions{Credentials: nkey}, "", "", "wants a credential"},
		{"none, so one is made", ServeOptions{}, "", "", "wants a credential"},
		{"password", ServeOptions{Credentials: password}, password, "", ""},
		{"password, a wrong one", ServeOptions{Credentials: password}, other, "", "refuses the credential"},
		{"TLS", ServeOptions{Credentials: password, Encryption: Encryption{TLSCert: cert, TLSKey: key}}, password, cert, ""},
		{"TLS, not trusted", ServeOptions{Credentials: password, Encryption: Encryption{TLSCert: cert, TLSKey: key}}, password, "", "not trusted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newStudy(t, 1)
			r := serve(t, f, c.serve)
			o := workOptions(t, r.log)
			o.Credentials, o.TLSCA = c.credentials, c.ca
			begin := time.Now()
			err := Work(t.Context(), nil, r.url, o)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := r.end(); err != nil {
					t.Fatal(err)
				}
				if err := f.Missing(); err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "guess") || strings.Contains(err.Error(), "secret") {
				t.Errorf("worker: %v, want %q", err, c.want)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("it took %v to say so", took)
			}
			close(r.stop)
			_ = r.end() // stopped
		})
	}
	info, err := os.Stat(nkey)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key that was made: %v, %v", info, err)
	}
}

// TestRefusals: what would open the study to all, or show a secret, is refused before anything
// listens.
func TestRefusals(t *testing.T) {
	f := newStudy(t, 1)
	dir := t.TempDir()
	password, creds, several := filepath.Join(dir, "password"), filepath.Join(dir, "x.creds"), filepath.Join(dir, "lines")
	write(t, password, "worker:secret")
	write(t, creds, "-----BEGIN NATS USER JWT-----\nx\n")
	write(t, several, "worker\nsecret")
	for _, c := range []struct {
		name string
		o    ServeOptions
		want string
	}{
		{"password in the clear", ServeOptions{Listen: "0.0.0.0:0", Credentials: password}, "in the clear"},
		{".creds", ServeOptions{Credentials: creds}, "use it with that cluster"},
		{"several lines", ServeOptions{Credentials: several}, "several lines"},
		{"no key", ServeOptions{Encryption: Encryption{TLSCert: "x"}}, "go together"},
		{"no files", ServeOptions{Encryption: Encryption{TLSCert: filepath.Join(dir, "no"), TLSKey: filepath.Join(dir, "no")}}, "no such file"},
		{"no port", ServeOptions{Listen: "127.0.0.1"}, "want HOST:PORT"},
		{"bad port", ServeOptions{Listen: "127.0.0.1:http"}, "port"},
		{"secret in the URL", ServeOptions{URL: "nats://a:secret@127.0.0.1:1"}, "list of processes"},
		{"password to a cluster in the clear", ServeOptions{URL: "nats://head.example:1", Credentials: password}, "in the clear"},
		{"a web address", ServeOptions{URL: "http://127.0.0.1:1"}, "want one as in nats://"},
		{"attempts", ServeOptions{Attempts: -1}, "tries of a shard"},
		{"ack-wait", ServeOptions{AckWait: time.Nanosecond}, "time to wait for a worker"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.o.Listen == "" {
				c.o.Listen = "127.0.0.1:0"
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := Serve(ctx, nil, f, c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	for _, url := range []string{"nats://a:secret@127.0.0.1:1", "nats://head:99999", "head:4222", "http://127.0.0.1:1", "nats://%zz"} {
		if err := Work(t.Context(), nil, url, workOptions(t, &lines{})); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "no answer") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestSilent: what takes connections and says nothing is told from what is not there.
func TestSilent(t *testing.T) {
	none := &credential{kind: noCredential}
	for _, c := range []struct {
		err  error
		asks bool
	}{{os.ErrDeadlineExceeded, true}, {nats.ErrNoServers, false}} {
		if err := explain("nats://head:1", none, "", c.err); !errors.Is(err, c.err) || strings.Contains(err.Error(), "is it a NATS server") != c.asks {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

// TestFull gives the server a store with room for few results, and takes them slowly: workers keep
// theirs until there is room.
func TestFull(t *testing.T) {
	f := newStudy(t, 5)
	truth := inProcess(t, f)
	var waited atomic.Int32
	arithmetic := record.Arithmetic{Backend: "cpu", Precision: "float32", MathMode: "float32", Fingerprint: "full"}
	r := serve(t, f, ServeOptions{StoreBytes: 75_000, AckWait: time.Second, Arrived: func(study.Shard, *study.Result) { time.Sleep(150 * time.Millisecond) }})
	workers := with(func(_ context.Context, s study.Shard) (*study.Result, error) {
		return soundResult(t, f, truth, s, arithmetic), nil
	})
	errs := r.workers(4, func(i int, o *WorkOptions) {
		workers(i, o)
		prepare(o, arithmetic)
		say := o.Log
		o.Log = func(format string, args ...any) {
			if strings.Contains(format, "waiting for room") {
				waited.Add(1)
			}
			say(format, args...)
		}
	})
	if err := r.end(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	wait(t, errs, 4, r.log)
	if err := f.Missing(); err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	if failures, err := f.Failures(); err != nil || len(failures) > 0 {
		t.Errorf("failures %v, %v", failures, err)
	}
	if waited.Load() == 0 {
		t.Errorf("the store was never full: %d shards\n%s", len(f.Shards), r.log)
	}
}

// TestMixedWorkers: results of another fingerprint than those that are there are refused, or taken
// where that is allowed.
func TestMixedWorkers(t *testing.T) {
	f := newStudy(t, 1)
	first := record.Arithmetic{Backend: "cpu", Precision: "float32", MathMode: "float32", Fingerprint: "one"}
	data, err := soundResult(t, f, inProcess(t, f), f.Shards[0], first).Encode(f.Shards[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Put(f.Shards[0], data); err != nil {
		t.Fatal(err)
	}
	r := serve(t, f, ServeOptions{})
	o := workOptions(t, r.log)
	if err := Work(t.Context(), nil, r.url, o); err == nil || !strings.Contains(err.Error(), "fingerprint one") || !errors.As(err, new(*remedy.Error)) {
		t.Errorf("a worker of another fingerprint: %v", err)
	}
	close(r.stop)
	_ = r.end() // stopped
	r = serve(t, f, ServeOptions{Trust: Trust{AllowMixed: true}})
	if err := Work(t.Context(), nil, r.url, workOptions(t, r.log)); err != nil {
		t.Errorf("a worker of another fingerprint, where that is allowed: %v", err)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.MergeRun(0, false); err == nil || !strings.Contains(err.Error(), "one") {
		t.Errorf("merged all the same: %v", err)
	}
}

// TestStart: what keeps a server from starting is told at once, and until it hands out shards it
// can be stopped.
func TestStart(t *testing.T) {
	f := newStudy(t, 1)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := Serve(ctx, nil, f, ServeOptions{Listen: taken.Addr().String()}); err == nil || !strings.Contains(err.Error(), "did not start") || strings.Contains(err.Error(), "no reason") || ctx.Err() != nil {
		t.Errorf("a port that is taken: %v", err)
	}
	stop := make(chan struct{})
	close(stop)
	if err := Serve(ctx, stop, f, ServeOptions{Listen: "127.0.0.1:0"}); !errors.Is(err, pipeline.ErrStopped) || ctx.Err() != nil {
		t.Errorf("stopped before it began: %v", err)
	}
	r := serve(t, f, ServeOptions{}) // leaves models and images in the store
	close(r.stop)
	if err := r.end(); !errors.Is(err, pipeline.ErrStopped) {
		t.Errorf("stopped: %v", err)
	}
	log := &lines{t: t}
	ended := make(chan error, 1)
	go func() {
		ended <- Serve(ctx, nil, f, ServeOptions{Listen: "127.0.0.1:0", StoreBytes: 10, Log: log.log})
	}()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "a larger store") || ctx.Err() != nil {
		t.Errorf("a store without room: %v\n%s", err, log)
	}
}

// TestOtherVersion has a worker of another version than the study's: it ends at once, and names
// both.
func TestOtherVersion(t *testing.T) {
	r := serve(t, newStudy(t, 1), ServeOptions{})
	o := workOptions(t, r.log)
	o.Version = "other"
	var other *study.VersionError
	if err := Work(t.Context(), nil, r.url, o); !errors.As(err, &other) || *other != (study.VersionError{Plan: version, Here: "other"}) || !strings.Contains(err.Error(), r.url) {
		t.Errorf("%v, want a VersionError of %s and other", err, version)
	}
	close(r.stop)
	if err := r.end(); err != nil && !errors.Is(err, pipeline.ErrStopped) {
		t.Error(err)
	}
}
