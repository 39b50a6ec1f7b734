package cluster

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"
)

// What a worker may do on the server. Whoever has the worker's credential can do this and no more:
// take shards, say what became of them, and read the plan, the models, the images and the state.
//
// The server that Serve brings has two accounts. The study's has the store, and one user, the
// coordinator. Workers are in another, which has no store: it imports the requests below. So the
// server answers a request to who made it, and to no subject that a worker names. In one account a
// worker could have an answer sent to the subject of a request that it may not make.

// A request is a subject that workers publish to.
type request struct {
	subject string
	answers answers
}

// answers is how many answers a request has.
type answers string

const (
	oneAnswer   answers = "singleton"
	manyAnswers answers = "stream"
)

// requests lists what workers of a study ask of the server and of the coordinator.
func (n names) requests() []request {
	shards, kv, objects, large := n.shardsStream(), "KV_"+n.bucket(), n.objects().stream(), n.resultObjects().stream()
	return []request{
		// Of use to nobody. But where it is not imported the server answers every request for a store
		// itself, with that this account has none.
		{"$JS.API.INFO", oneAnswer},
		// Find the study, and what it has.
		{"$JS.API.STREAM.LIST", oneAnswer},
		{"$JS.API.STREAM.INFO." + kv, oneAnswer},
		{"$JS.API.STREAM.INFO." + objects, oneAnswer},
		{"$JS.API.STREAM.INFO." + large, oneAnswer},
		{"$JS.API.CONSUMER.INFO." + shards + "." + workersName, oneAnswer},
		// Read the state, the plan and the inputs.
		{"$JS.API.DIRECT.GET." + kv + ".>", oneAnswer},
		{"$JS.API.DIRECT.GET." + objects, oneAnswer},
		{"$JS.API.DIRECT.GET." + objects + ".>", oneAnswer},
		// Take shards.
		{"$JS.API.CONSUMER.MSG.NEXT." + shards + "." + workersName, manyAnswers},
		{"$JS.ACK." + shards + "." + workersName + ".>", oneAnswer},
		// Say what became of them. Large results go through a store of their own.
		{n.result("*"), oneAnswer},
		{n.heartbeat(), oneAnswer},
		{"$JS.API.DIRECT.GET." + large + ".>", oneAnswer},
		{"$O." + n.resultObjects().name + ".C.*", oneAnswer},
		{"$O." + n.resultObjects().name + ".M.*", oneAnswer},
		{"$JS.API.STREAM.PURGE." + large, oneAnswer}, // what was sent of one that did not fit
	}
}

// The accounts of the server that Serve brings. Store files are under the name of the first.
const (
	studyAccount   = "study"
	workersAccount = "workers"
)

// maxStreams and maxConsumers bound what the coordinator itself makes, with room for repairs.
const (
	maxStreams   = 8
	maxConsumers = 16
)

// accounts are those of a server for the study n, in NATS's own language of configuration. They
// hold no secret: users are added to them.
func (n names) accounts() string {
	var exports, imports strings.Builder
	for _, r := range n.requests() {
		fmt.Fprintf(&exports, "\t\t{service: %q, response: %s, accounts: [%s]}\n", r.subject, r.answers, workersAccount)
		fmt.Fprintf(&imports, "\t\t{service: {account: %s, subject: %q}}\n", studyAccount, r.subject)
	}
	return fmt.Sprintf(`accounts {
	%s {
		jetstream {max_mem: 0, max_streams: %d, max_consumers: %d}
		exports [
%s		{stream: %q, accounts: [%s]}
		]
	}
	%s {
		imports [
%s		{stream: {account: %s, subject: %q}}
		]
	}
}
`, studyAccount, maxStreams, maxConsumers, &exports, n.state(), workersAccount, workersAccount, &imports, studyAccount, n.state())
}

// permissions are those of a worker's user. They keep workers from speaking to each other in the
// coordinator's name, which the accounts alone would not.
func (n names) permissions() *server.Permissions {
	p := &server.Permissions{Publish: &server.SubjectPermission{}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", n.state()}}}
	for _, r := range n.requests() {
		p.Publish.Allow = append(p.Publish.Allow, r.subject)
	}
	return p
}

// users adds to o the coordinator, who shows own, and the workers, who show cred.
func (n names) users(o *server.Options, own, cred *credential) error {
	byName := map[string]*server.Account{}
	for _, a := range o.Accounts {
		byName[a.Name] = a
	}
	o.Nkeys = []*server.NkeyUser{{Nkey: own.public, Account: byName[studyAccount]}}
	switch worker := byName[workersAccount]; cred.kind {
	case nkeyCredential:
		o.Nkeys = append(o.Nkeys, &server.NkeyUser{Nkey: cred.public, Account: worker, Permissions: n.permissions()})
	case passwordCredential:
		o.Users = []*server.User{{Username: cred.user, Password: cred.password, Account: worker, Permissions: n.permissions()}}
	default:
		return fmt.Errorf("cluster: a credential of kind %d, want an nkey or a password", cred.kind)
	}
	return nil
}
