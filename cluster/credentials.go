package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"advsweep/internal/regular"
	"advsweep/internal/remedy"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// A credential is what a file of credentials holds.
type credential struct {
	kind           credentialKind
	path           string
	seed           []byte // nkey
	public         string
	user, password string
}

type credentialKind int

const (
	noCredential credentialKind = iota
	nkeyCredential
	passwordCredential
	credsCredential // a JWT and its nkey, of a cluster that exists
)

// errEmpty is of a file of credentials that somebody is about to write, or was killed before.
var errEmpty = errors.New("it is empty: delete it, and a new one is made")

const credentialForms = "an nkey's seed (SU…), USER:PASSWORD on one line, or a .creds file"

// readCredential reads the file at path; "" is none. Its errors never hold what is in the file.
func readCredential(path string, log func(string, ...any)) (*credential, error) {
	c := &credential{path: path}
	if path == "" {
		return c, nil
	}
	data, err := regular.Read(path, 1<<16)
	var large *regular.TooLargeError
	if errors.As(err, &large) {
		return nil, fmt.Errorf("cluster: credentials %s: %w, want %s", path, err, credentialForms)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: credentials %s: %w", path, err)
	}
	if info, err := os.Stat(path); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		log("credentials %s: others can read it (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text := bytes.TrimSpace(data)
	if len(text) == 0 {
		return nil, fmt.Errorf("cluster: credentials %s: %w", path, errEmpty)
	}
	if bytes.Contains(text, []byte("BEGIN NATS USER JWT")) {
		c.kind = credsCredential
		return c, nil
	}
	if bytes.ContainsAny(text, "\r\n") {
		return nil, fmt.Errorf("cluster: credentials %s: several lines, want %s", path, credentialForms)
	}
	if user, password, ok := strings.Cut(string(text), ":"); ok && user != "" && password != "" {
		c.kind, c.user, c.password = passwordCredential, user, password
		return c, nil
	}
	pair, err := nkeys.FromSeed(text)
	if err != nil {
		return nil, fmt.Errorf("cluster: credentials %s: want %s", path, credentialForms)
	}
	if kind, _, err := nkeys.DecodeSeed(text); err != nil || kind != nkeys.PrefixByteUser {
		return nil, fmt.Errorf("cluster: credentials %s: the seed of an nkey that is no user's, want one that begins with SU", path)
	}
	c.kind, c.seed = nkeyCredential, text
	c.public, err = pair.PublicKey()
	return c, err
}

// awaitCredential reads the worker's file of credentials. Serve may be about to make it, so it waits
// for it as long as for a server that was never there.
func awaitCredential(ctx context.Context, stop <-chan struct{}, o *WorkOptions) (*credential, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	heed(ctx, stop, cancel)
	told := false
	for end := time.Now().Add(o.FirstPatience); ; {
		c, err := readCredential(o.Credentials, o.Log)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errEmpty) || time.Now().After(end) {
			return c, err
		}
		if !told {
			told = true
			o.Log("%v; waiting up to %v", err, o.FirstPatience)
		}
		if !pause(ctx, 100*time.Millisecond) {
			return nil, context.Cause(ctx)
		}
	}
}

// newCredential makes an nkey.
func newCredential() (*credential, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	c := &credential{kind: nkeyCredential}
	if c.seed, err = pair.Seed(); err != nil {
		return nil, err
	}
	c.public, err = pair.PublicKey()
	return c, err
}

// createCredential writes the seed of a new nkey to path, for its owner alone.
func createCredential(path string) error {
	c, err := newCredential()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		_, err = f.Write(append(c.seed, '\n'))
		if failed := f.Close(); err == nil {
			err = failed
		}
	}
	if err != nil {
		return fmt.Errorf("cluster: credentials %s: %w", path, regular.Cause(err))
	}
	return nil
}

// options are those of a client that shows c.
func (c *credential) options() []nats.Option {
	switch c.kind {
	case nkeyCredential:
		return []nats.Option{nats.Nkey(c.public, func(nonce []byte) ([]byte, error) {
			pair, err := nkeys.FromSeed(c.seed)
			if err != nil {
				return nil, err
			}
			return pair.Sign(nonce)
		})}
	case passwordCredential:
		return []nats.Option{nats.UserInfo(c.user, c.password)}
	case credsCredential:
		return []nats.Option{nats.UserCredentials(c.path)}
	}
	return nil
}

// checkURL refuses what would show a secret: to who lists processes, or to who listens on the
// network.
func checkURL(text string, cred *credential, ca string) error {
	for one := range strings.SplitSeq(text, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil {
			var inner *url.Error // whose text would hold the URL, and what it holds
			if errors.As(err, &inner) {
				err = inner.Err
			}
			return permanentError{fmt.Errorf("cluster: URL: %w; want one as in nats://HOST:4222", err)}
		}
		switch {
		case u.User != nil:
			return permanentError{remedy.Want(remedy.Credential, errors.New("cluster: the URL holds a user or password, which all users of this machine can read in its list of processes: write USER:PASSWORD to a file of mode 600, as the credential"))}
		case u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss" || u.Host == "":
			return permanentError{fmt.Errorf("cluster: URL %q, want one as in nats://HOST:4222 or tls://HOST:4222", one)}
		case u.Port() != "" && !isPort(u.Port()):
			return permanentError{fmt.Errorf("cluster: URL %q: port %s, want 1 to 65535", one, u.Port())}
		case cred.kind == passwordCredential && u.Scheme != "tls" && u.Scheme != "wss" && ca == "" && !loopback(u.Hostname()):
			return permanentError{remedy.Want(remedy.Authority, fmt.Errorf("cluster: %s: the password in %s would cross the network in the clear: use tls:// (and a certificate to trust), or an nkey, which is never sent", one, cred.path))}
		}
	}
	return nil
}

func isPort(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= 1 && n <= 65535
}

// loopback reports whether host is this machine and nothing else.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
