package cluster

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/nats.md anew")

// TestNatsDoc holds docs/nats.md to what workers ask of a server. "go test ./cluster -run
// TestNatsDoc -update" writes it anew.
func TestNatsDoc(t *testing.T) {
	n := names{"ID"}
	var publish strings.Builder
	p := n.permissions()
	for _, subject := range p.Publish.Allow {
		fmt.Fprintf(&publish, "\t\t%q\n", subject)
	}
	want := fmt.Sprintf(`# A study on a NATS server of your own

<!-- Written by TestNatsDoc of package cluster. -->

`+"`advsweep serve DIR --nats URL`"+` uses a server that exists, with JetStream. What follows is for whoever runs that server. ID
stands for the study's id, which serve prints.

The coordinator's user makes streams, consumers and object stores whose names begin with `+"`advsweep-ID`"+`, writes to them, and
removes them at the end. Workers need a user of their own. If they have the coordinator's, each of them can do all that.

The server inside `+"`serve`"+` has two accounts, and a server of your own can have the same. Only the first has a store, and
its user is the coordinator. Workers' users are in the second. So an answer goes to who asked: in one account a worker
can have an answer of the server sent to any subject, the permissions below notwithstanding.

`+"```text"+`
%s`+"```"+`

These are the permissions of a worker's user. In one account with the coordinator they keep a worker from what it could
do by mistake.

`+"```text"+`
permissions {
	publish {allow: [
%s	]}
	subscribe {allow: [%q, %q]}
}
`+"```"+`

Bound the store of the first account too (`+"`jetstream {max_file: ...}`"+`). The server inside `+"`serve`"+` gives large results
half of its store, and bounds messages (8 MiB), connections and subscriptions.
`, n.accounts(), &publish, p.Subscribe.Allow[0], p.Subscribe.Allow[1])
	path := filepath.Join("..", "docs", "nats.md")
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf("%s is not what workers ask for: write it anew with -update", path)
	}
}
