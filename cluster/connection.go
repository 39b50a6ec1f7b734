package cluster

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"advsweep/internal/remedy"
	"advsweep/study"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A connection is the coordinator's, to the server that Serve brings or to another's. connect sets
// its fields, listen sets url, and nothing changes them after that.
type connection struct {
	server *server.Server // nil: the server is another's
	nc     *nats.Conn
	js     jetstream.JetStream
	url    string // what workers connect to; "" until listen
}

// connect starts the server that o describes for study n, with its store in f, or finds the one at
// o.URL. A server that it starts takes no workers until listen. lost is called when the connection
// is gone for good. ended reports whether nobody needs it any more.
func connect(f *study.Folder, n names, o *ServeOptions, lost func(error), ended func() bool) (*connection, error) {
	if o.URL == "" && o.Credentials == "" { // on loopback too: a login node has other users
		o.Credentials = filepath.Join(f.Dir, study.KeyName)
	}
	if o.URL == "" && !exists(o.Credentials) {
		if err := createCredential(o.Credentials); err != nil {
			return nil, err
		}
		o.Log("made a new credential, an nkey's seed, in %s: workers need a copy of it", o.Credentials)
	}
	cred, err := readCredential(o.Credentials, o.Log)
	if err != nil {
		return nil, err
	}
	extra := []nats.Option{
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil && !ended() {
				o.Log("lost the server: %v; trying again", err)
			}
		}),
		nats.ClosedHandler(func(nc *nats.Conn) {
			if err := nc.LastError(); err != nil {
				lost(fmt.Errorf("cluster: the server has ended the connection for good: %w", err))
			}
		}),
		nats.ErrorHandler(ignoreError),
	}
	c, url := &connection{url: o.URL}, o.URL
	if url == "" {
		own, err := newCredential() // never leaves this process
		if err != nil {
			return nil, err
		}
		if c.server, err = start(f.Dir, n, o, own, cred); err != nil {
			return nil, err
		}
		cred = own
		url = "nats://in-process" // no scheme of TLS: there is no network between
		extra = append(extra, nats.InProcessServer(c.server))
	} else if err := checkURL(url, cred, o.TLSCA); err != nil {
		return nil, err
	}
	if c.nc, err = dial(url, cred, o.TLSCA, extra...); err == nil {
		c.js, err = jetstream.New(c.nc)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// listen lets workers come, once the study is on the server whole. Who comes before finds no study
// and could take it for done.
func (c *connection) listen(o *ServeOptions) error {
	if c.server == nil {
		return nil
	}
	if err := listen(c.server, o); err != nil {
		return err
	}
	c.url = serverURL(c.server, o)
	host, _, _ := net.SplitHostPort(o.Listen)
	_, port, _ := net.SplitHostPort(c.server.Addr().String())
	o.Listen = net.JoinHostPort(host, port)
	return nil
}

// largeBytes bounds the store of large results of a server that Serve brings: half of its store.
func (c *connection) largeBytes() int64 {
	if c.server == nil {
		return 0
	}
	return c.server.JetStreamConfig().MaxStore / 2
}

// close ends the connection, and the server if Serve brought it.
func (c *connection) close() {
	if c.nc != nil {
		c.nc.Close()
	}
	if c.server != nil {
		c.server.Shutdown()
		c.server.WaitForShutdown()
	}
}

// serverURL is what workers connect to s by: the name of this machine if o.Listen is any address.
func serverURL(s *server.Server, o *ServeOptions) string {
	scheme := "nats"
	if o.TLSCert != "" {
		scheme = "tls"
	}
	addr := s.Addr().String()
	port := addr[strings.LastIndexByte(addr, ':'):]
	host, _, _ := strings.Cut(o.Listen, ":")
	if strings.HasPrefix(o.Listen, "[") {
		host = o.Listen[:strings.IndexByte(o.Listen, ']')+1]
	}
	if host == "" || host == "0.0.0.0" || host == "[::]" {
		host = "HOST"
		if name, err := os.Hostname(); err == nil && name != "" {
			host = name
		}
	}
	return scheme + "://" + host + port
}

// ignoreError ignores what NATS says beside its calls: what matters comes back as an error of a
// call. Without it NATS would print to stderr.
func ignoreError(*nats.Conn, *nats.Subscription, error) {}

// dial connects once. An error names url and says what to do.
func dial(url string, cred *credential, ca string, extra ...nats.Option) (*nats.Conn, error) {
	options := append([]nats.Option{
		nats.Name("advsweep"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.Timeout(5 * time.Second),
		nats.PingInterval(20 * time.Second),
	}, extra...)
	options = append(options, cred.options()...)
	if ca != "" {
		options = append(options, nats.RootCAs(ca))
	}
	nc, err := nats.Connect(url, options...)
	if err == nil {
		return nc, nil
	}
	return nil, explain(url, cred, ca, err)
}

// A permanentError is one of connecting that trying again does not help.
type permanentError struct{ error }

func (e permanentError) Unwrap() error { return e.error }

func explain(url string, cred *credential, ca string, err error) error {
	text := err.Error()
	switch {
	case refusedCredential(err) && cred.kind == noCredential:
		return permanentError{remedy.Want(remedy.Credential, fmt.Errorf("cluster: %s wants a credential: give a copy of the server's file", url))}
	case refusedCredential(err):
		return permanentError{remedy.Want(remedy.Credential, fmt.Errorf("cluster: %s refuses the credential in %s: want a copy of the server's file", url, cred.path))}
	case strings.Contains(text, "x509:") || strings.Contains(text, "certificate"):
		hint := "give the certificate of who signed the server's"
		if ca != "" {
			hint = "it is not signed by who is in " + ca + ", or not for that name"
		}
		err := fmt.Errorf("cluster: %s: its certificate is not trusted: %w; %s", url, err, hint)
		if ca == "" {
			err = remedy.Want(remedy.Authority, err)
		}
		return permanentError{err}
	case errors.Is(err, nats.ErrSecureConnWanted), strings.Contains(text, "secure connection not available"):
		return permanentError{remedy.Want(remedy.TLS, fmt.Errorf("cluster: %s does not offer TLS: start it with a certificate and a key, or use nats://", url))}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("cluster: no answer from %s: %w; is it a NATS server, and can it be reached from here?", url, err)
	}
	return fmt.Errorf("cluster: no answer from %s: %w", url, err)
}

func refusedCredential(err error) bool {
	if err == nil {
		return false
	}
	for _, one := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired, nats.ErrNkeysNotSupported} {
		if errors.Is(err, one) {
			return true
		}
	}
	return strings.Contains(strings.ToLower(err.Error()), "authorization violation")
}
