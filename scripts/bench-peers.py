"""What bench-peers.sh runs; that has the environment. Only the peers need more than Python's own library.

Our side of every row is 'advsweep sweep' with its defaults, a new process each turn:

  bench-peers.py --ours WORK [FLAG...]   one run of it; the last line is JSON, whose "ms" is what run.json says of the work alone
"""
import csv
import datetime
import functools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "peers"))
from works import WORKS

E = os.environ
OUT, MNIST, WEIGHTS, BINARY, PEERS = E["OUT"], E["MNIST"], E["WEIGHTS"], E["BINARY"], E["PEERS"]
THREADS = int(E.get("THREADS") or 2)
PYTHON = E.get("PYTHON") or os.path.join(E.get("VENV") or os.path.join(PEERS, ".venv"), "bin/python")  # as PEERS/run.sh
SELF = os.path.abspath(__file__)
MLP, CLIP = ["--model", WEIGHTS, "--data", MNIST], ["--bounds", "0,1"]
FEW, MANY = ["--n", "1000", "--eps", "0:0.5:0.025"], ["--n", "10000", "--eps", "0:0.5:0.005"]
FGSM, BIM = ["--attack", "fgsm"], ["--attack", "bim", "--steps", "5"]
TEMP = os.path.join(OUT, "tmp")  # on the disk where the build is
DENSE, CONV = os.path.join(OUT, "dense.safetensors"), os.path.join(OUT, "trained" if E.get("NETS") else "random")


# Each work: what a reader calls it, and the flags of 'advsweep sweep' but --backend, --threads and --out. All else is the default.
OURS = {
    "W1": ("FGSM, 1,000 images, 21 eps", MLP + FGSM + FEW),
    "W1b": ("FGSM, 1,000 images, 21 eps, clipped to [0, 1]", MLP + FGSM + FEW + CLIP),
    "W2": ("BIM k = 5, 1,000 images, 21 eps", MLP + BIM + FEW),
    "W2b": ("BIM k = 5, 1,000 images, 21 eps, clipped to [0, 1]", MLP + BIM + FEW + CLIP),
    "W3": ("FGSM, 10,000 images, 101 eps", MLP + FGSM + MANY),
    "large": ("FGSM, 10,000 images, 1,001 eps", MLP + FGSM + ["--n", "10000", "--eps", "0:0.5:0.0005"]),
    "cold": ("FGSM and BIM k = 5, 1,000 images, 21 eps", MLP + ["--attack", "fgsm,bim", "--steps", "5"] + FEW),
    "dense-W1": ("FGSM, 1,000 images, 21 eps, a model with 70 % of its units active", ["--model", DENSE, "--data", MNIST] + FGSM + FEW),
    "dense-W2": ("BIM k = 5, 1,000 images, 21 eps, a model with 70 % of its units active", ["--model", DENSE, "--data", MNIST] + BIM + FEW),
}


def pair(work):
    """The model and the images of a convolutional network, as peers/conv.py writes them."""
    return [os.path.join(CONV, name) for name in work.files()]


OURS.update({k: (w.title + ", clipped to [0, 1]", w.flags(*pair(w))) for k, w in WORKS.items() if w.k})

# What we want our time to be, as a part of the peer's.
TARGETS = {("W1", "jax-best-linear"): 1 / 4, ("W2", "jax-best"): 1 / 3, ("W3", "jax-best-linear"): 1 / 15,
           ("W1b", "torchattacks"): 1 / 12, ("W2b", "torchattacks"): 1 / 4.5}
CONV_TARGETS = {"cnn-fgsm": 5, "cnn-bim": 4, "vgg-bim3": 1.8, "vgg-bim10": 2.2, "resnet18-bim3": 1.5, "resnet18-bim10": 2, "resnet18-fgsm": 3, "silu-bim3": 1.4,
                "resnet18-224": 1.5, "mobilenet-bim3": 1.5, "resnet18-forward": 1.3}  # times as fast
versions, devices = {}, set()


def say(text):
    print(text, file=sys.stderr, flush=True)


def turns(default):
    return int(E.get("N") or default)


def last(text):
    return json.loads(text.strip().splitlines()[-1])


def note(row):
    with open(os.path.join(OUT, "lines.jsonl"), "a") as f:
        f.write(json.dumps(row) + "\n")
    say("  " + " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}" for k, v in row.items()))
    return row


def output(command, **env):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**E, **env})
    if r.returncode:
        raise ValueError(reason(r.stderr or r.stdout))
    return r.stdout


def reason(text):
    """The line of a failed program's output that says why: ours adds how to get help, Python ends with it."""
    found = [line for line in text.strip().splitlines() if not line.startswith("Run '")]
    return found[-1][-200:] if found else "no reason given"


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


def sweep(work, more=()):
    return [BINARY, "sweep", "-q", "--backend", "cpu", "--threads", str(THREADS), *OURS[work][1], *more]


def ours(work, more=()):
    """One run of the command, in a new folder."""
    with tempfile.TemporaryDirectory(dir=TEMP) as d:
        out = os.path.join(d, "out")
        wall, cpu, mib = process(sweep(work, more) + ["--out", out])
        with open(os.path.join(out, "run.json")) as f:
            run = json.load(f)
        with open(os.path.join(out, "curve.csv"), newline="") as f:
            correct = [int(row["correct"]) for row in csv.DictReader(f)]
        log = os.path.getsize(os.path.join(out, "chunks.log"))
    return dict(ms=run["seconds"]["compute"] * 1e3, correct=correct, device=run["device"], process_ms=wall * 1e3, cpu_s=cpu, mib=mib, log_bytes=log)


def reference(key):
    """Our counts as they must be, or None."""
    path = os.path.join(os.path.dirname(WEIGHTS), "reference.json")
    if not key or not os.path.exists(path):
        return None
    with open(path) as f:
        return json.load(f)["mlp"].get(key, {}).get("float64")


def off(want, got):
    return max(abs(a - b) for a, b in zip(want, got, strict=True))


def peer_run(peer, work, weights, pair, clock, n):
    """bench.py's line of a peer in turn with the shell command pair, or a ValueError."""
    command = [os.path.join(PEERS, "run.sh"), "--mnist", MNIST, "--weights", weights, "--peers", peer, "--works", work, "--threads", str(THREADS),
               "--pair", pair, "--pair-clock", clock] + (["--n", str(n)] if n else [])
    r = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    v = last(r.stdout) if r.stdout.strip() else dict(skipped=f"exit status {r.returncode}, see above")
    if "ratio" not in v:
        raise ValueError(v.get("skipped", "no ratio"))
    return v


def paired(work, peers, theirs, key=None, weights=WEIGHTS):
    """Each peer in turn with ours. theirs is the peer's name of the work. Returns the rows of the fastest peer and of those with a target."""
    rows, title = [], OURS[work][0]
    for peer in peers.split():
        with tempfile.NamedTemporaryFile("r") as seen:  # bench.py keeps the time alone
            pair = shlex.join([sys.executable, SELF, "--ours", work]) + " | tee -a " + shlex.quote(seen.name)
            try:
                v = peer_run(peer, theirs, weights, pair, "reported", E.get("N"))
            except ValueError as e:
                note(dict(title=title, peer=peer, skipped=f"{e}"))
                continue
            runs = [json.loads(line) for line in seen]
        versions.update(v["versions"])
        devices.add(runs[-1]["device"])
        row = dict(title=title, peer=peer, theirs=v["median_ms"], ours=v["pair"]["median_ms"], ratio=v["ratio"], n=v["n"])
        if want := reference(key):
            row["counts_off"] = max(off(want, r["correct"]) for r in runs)
        if target := TARGETS.get((work, peer)):
            row["target"] = f"{target:.3f}"
        rows.append(note(row))
    if not rows:
        row = dict(title=title, skipped="no peer ran: " + peers)
        try:
            all = [ours(work) for _ in range(turns(3))]
            row.update(ours=statistics.median(r["ms"] for r in all), our_process=statistics.median(r["process_ms"] for r in all))
        except ValueError as e:
            row["skipped"] += f"; nor did ours: {e}"
        return [note(row)]
    best = min(rows, key=lambda r: r["theirs"])
    rows = [r for r in rows if r is best or "target" in r]
    for r in rows:
        with tempfile.TemporaryDirectory(dir=TEMP) as d:  # $$ is another folder in each turn
            pair = f"exec {shlex.join(sweep(work))} --out {shlex.quote(d)}/$$ > {os.devnull}"
            try:
                v = peer_run(r["peer"], theirs, weights, pair, "process", turns(3))
            except ValueError as e:
                r["remark"] = f"no whole process: {e}"
                continue
        r.update(their_process=v["median_ms"], our_process=v["pair"]["median_ms"])
        note({k: r[k] for k in ("title", "peer", "their_process", "our_process")})
    return rows


def alternate(title, peer, n, our, their, warm=True):
    """Functions that return ms, in turn, the order swapped each time, after one turn for warmth if asked."""
    a, b = [], []
    try:
        for i in range(-1 if warm else 0, n):
            for times, f in ((a, our), (b, their))[::1 if i % 2 else -1]:
                time.sleep(0.3)
                ms = f()
                if i >= 0:
                    times.append(ms)
    except (subprocess.CalledProcessError, ValueError, IndexError, OSError) as e:
        return note(dict(title=title, peer=peer, skipped=f"{e}"))
    ours_ms, theirs = statistics.median(a), statistics.median(b)
    return note(dict(title=title, peer=peer, theirs=theirs, ours=ours_ms, ratio=ours_ms / theirs, n=n))


def walk():
    """How much the command does beside the walks that its exact curve consists of, and how it is without them."""
    rows = []
    for work, n in ("W1", 1000), ("W3", 10000):
        alone = [BINARY, "bench", "--once", "--works", f"Exact{n}", "--bounds", "none", "--backend", "cpu", "--threads", str(THREADS), *MLP]
        row = alternate(OURS[work][0], "here: its walks alone, warm", turns(5 if n == 1000 else 3), lambda: ours(work)["ms"], lambda: last(output(alone))["ms"])
        row["target"] = "1.15"
        rows += [row, alternate(OURS[work][0], "here: `--exact=false`", turns(3), lambda: ours(work)["ms"], lambda: ours(work, ["--exact=false"])["ms"])]
    return rows


def cold():
    use = {}

    def run(who, command):
        use.setdefault(who, []).append(process(command))
        return use[who][-1][0] * 1e3

    def our():
        with tempfile.TemporaryDirectory(dir=TEMP) as d:
            return run("here", sweep("cold") + ["--out", os.path.join(d, "out")])

    their = [os.path.join(PEERS, "run.sh"), "--mnist", MNIST, "--weights", WEIGHTS, "--peers", "jax-best", "--works", "W1,W2", "--once"]
    row = alternate(OURS["cold"][0], "jax-best", turns(3), our, lambda: run("it", their))
    if "skipped" not in row:
        row.update(their_process=row.pop("theirs"), our_process=row.pop("ours"), target="2 s, 256 MiB")
        med = {who: [statistics.median(t[i] for t in u) for i in range(3)] for who, u in use.items()}
        row["remark"] = "; ".join(f"{who} {m[1]:.2f} s of processor time, {m[2]:.0f} MiB" for who, m in med.items())
    return [row]


def large():
    """A sweep with many eps, ours alone."""
    title = OURS["large"][0]
    try:
        runs = [ours("large") for _ in range(turns(3))]
    except ValueError as e:
        return [note(dict(title=title, skipped=f"{e}"))]
    m = {k: statistics.median(r[k] for r in runs) for k in ("ms", "process_ms", "cpu_s", "mib", "log_bytes")}
    devices.add(runs[-1]["device"])
    remark = f"{m['cpu_s']:.3g} s of processor time, {m['mib']:.0f} MiB at the peak, records of {m['log_bytes'] / 1e6:.3g} MB"
    return [note(dict(title=title, ours=m["ms"], our_process=m["process_ms"], n=len(runs), remark=remark))]


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
        row = alternate("dense product [1000, 1024]·[1024, 1024] alone, no sweep", name, turns(5), our, their)
        if "ratio" in row:
            gflop = 2 * 1000 * 1024 * 1024 / 1e6
            row["remark"] = f"GFLOP/s: it {gflop / row['theirs']:.0f}, here {gflop / row['ours']:.0f}"
        rows.append(row)
    done = [r for r in rows if "ratio" in r]
    return done or rows[:1]


def dense():
    try:
        made = subprocess.run([PYTHON, os.path.join(os.path.dirname(SELF), "dense-model.py"), WEIGHTS, MNIST, DENSE], stderr=subprocess.PIPE, text=True, check=True)
        say(made.stderr)
    except (subprocess.CalledProcessError, OSError) as e:
        return [note(dict(title=OURS["dense-W1"][0], skipped=reason(getattr(e, "stderr", "") or str(e))))]
    rows = paired("dense-W1", "jax-best-linear torch-best-linear", "W1", weights=DENSE) + paired("dense-W2", "jax-best torch-best", "W2", weights=DENSE)
    for r in rows:
        r["target"] = "1.11"
    return rows


class Server:
    """A program that is warm, does its work once for each line that it is sent, and answers with a line of JSON."""

    def __init__(self, command):
        self.errors = tempfile.TemporaryFile("w+", dir=TEMP)
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.p.stdin.close()
        self.p.wait()
        self.p.stdout.close()
        self.errors.close()

    def answer(self):
        line = self.p.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise ValueError(reason(self.errors.read()))
        return json.loads(line)

    def ask(self, line):
        """The answer, with cpu_s, the processor time that it took."""
        start = self.cpu()
        try:
            self.p.stdin.write(line + "\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            pass  # answer says why
        return dict(self.answer(), cpu_s=self.cpu() - start)

    def cpu(self):
        """The processor seconds of all its threads so far, where the kernel tells."""
        try:
            with open(f"/proc/{self.p.pid}/stat") as f:
                user, system = f.read().rsplit(")", 1)[1].split()[11:13]
        except OSError:
            return float("nan")
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


# A variant of the other side that was slower than this, warm, takes no part in the turns.
SLOW = 1.15


def conv(work):
    """The other side of a convolutional network in one process, warm, in turn with ours: its variants within SLOW of its best, and the best of those
    without the tricks that conv_peers.py does not know. The row is that of the variant with the least median; the remark has the other ratio.
    """
    w, title = WORKS[work], WORKS[work].title + (", clipped to [0, 1]" if WORKS[work].k else "")
    script = [PYTHON, os.path.join(HERE, "peers/conv.py"), "--dir", CONV, "--work", work, "--threads", str(THREADS), "--mnist", MNIST, "--nets", E.get("NETS", "")]
    peer = "onnxruntime" if w.k == 0 else "torch"
    try:
        say("  writing the model and the images")
        output(script + ["--write"] + ([] if E.get("JUDGE", "1") != "0" else ["--no-judge"]))
        with open(os.path.join(CONV, work + ".json")) as f:
            truth = json.load(f)
        more = [] if E.get("COMPILE", "1") != "0" or w.k == 0 else ["--no-compile"]
        with Server(script + more) as theirs:
            first = theirs.answer()
            say(f"  {first}")
            versions.update(first["versions"])
            warm = first["variants"]
            kept = sorted((v for v in warm if warm[v] <= SLOW * min(warm.values()) or v == first["plain"]), key=warm.get)
            rows, cpu, found = in_turn(work, theirs, kept)
    except (ValueError, OSError) as e:
        return [note(dict(title=title, peer=peer, skipped=f"{e}"))]
    ms = {side: statistics.median(t) for side, t in rows.items()}
    cpu = {side: statistics.median(t) for side, t in cpu.items()}
    best = min(kept, key=ms.get)
    row = dict(title=title, peer=peer, theirs=ms[best], ours=ms["ours"], ratio=ms["ours"] / ms[best], n=len(rows["ours"]), target=f"{1 / CONV_TARGETS[work]:.3f}")
    row.update(ranges={side: [min(t), max(t)] for side, t in rows.items()}, cpu_s=cpu)
    row.update({k: found[k] for k in ("our_process",) if k in found})
    words = ["trained" if truth["trained"] else "random weights", best]
    if first["plain"] != best:
        words.append(f"{first['plain']}: {form(ms[first['plain']])} ms")
    words.append(f"ranges {span(rows[best])} and here {span(rows['ours'])}")
    if THREADS == 1:  # threads that wait for each other spin, so with more the processor time says little
        least = min(cpu[side] for side in kept)
        words.append(f"{least:.2f} s of processor time, here {cpu['ours']:.2f}{' with loading and writing' if w.k else ''}")
    row["remark"] = "; ".join(words + [agreement(found["ours"], found[best], truth["float64"])])
    return [note(row)]


def span(times):
    return f"{form(min(times))} to {form(max(times))}"


def in_turn(work, theirs, kept):
    """Milliseconds and processor seconds of each side, turn by turn, and what each found in its last one."""
    times, found, process = {side: [] for side in ["ours", *kept]}, {}, []
    cpu = {side: [] for side in times}

    def our():
        r = ours(work)
        devices.add(r["device"])
        process.append(r["process_ms"])
        found["our_process"] = statistics.median(process)
        return r

    def run(ask):
        for i in range(turns(3)):
            sides = list(times)
            for side in sides if i % 2 == 0 else sides[::-1]:
                time.sleep(0.3)
                r = ask() if side == "ours" else theirs.ask(side)
                times[side].append(r["ms"])
                cpu[side].append(r["cpu_s"])
                found[side] = r["correct"] if "correct" in r else r["logits"]

    if WORKS[work].k:
        run(our)
    else:
        with Server([os.path.join(OUT, "forward"), "-threads", str(THREADS), *pair(WORKS[work])]) as library:
            library.answer()  # it is warm
            run(lambda: library.ask(""))
    return times, cpu, found


def agreement(ours, theirs, truth):
    """What is to be said of the counts of a sweep, those of float64 None if nobody asked for them, or of logits [n, classes]."""
    if isinstance(ours[0], list):
        most = max(abs(v) for z in theirs for v in z)
        apart = max(abs(a - b) for y, z in zip(ours, theirs, strict=True) for a, b in zip(y, z, strict=True))
        same = sum(y.index(max(y)) == z.index(max(z)) for y, z in zip(ours, theirs, strict=True))
        return f"{same} of {len(ours)} classes are the same, logits differ by at most {apart / most:.1g} of the largest"
    if ours == theirs == truth:
        return "both sides' counts are float64's"
    if ours == theirs and truth is None:
        return f"counts are equal: {ours}"
    return f"COUNTS DIFFER: float64 {truth}, it {theirs}, here {ours}"


RUN = {
    "W1": lambda: paired("W1", "jax-best-linear torch-best-linear", "W1", "W1_unclipped"),
    "W1b": lambda: paired("W1b", "jax-best-bounded torchattacks foolbox", "W1", "W1_clipped"),
    "W2": lambda: paired("W2", "jax-best torch-best", "W2", "W2_unclipped"),
    "W2b": lambda: paired("W2b", "jax-best-bounded torchattacks foolbox", "W2", "W2_clipped"),
    "W3": lambda: paired("W3", "jax-best-linear", "W3", "W3_unclipped"),
    "large": large,
    "walk": walk,
    "cold": cold,
    "dense": dense,
    **{work: functools.partial(conv, work) for work in WORKS},
    "product": product,
}


def processor():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def form(ms):
    return "" if ms is None else f"{ms:,.0f}" if ms >= 1000 else f"{ms:.3g}"


def faster(theirs, ours):
    """How many times as fast ours is."""
    if theirs is None or ours is None:
        return ""
    return f"{theirs / ours:.1f}" if theirs >= ours else f"{theirs / ours:.2f}"


COLUMNS = ["work", "the other", "its ms", "here, ms", "times as fast", "whole process: its ms", "here, ms", "times as fast", "remarks"]


def name(peer):
    """What a reader calls it."""
    library = peer.split("-")[0]
    return {"jax": "JAX", "torch": "PyTorch", "foolbox": "Foolbox"}.get(library, peer)


def cells(r):
    remarks = ["skipped: " + r["skipped"]] if "skipped" in r else []
    if "counts_off" in r:
        remarks.append("counts are float64's" if r["counts_off"] == 0 else f"COUNTS OFF BY {r['counts_off']}")
    remarks += [r["remark"]] if "remark" in r else []
    figures = [r.get(k) for k in ("theirs", "ours", "their_process", "our_process")]
    return [r["title"], name(r.get("peer", "")), *map(form, figures[:2]), faster(*figures[:2]), *map(form, figures[2:]), faster(*figures[2:]), "; ".join(remarks)]


def main():
    chosen = (E.get("WORKS") or " ".join(RUN)).replace(",", " ").split()
    if unknown := set(chosen) - set(RUN):
        sys.exit(f"bench-peers.sh: WORKS: no {' '.join(sorted(unknown))}, want some of {' '.join(RUN)}")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    open(os.path.join(OUT, "lines.jsonl"), "w").close()
    load, rows = os.getloadavg()[0], []
    for w in chosen:
        say(f"== {w}")
        rows += RUN[w]()
    go = output([BINARY, "--version"]).strip()
    facts = [str(datetime.date.today()), f"{processor()}, {THREADS} processors ({', '.join(sorted(devices)) or 'kernel not told'})", go,
             *(f"{k} {v}" for k, v in sorted(versions.items())), f"Python {platform.python_version()}"]
    foot = "; ".join(facts) + ". Medians of runs in turn."
    if load > 0.5:
        foot += f" The machine was busy: load {load:.1f} before the first run."
    # The table on standard output has what is wanted of a row too: ratio and target are of our time to the other's, below 1 is faster.
    wide = [COLUMNS + ["ratio", "target"]] + [cells(r) + [f"{r['ratio']:.3f}" if "ratio" in r else "", r.get("target", "")] for r in rows]
    widths = [max(len(c[i]) for c in wide) for i in range(len(wide[0]))]
    for c in wide:
        print("  ".join(v.ljust(w) for v, w in zip(c, widths)).rstrip())
    print(foot)
    with open(os.path.join(OUT, "table.md"), "w") as f:
        for i, c in enumerate([COLUMNS] + [cells(r) for r in rows]):
            f.write("| " + " | ".join(v.replace("|", "\\|") for v in c) + " |\n" + ("|---|---|--:|--:|--:|--:|--:|--:|---|\n" if i == 0 else ""))
        f.write("\n" + foot + "\n")


if sys.argv[1:2] == ["--ours"]:
    print(json.dumps(ours(sys.argv[2], sys.argv[3:])))
else:
    main()
