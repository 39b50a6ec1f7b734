package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"advsweep/internal/words"
	"advsweep/study"

	"github.com/spf13/cobra"
)

// A settleVerb is 'advsweep settle' with its flags.
type settleVerb struct {
	shard int
	take  string // the beginning of a result's hash
	drop  string // a worker
	trust string // a worker
}

func newSettle() *cobra.Command {
	v := &settleVerb{}
	c := &cobra.Command{
		Use:   "settle DIR",
		Short: "Decide which result of a shard is right where machines disagree",
		Long: `Machines of equal arithmetic give equal bits. Where two did not, one of them computes wrong: both results are
kept, the shard counts as not done, and nothing is merged or reported. 'advsweep work', serve or run-shard has
the shard done once more; when two workers agree that no greater number contradicts, their result is believed,
the others are excluded, and what only these have found is done again.

settle does by hand what cannot wait for that. Without flags it lists what is disputed and who is excluded.
Nothing is deleted: what is not believed moves to settled/ and aside/ in the study's folder.`,
		Example: `  advsweep settle study
  advsweep settle study --shard 7 --take 3fa2
  advsweep settle study --drop node3-4711`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set := c.Flags().Changed
			switch {
			case set("shard") != set("take"):
				return usagef("--shard and --take go together")
			case set("take") && (set("drop") || set("trust")), set("drop") && set("trust"):
				return usagef("--take, --drop and --trust: one at a time")
			}
			return v.run(c, args[0])
		},
	}
	c.Flags().IntVar(&v.shard, "shard", 0, "`N`, the shard that --take is about")
	c.Flags().StringVar(&v.take, "take", "", "believe the result whose `RESULT` begins so, as the list names it")
	c.Flags().StringVar(&v.drop, "drop", "", "exclude `WORKER`: take none of its results, and do again what nobody else has found too")
	c.Flags().StringVar(&v.trust, "trust", "", "take results of `WORKER` again, which was excluded")
	return c
}

func (v *settleVerb) run(c *cobra.Command, dir string) error {
	folder, err := study.Open(dir, release)
	if err != nil {
		return err
	}
	out := c.OutOrStdout()
	if v.take == "" && v.drop == "" && v.trust == "" {
		st, err := folder.Status(time.Now())
		if err != nil {
			return err
		}
		if len(st.Trust.Disputes) == 0 && len(st.Trust.Excluded) == 0 {
			fmt.Fprintln(out, "nothing is disputed, and no worker is excluded")
			return nil
		}
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		printDisputes(w, st.Trust)
		return w.Flush()
	}
	unlock, err := folder.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	switch {
	case v.trust != "":
		if err := folder.Trust(v.trust); err != nil {
			return err
		}
		fmt.Fprintf(out, "results of %s are taken again\n", v.trust)
	case v.drop != "":
		opened, err := v.exclude(folder)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is excluded; %d shards are to be done again\n", v.drop, len(opened))
	default:
		settled, err := folder.Decide(v.shard, v.take)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "shard %d: result %s by %s is believed\n", v.shard, settled.Winner.Hash, settled.Winner.Author)
		for _, wrong := range settled.Wrong {
			fmt.Fprintf(out, "result %s by %s is not; 'advsweep settle %s --drop %s' has all else that only it found done again\n", wrong.Hash, wrong.Author, dir, wrong.Worker)
		}
	}
	return nil
}

// exclude excludes a worker that has done something in the study. A name that is mistyped is an
// error.
func (v *settleVerb) exclude(folder *study.Folder) ([]int, error) {
	st, err := folder.Status(time.Now())
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, p := range st.Trust.Prints {
		for _, w := range p.Workers {
			known[w] = true
		}
	}
	for _, d := range st.Trust.Disputes {
		for _, one := range d.Claims {
			known[one.Worker] = true
		}
	}
	for _, w := range st.Workers {
		known[w.Name] = true
	}
	gone, err := folder.Disbelieved()
	if err != nil {
		return nil, err
	}
	for _, w := range gone {
		known[w] = true
	}
	delete(known, "")
	if !known[v.drop] {
		names := slices.Sorted(maps.Keys(known))
		if len(names) == 0 {
			return nil, errors.New("no result of this study names a worker")
		}
		return nil, usagef("--drop %q: no worker of this study: %s", cell(v.drop), words.Or(names[:min(20, len(names))]))
	}
	return folder.Exclude(v.drop, "excluded by the user")
}

// printTrust writes what status says of the results beyond that they are there.
func printTrust(w io.Writer, dir string, t study.Trust) {
	if len(t.Prints) > 0 {
		fmt.Fprint(w, "\nfingerprint\tarithmetic\tshards\tworkers\tfirst shard\n")
	}
	for _, p := range t.Prints {
		who := "not known"
		if n := len(p.Workers); n > 3 {
			who = fmt.Sprintf("%d: %s, …", n, p.Workers[0])
		} else if n > 0 {
			who = words.And(p.Workers)
		}
		a := p.Arithmetic
		fmt.Fprintf(w, "%s\t%s %s\t%d\t%s\t%d\n", a.Fingerprint, a.Backend, a.MathMode, p.Shards, who, p.First)
	}
	printDisputes(w, t)
	if n := len(t.Damaged); n > 0 {
		fmt.Fprintf(w, "\n%d shards have files that are no results, and are done again: %s\n", n, some(t.Damaged))
	}
	if len(t.Disputes) > 0 {
		fmt.Fprintf(w, "\n'advsweep work', serve or run-shard has disputed shards done once more; 'advsweep settle %s' decides by hand\n", dir)
	}
}

// printDisputes writes what is disputed and who is excluded.
func printDisputes(w io.Writer, t study.Trust) {
	if len(t.Disputes) > 0 {
		fmt.Fprint(w, "\ndisputed\trun\tresult\tby\n")
	}
	for _, d := range t.Disputes {
		for _, one := range d.Claims {
			fmt.Fprintf(w, "shard %d\t%s\t%s\t%s\n", d.Shard, d.Run, one.Hash, one.Author)
		}
	}
	if len(t.Excluded) > 0 {
		fmt.Fprint(w, "\nexcluded\twhy\n")
	}
	for _, name := range slices.Sorted(maps.Keys(t.Excluded)) {
		fmt.Fprintf(w, "%s\t%s\n", name, t.Excluded[name])
	}
}

// some lists the first of many numbers.
func some(all []int) string {
	const most = 10
	var text []string
	for _, i := range all[:min(most, len(all))] {
		text = append(text, fmt.Sprint(i))
	}
	if n := len(all) - most; n > 0 {
		text = append(text, fmt.Sprintf("%d more", n))
	}
	return words.And(text)
}
