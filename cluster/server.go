package cluster

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"advsweep/internal/plain"
	"advsweep/internal/remedy"
	"advsweep/study"

	"github.com/nats-io/nats-server/v2/server"
)

// maxPayload is the largest message of the server that Serve brings. Larger results go through the
// object store.
const maxPayload = 8 << 20

// start starts the server that o describes for study n, with its store in dir. The coordinator
// shows own and workers show cred. It takes connections of this process only, until listen.
func start(dir string, n names, o *ServeOptions, own, cred *credential) (*server.Server, error) {
	host, text, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, remedy.Want(remedy.Listen, fmt.Errorf("cluster: listen on %q, want HOST:PORT as in 127.0.0.1:4222", o.Listen))
	}
	port, err := strconv.Atoi(text)
	if err != nil || port < 0 || port > 65535 {
		return nil, remedy.Want(remedy.Listen, fmt.Errorf("cluster: listen on %q: port %q, want 0 (any that is free) to 65535", o.Listen, text))
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	secure := o.TLSCert != "" || o.TLSKey != ""
	switch here := loopback(host); {
	case cred.kind == credsCredential:
		return nil, remedy.Want(remedy.External, fmt.Errorf("cluster: credentials %s: a .creds file is of a cluster that exists: use it with that cluster, or give an nkey's seed", cred.path))
	case !here && cred.kind == passwordCredential && !secure:
		return nil, remedy.Want(remedy.TLS, fmt.Errorf("cluster: listen on %s: the password in %s would cross the network in the clear: give a certificate and a key for TLS, or use an nkey, which is never sent", o.Listen, cred.path))
	case !here && !secure:
		o.Log("models and results cross the network in the clear, though none but who has %s can send any: a certificate and a key for TLS encrypt them", cred.path)
	}
	so := &server.Options{}
	if err := so.ProcessConfigString(n.accounts()); err != nil {
		return nil, fmt.Errorf("cluster: server: %w", err)
	}
	if err := n.users(so, own, cred); err != nil {
		return nil, err
	}
	so.ServerName, so.Host, so.Port = "advsweep", cmp.Or(host, "0.0.0.0"), port
	so.DontListen, so.NoSigs = true, true
	so.JetStream, so.StoreDir, so.JetStreamMaxStore, so.DisableJetStreamBanner = true, filepath.Join(dir, study.StoreName), o.StoreBytes, true
	// The key is no secret. Files that are encrypted are authenticated too: a damaged byte in what the
	// server has stored of a consumer would else have it make room for billions of messages.
	so.JetStreamKey, so.JetStreamCipher = n.id, server.ChaCha
	so.MaxPayload, so.MaxPending = maxPayload, 8*maxPayload
	so.MaxConn, so.MaxSubs = maxConnections(), maxSubscriptions
	so.AuthTimeout = 5 // seconds, for who connects and does not say who he is
	// Clients know an address that leads here. The server does not tell them others of its own.
	so.Cluster.NoAdvertise = true
	if secure {
		cert, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey)
		if err != nil {
			return nil, remedy.Want(remedy.TLS, fmt.Errorf("cluster: certificate %s, key %s: %w", o.TLSCert, o.TLSKey, err))
		}
		so.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
		so.TLSTimeout = 10
	}
	old := exists(so.StoreDir)
	if err := checkStore(so.StoreDir); err != nil {
		return nil, &storeError{fmt.Errorf("cluster: the server's store has failed: %w", err)}
	}
	s, err := server.NewServer(so)
	if err != nil {
		return nil, fmt.Errorf("cluster: server: %w", err)
	}
	logs := &serverLog{say: o.Log}
	s.SetLoggerV2(logs, false, false, false)
	started := make(chan struct{})
	go func() {
		s.Start()
		close(started)
	}()
	ready := false
	for until := time.Now().Add(time.Minute); !ready && logs.fatal() == "" && time.Now().Before(until); {
		ready = s.ReadyForConnections(100 * time.Millisecond)
	}
	if ready && s.JetStreamEnabled() {
		return s, nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	select { // else it may still write to dir
	case <-started:
	case <-time.After(10 * time.Second):
	}
	err = fmt.Errorf("cluster: the server on %s did not start: %s", o.Listen, cmp.Or(logs.fatal(), "no reason was given"))
	if old {
		err = &storeError{err}
	}
	return nil, err
}

// leastSealed is how many bytes an encrypted file has at least: a nonce of 24 and a tag of 16.
const leastSealed = 40

// checkStore returns an error if a file of the store in dir was cut, as by a power cut. The server
// would take one that has no room for its nonce for a bug of its own, and end the process.
func checkStore(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		name := d.Name()
		if !slices.Contains([]string{"o.dat", "meta.inf", "index.db"}, name) && filepath.Ext(name) != ".key" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if n := info.Size(); n < leastSealed && (n > 0 || name != "o.dat") {
			return fmt.Errorf("%s has %d bytes, want at least %d", path, n, leastSealed)
		}
		return nil
	})
}

// listen makes s take connections at the address that it was started for.
func listen(s *server.Server, o *ServeOptions) error {
	done := make(chan struct{})
	go s.AcceptLoop(done)
	<-done
	if s.Addr() != nil {
		return nil
	}
	why := "no reason was given"
	if logs, ok := s.Logger().(*serverLog); ok {
		why = cmp.Or(logs.fatal(), why)
	}
	return fmt.Errorf("cluster: the server on %s did not start: %s", o.Listen, why)
}

// Bounds of the server that Serve brings. A worker has one connection, and a subscription for each
// request that waits for an answer.
const (
	maxSubscriptions = 1000
	reservedFiles    = 256 // for the store, the folder, the page and the program itself
)

// maxConnections is how many workers may connect: as many as leave the store its files.
func maxConnections() int { return max(16, min(64<<10, (openFiles()-reservedFiles)*3/4)) }

// A serverLog passes on the errors that the NATS server logs. Its methods change what follows mu,
// under mu.
type serverLog struct {
	say  func(string, ...any)
	mu   sync.Mutex
	last string
	// The kinds of errors that were passed on since minute.
	minute time.Time
	told   map[string]bool
}

func (*serverLog) Noticef(string, ...any) {}
func (*serverLog) Debugf(string, ...any)  {}
func (*serverLog) Tracef(string, ...any)  {}
func (*serverLog) Warnf(string, ...any)   {}

func (l *serverLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = fmt.Sprintf(format, args...)
}

// maxTold is how many kinds of errors are passed on in a minute: who is refused may choose what the
// error says.
const maxTold = 20

// Errorf passes each kind of error on once a minute. Clients that do not know the credential try
// again and again.
func (l *serverLog) Errorf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	kind := text
	if i := strings.LastIndex(text, " - "); i >= 0 { // after the address and number of a client
		kind = text[i:]
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.minute) >= time.Minute {
		l.minute, l.told = now, map[string]bool{}
	}
	if l.told[kind] || len(l.told) >= maxTold {
		return
	}
	l.told[kind] = true
	l.say("server: %s", plain.Line(text, plain.Message))
}

func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
