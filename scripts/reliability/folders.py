#!/usr/bin/env python3
"""Changes files of a study at random, and looks at what the program makes of them.

    folders.py ADVSWEEP N [SEED]

N times values of the plan are changed, and N times bytes of a shard's result: flipped, cut off or added. Then 'status'
and 'merge' must end soon, with an exit code of theirs, without a panic and without control characters in what they
print; and a merge that works must give the files of the right study. Prints two lines of internal/counts.
"""
import copy
import filecmp
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

LIMIT = 60  # seconds; a machine may be busy

STUDY = """name = "small"
attack = "fgsm,noise"
eps = "0:0.2:0.1"
seeds = [1, 2]
[[model]]
file = "mlp"
[[data]]
n = 20
[shards]
seconds = 0.01
"""

VALUES = [0, -1, 1, 2**31, 2**31 - 1, 2**53, 2**63 - 1, 2**63, 1e308, -1e308, 1e-320, 10**40, 0.1, None, True, [], {}, "", "x",
          "../../x", "/etc/passwd", "<script>", "a" * 100000, "\u202e", "..", "\x1b[31mred", "\u0663"]


def places(value, at=()):
    """All places in a JSON value, a few of each list."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:4]) if isinstance(value, list) else ()
    for key, inner in items:
        yield at + (key,)
        yield from places(inner, at + (key,))


def put(value, place, new):
    for key in place[:-1]:
        value = value[key]
    if new is VALUES:  # remove it
        del value[place[-1]]
    else:
        value[place[-1]] = new


class Kind:
    def __init__(self, name):
        self.name, self.tried, self.failed = name, 0, 0

    def bad(self, what):
        self.failed += 1
        print(f"folders.py: {self.name}: {what}", file=sys.stderr)

    def line(self):
        return json.dumps({"kind": self.name, "by": "folders.py", "tried": self.tried, "failed": self.failed})


def judge(advsweep, kind, note):
    """Runs status and merge on the folder work. Returns whether merge worked, or None if something is wrong."""
    done = False
    for verb in (["status", "work"], ["merge", "work", "--quiet"]):
        try:
            p = subprocess.run([advsweep, *verb], capture_output=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return kind.bad(f"{note}: {verb[0]} does not end in {LIMIT} s")
        text = (p.stdout + p.stderr).decode("utf-8", "replace")
        if p.returncode not in (0, 1, 2):
            return kind.bad(f"{note}: {verb[0]}: exit code {p.returncode}: {text[-200:]}")
        if "a bug in advsweep" in text or re.search(r"^goroutine ", text, re.M):
            return kind.bad(f"{note}: {verb[0]}: {text[:300]}")
        if "\x1b" in text:
            return kind.bad(f"{note}: {verb[0]} prints a control character")
        if len(text) > 50000:
            return kind.bad(f"{note}: {verb[0]} prints {len(text)} bytes")
        done = p.returncode == 0
    return done


def same(a, b):
    """Whether two folders hold the same files with the same bytes."""
    names = [sorted(os.path.relpath(p, d) for p in glob.glob(d + "/**", recursive=True) if os.path.isfile(p)) for d in (a, b)]
    return names[0] == names[1] and all(filecmp.cmp(f"{a}/{n}", f"{b}/{n}", shallow=False) for n in names[0])


def fresh():
    shutil.rmtree("work", ignore_errors=True)
    shutil.copytree("done", "work")


def main():
    advsweep, n = os.path.abspath(sys.argv[1]), int(sys.argv[2])
    random.seed(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    plans, results = Kind("plans"), Kind("results")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("study.toml", "w") as f:
            f.write(STUDY)
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run([advsweep, "plan", "study.toml", "--out", "done", "--quiet"], **quiet)
        subprocess.run([advsweep, "work", "done", "--threads", "1", "--quiet"], **quiet)
        shutil.move("done/runs", "right")
        with open("done/plan.json") as f:
            plan = json.load(f)
        at = list(places(plan))
        for _ in range(n):
            fresh()
            changed, note = copy.deepcopy(plan), []
            for _ in range(random.choice([1, 1, 2])):
                place, new = random.choice(at), random.choice(VALUES + [VALUES])
                try:
                    put(changed, place, new)
                except (KeyError, IndexError, TypeError):
                    continue  # what was changed before is not there any more
                note.append((place, "removed" if new is VALUES else str(new)[:20]))
            with open("work/plan.json", "w") as f:
                json.dump(changed, f, indent=1)
            plans.tried += 1
            # A plan of its own may be good, and then its runs are others: only what it prints is judged.
            judge(advsweep, plans, note)
        for _ in range(n):
            fresh()
            path = random.choice(sorted(glob.glob("work/shards/*/*")))
            with open(path, "rb") as f:
                data = bytearray(f.read())
            how = random.choice(["flip", "cut", "add"])
            k = random.randrange(len(data))
            if how == "flip":
                data[k] ^= random.randrange(1, 256)
            elif how == "cut":
                del data[k:]
            else:
                data += os.urandom(1 + k)
            with open(path, "wb") as f:
                f.write(data)
            results.tried += 1
            note = f"{how} at {k} of {os.path.basename(path)}"
            if judge(advsweep, results, note) and not same("work/runs", "right"):
                results.bad(f"{note}: merged to other files")
        os.chdir("/")
    print(plans.line())
    print(results.line())


main()
