"""What bench-peers.sh runs; that has the environment. Only the peers need more than Python's own library."""
import datetime
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

E = os.environ
OUT, MNIST, WEIGHTS, BINARY, PEERS = E["OUT"], E["MNIST"], E["WEIGHTS"], E["BINARY"], E["PEERS"]
THREADS = int(E.get("THREADS") or 2)
PYTHON = E.get("PYTHON") or os.path.join(E.get("VENV") or os.path.join(PEERS, ".venv"), "bin/python")  # as PEERS/run.sh
SCRIPTS = os.path.dirname(os.path.abspath(__file__))
WORKS = "W1 W1b W2 W2b W3 exact cold product dense".split()
lines = open(os.path.join(OUT, "lines.jsonl"), "w")
versions, devices = {}, set()


def say(text):
    print(text, file=sys.stderr, flush=True)


def turns(default):
    return int(E.get("N") or default)


def ours(work, bounds, weights, more=""):
    return (f"{shlex.quote(BINARY)} bench --once --works {work} --bounds {bounds} --backend cpu --threads {THREADS} "
            f"--model {shlex.quote(weights)} --data {shlex.quote(MNIST)} {more}")


def last(text):
    return json.loads(text.strip().splitlines()[-1])


def note(row):
    lines.write(json.dumps(row) + "\n")
    lines.flush()
    say("  " + " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items() if k not in ("ours_info", "correct", "title")))
    return row


def reference(key):
    """Our counts as they must be, or None."""
    path = os.path.join(os.path.dirname(WEIGHTS), "reference.json")
    if not key or not os.path.exists(path):
        return None
    with open(path) as f:
        return json.load(f)["mlp"].get(key, {}).get("float64")


# What we want ratios to be, by row and peer.
TARGETS = {("W1", "jax-best-linear"): 1 / 4, ("W2", "jax-best"): 1 / 3, ("W3", "jax-best-linear"): 1 / 15,
           ("W1 clipped to [0, 1]", "torchattacks"): 1 / 12, ("W2 clipped to [0, 1]", "torchattacks"): 1 / 4.5}


def paired(title, work, bounds, peers, weights=WEIGHTS, key=None):
    """Each peer in turn with ours, by bench.py. Returns the rows of the fastest and of those with a target."""
    rows = []
    for peer in peers.split():
        with tempfile.NamedTemporaryFile("r") as seen:  # bench.py keeps the time alone
            command = [os.path.join(PEERS, "run.sh"), "--mnist", MNIST, "--weights", weights, "--peers", peer, "--works", work,
                       "--threads", str(THREADS), "--pair", f"{ours(work, bounds, weights)} | tee {seen.name}"]
            r = subprocess.run(command + (["--n", E["N"]] if E.get("N") else []), stdout=subprocess.PIPE, text=True)
            v, text = (last(r.stdout) if r.stdout.strip() else dict(skipped=f"exit status {r.returncode}, see above")), seen.read()
        if "ratio" not in v:
            note(dict(title=title, peer=peer, skipped=v.get("skipped", "no ratio")))
            continue
        versions.update(v["versions"])
        info = last(text)
        devices.add(info["device"])
        want = reference(key)
        row = dict(title=title, peer=peer, theirs=v["median_ms"], ours=v["pair"]["median_ms"], ratio=v["ratio"], n=v["n"], ours_info=info)
        if want:
            row["counts_off"] = max(abs(a - b) for a, b in zip(want, info["correct"], strict=True))
        rows.append(note(row))
    if rows:
        best = min(rows, key=lambda r: r["theirs"])
        for r in rows:
            if target := TARGETS.get((title, r["peer"])):
                r["target"] = f"{target:.3f}"
        return [r for r in rows if r is best or "target" in r]
    row = dict(title=title, skipped="no peer ran: " + peers)
    try:
        row["ours"] = last(output(shlex.split(ours(work, bounds, weights, f"--count {turns(3)}"))))["ms"]
    except ValueError as e:
        row["skipped"] += f"; nor did ours: {e}"
    return [note(row)]


def alternate(title, peer, n, our, their):
    """Functions that return ms, in turn, the order swapped each time, after one turn for warmth."""
    a, b = [], []
    try:
        for i in range(-1, n):
            for times, f in ((a, our), (b, their))[::1 if i % 2 else -1]:
                time.sleep(0.3)
                ms = f()
                if i >= 0:
                    times.append(ms)
    except (subprocess.CalledProcessError, ValueError, IndexError, OSError) as e:
        return note(dict(title=title, peer=peer, skipped=f"{e}"))
    ours_ms, theirs = statistics.median(a), statistics.median(b)
    return note(dict(title=title, peer=peer, theirs=theirs, ours=ours_ms, ratio=ours_ms / theirs, n=n))


def output(command, **env):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**E, **env})
    if r.returncode:
        raise ValueError(reason(r.stderr or r.stdout))
    return r.stdout


def reason(text):
    """The line of a failed program's output that says why: ours adds how to get help, Python ends with it."""
    found = [line for line in text.strip().splitlines() if not line.startswith("Run '")]
    return found[-1][-200:] if found else "no reason given"


def exact(n, work):
    once = lambda w: last(output(shlex.split(ours(w, "none", WEIGHTS))))["ms"]
    return alternate(f"exact curve, N = {n:,}", f"our own {work}", turns(5 if n == 1000 else 3), lambda: once(f"Exact{n}"), lambda: once(work))


def process(command):
    """Wall and processor seconds and MiB at the peak of a whole process and its children."""
    start = time.perf_counter()
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    text = p.stderr.read()
    _, status, use = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if p.returncode:
        raise ValueError(reason(text.decode()))
    return wall, use.ru_utime + use.ru_stime, use.ru_maxrss / 1024


def cold():
    title, use = "cold process, W1 + W2, CSV and PNG", {}

    def run(who, command):
        use.setdefault(who, []).append(process(command))
        return use[who][-1][0] * 1e3

    def our():
        with tempfile.TemporaryDirectory() as d:
            return run("ours", [BINARY, "sweep", "--attack", "fgsm,bim", "--steps", "5", "--eps", "0:0.5:0.025", "--n", "1000", "--backend", "cpu",
                                "--threads", str(THREADS), "--model", WEIGHTS, "--data", MNIST, "--out", os.path.join(d, "out"), "-q"])

    their = [os.path.join(PEERS, "run.sh"), "--mnist", MNIST, "--weights", WEIGHTS, "--peers", "jax-best", "--works", "W1,W2", "--once"]
    row = alternate(title, "jax-best, which writes no files", turns(3), our, lambda: run("theirs", their))
    med = {who: [statistics.median(t[i] for t in u) for i in range(3)] for who, u in use.items()}
    if "ours" in med:
        row["remark"] = "; ".join(f"{who} {m[1]:.2f} s of processor time, {m[2]:.0f} MiB" for who, m in med.items())
        row["target"] = "2 s, 256 MiB"
    return row


PRODUCT = """
import sys, time
def clock(f):
    t = []
    for i in range(60):
        s = time.perf_counter(); f(); t.append(time.perf_counter() - s)
    print(1e3 * sorted(t[10:])[25])
m, k, n = 1000, 1024, 1024
if sys.argv[1] == "numpy":
    import numpy as np
    r = np.random.default_rng(1)
    a, b, c = r.random((m, k), np.float32), r.random((k, n), np.float32), np.empty((m, n), np.float32)
    clock(lambda: np.matmul(a, b, out=c))
else:
    import torch
    torch.set_num_threads(int(sys.argv[2]))
    a, b = torch.rand(m, k), torch.rand(n, k)
    if sys.argv[1] == "oneDNN":
        packed = torch.ops.mkldnn._reorder_linear_weight(b, m)
        f = lambda: torch.ops.mkldnn._linear_pointwise(a, packed, None, "none", [], "")
        assert torch.allclose(f(), a @ b.T, rtol=1e-4)
        clock(f)
    else:
        bt = b.T.contiguous()
        clock(lambda: torch.mm(a, bt))
"""


def product():
    def our():
        text = output([os.path.join(OUT, "gemm.test"), "-test.run", "^$", "-test.bench", "^BenchmarkProduct", "-test.benchtime", "60x"], GOMAXPROCS=str(THREADS))
        words = next(line for line in text.splitlines() if "ns/op" in line).split()
        return float(words[words.index("ns/op") - 1]) / 1e6

    names = {"numpy": "OpenBLAS (numpy)", "torch": "torch.mm", "oneDNN": "oneDNN, packed (torch)"}
    rows = []
    for lib, name in names.items():
        threads = str(THREADS)
        their = lambda: float(output([PYTHON, "-c", PRODUCT, lib, threads], OPENBLAS_NUM_THREADS=threads, OMP_NUM_THREADS=threads))
        row = alternate("product [1000, 1024]·[1024, 1024]", name, turns(5), our, their)
        if "ratio" in row:
            gflop = 2 * 1000 * 1024 * 1024 / 1e6
            row["remark"] = f"GFLOP/s: theirs {gflop / row['theirs']:.0f}, ours {gflop / row['ours']:.0f}"
        rows.append(row)
    done = [r for r in rows if "ratio" in r]
    return done or rows[:1]


def dense():
    path = os.path.join(OUT, "dense.safetensors")
    try:
        say(subprocess.run([PYTHON, os.path.join(SCRIPTS, "dense-model.py"), WEIGHTS, MNIST, path], stderr=subprocess.PIPE, text=True, check=True).stderr)
    except (subprocess.CalledProcessError, OSError) as e:
        return [note(dict(title="model with 70 % active", skipped=reason(getattr(e, "stderr", "") or str(e))))]
    rows = (paired("W1, 70 % of units active", "W1", "none", "jax-best-linear torch-best-linear", path) +
            paired("W2, 70 % of units active", "W2", "none", "jax-best torch-best", path))
    for r in rows:
        r["target"] = "1.11"
    return rows


RUN = {
    "W1": lambda: paired("W1", "W1", "none", "jax-best-linear torch-best-linear", key="W1_unclipped"),
    "W1b": lambda: paired("W1 clipped to [0, 1]", "W1", "0,1", "jax-best-bounded torchattacks foolbox", key="W1_clipped"),
    "W2": lambda: paired("W2", "W2", "none", "jax-best torch-best", key="W2_unclipped"),
    "W2b": lambda: paired("W2 clipped to [0, 1]", "W2", "0,1", "jax-best-bounded torchattacks foolbox", key="W2_clipped"),
    "W3": lambda: paired("W3", "W3", "none", "jax-best-linear", key="W3_unclipped"),
    "exact": lambda: [exact(1000, "W1-grid"), exact(10000, "W3-grid")],
    "cold": lambda: [cold()],
    "product": product,
    "dense": dense,
}


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def form(ms):
    return "" if ms is None else f"{ms:,.0f}" if ms >= 1000 else f"{ms:.4g}"


def table(rows):
    cells = [("work", "peer", "its ms", "our ms", "ratio", "target", "remark")]
    for r in rows:
        info, remarks = r.get("ours_info", {}), []
        if "skipped" in r:
            cells.append((r["title"], r.get("peer", ""), "", form(r.get("ours")), "", "", "skipped: " + r["skipped"]))
            continue
        if info.get("route") == "exact":
            remarks.append("exact route")
        if "counts_off" in r:
            remarks.append("counts are float64's" if r["counts_off"] == 0 else f"COUNTS OFF BY {r['counts_off']}")
        if info.get("done_gflops"):
            remarks.append(f"{info['done_gflops']:.0f} GFLOP/s")
        remarks += [r["remark"]] if "remark" in r else []
        cells.append((r["title"], r["peer"], form(r["theirs"]), form(r["ours"]), f"{r['ratio']:.3f}", r.get("target", ""), "; ".join(remarks)))
    return cells


def main():
    chosen = (E.get("WORKS") or " ".join(WORKS)).replace(",", " ").split()
    if unknown := set(chosen) - set(WORKS):
        sys.exit(f"bench-peers.sh: WORKS: no {' '.join(sorted(unknown))}, want some of {' '.join(WORKS)}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    load, rows = os.getloadavg()[0], []
    for w in chosen:
        say(f"== {w}")
        rows += RUN[w]()
    cells = table(rows)
    go = output([BINARY, "--version"]).strip()
    facts = [str(datetime.date.today()), f"{processor()}, {THREADS} processors ({', '.join(sorted(devices)) or 'kernel not told'})", go,
             *(f"{k} {v}" for k, v in sorted(versions.items())), f"Python {platform.python_version()}"]
    foot = "; ".join(facts) + ". Medians of runs in turn, all warm but for the cold process; ratio is ours / theirs, below 1 is faster."
    if load > 0.5:
        foot += f" The machine was busy: load {load:.1f} before the first run."
    widths = [max(len(c[i]) for c in cells) for i in range(7)]
    for c in cells:
        print("  ".join(v.ljust(w) for v, w in zip(c, widths)).rstrip())
    print(foot)
    with open(os.path.join(OUT, "table.md"), "w") as f:
        for i, c in enumerate(cells):
            f.write("| " + " | ".join(v.replace("|", "\\|") for v in c) + " |\n" + ("|---|---|---|---|---|---|---|\n" if i == 0 else ""))
        f.write("\n" + foot + "\n")


main()
