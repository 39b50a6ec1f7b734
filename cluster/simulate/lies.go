package simulate

import (
	"bytes"
	"maps"
	"slices"

	"advsweep/cluster/protocol"
	"advsweep/record"
	"advsweep/study"
)

// A lie is what a worker sends in the place of m, a result. r is what is in m.
type lie func(m *member, msg protocol.Message, r *study.Result) []protocol.Message

// lieTable holds all ways to lie, by name. Names end up in names of workers.
var lieTable = map[string]lie{
	"damaged": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Body = bytes.Clone(msg.Body)
		msg.Body[m.w.s.rng.IntN(len(msg.Body))] ^= 1 << m.w.s.rng.IntN(8)
		return []protocol.Message{msg}
	},
	"cut": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Body = msg.Body[:m.w.s.rng.IntN(len(msg.Body))]
		return []protocol.Message{msg}
	},
	"wrong": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		r.Chunks = m.w.truth.wrong[m.number][msg.Shard]
		return m.sends(msg, r)
	},
	"once": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		if !m.lied {
			m.lied = true
			r.Chunks = m.w.truth.wrong[m.number][msg.Shard]
		}
		return m.sends(msg, r)
	},
	"often": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		if m.w.s.chance(0.5) {
			r.Chunks = m.w.truth.wrong[m.number][msg.Shard]
		}
		return m.sends(msg, r)
	},
	"nonsense": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		for i := range r.Chunks {
			r.Chunks[i] = []byte("nothing that a chunk finds")
		}
		return m.sends(msg, r)
	},
	"strange": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		r.Chunks = m.w.truth.wrong[m.number][msg.Shard] // other bits, and so another fingerprint
		return m.sends(msg, r)
	},
	"unplanned": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		r.Arithmetic.MathMode = "tf32"
		return m.sends(msg, r)
	},
	"idle": func(*member, protocol.Message, *study.Result) []protocol.Message { return nil },
	"other-shard": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		other := m.w.s.rng.IntN(len(m.w.truth.Shards))
		if data, err := r.Encode(m.w.truth.Shards[other].ID); err == nil {
			msg.Body = data
		}
		return []protocol.Message{msg}
	},
	"other-study": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		if data, err := r.Encode("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"); err == nil {
			msg.Body = data
		}
		return []protocol.Message{msg}
	},
	"many": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		return []protocol.Message{msg, msg, msg, msg}
	},
	"forged": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		r.Chunks = m.w.truth.wrong[m.number][msg.Shard]
		r.Confirmed = []study.Author{{Worker: "honest-0", Machine: "m0"}, {Worker: "honest-1", Machine: "m0"}}
		return m.sends(msg, r)
	},
	"another": func(m *member, msg protocol.Message, r *study.Result) []protocol.Message {
		r.Chunks = m.w.truth.wrong[m.number][msg.Shard]
		r.By.Worker = "honest-0"
		return m.sends(msg, r)
	},
	"failer": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Kind, msg.Attempts, msg.Body = protocol.KindFailed, 1000, []byte("no")
		return []protocol.Message{msg}
	},
	"no-object": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Object, msg.Body = "result-nowhere", nil
		return []protocol.Message{msg}
	},
	"thief": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		names := slices.Sorted(maps.Keys(m.w.server.store.objects))
		if len(names) > 0 {
			msg.Object, msg.Body = names[m.w.s.rng.IntN(len(names))], nil
		}
		return []protocol.Message{msg}
	},
	"bad-name": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Worker, msg.Body = "../../no name", []byte("no result")
		return []protocol.Message{msg}
	},
	"back": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Kind, msg.Sequence = protocol.KindBack, uint64(m.w.s.rng.IntN(100))
		return []protocol.Message{msg}
	},
	"unknown": func(m *member, msg protocol.Message, _ *study.Result) []protocol.Message {
		msg.Kind = "do what I say"
		return []protocol.Message{msg}
	},
}

// lieNames lists lieTable, in an order that does not change.
var lieNames = []string{"damaged", "cut", "wrong", "wrong", "once", "often", "nonsense", "strange", "unplanned", "idle", "other-shard", "other-study", "many", "forged", "another", "failer", "no-object", "thief", "bad-name", "back", "unknown"}

// lies returns what m sends in the place of msg.
func (m *member) lies(msg protocol.Message) []protocol.Message {
	if m.lie == "" || msg.Kind != protocol.KindResult {
		return []protocol.Message{msg}
	}
	r, err := study.DecodeResult(m.w.truth.Shards[msg.Shard], msg.Body)
	if err != nil {
		m.w.s.fail("a worker makes a result that is none: %v", err)
		return nil
	}
	r.Chunks = append([][]byte(nil), r.Chunks...)
	m.w.s.count("lies")
	return lieTable[m.lie](m, msg, r)
}

// sends returns msg with r in it.
func (m *member) sends(msg protocol.Message, r *study.Result) []protocol.Message {
	data, err := r.Encode(m.w.truth.Shards[msg.Shard].ID)
	if err != nil {
		m.w.s.fail("encode: %v", err)
	}
	msg.Body = data
	return []protocol.Message{msg}
}

// arithmetic is what m says that it computes with.
func (m *member) arithmetic() record.Arithmetic {
	a := m.w.truth.arithmetic
	if m.lie == "strange" {
		a.Fingerprint = "00000000000000aa"
	}
	return a
}
