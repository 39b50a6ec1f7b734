"""Answers of advsweep falsify to properties whose answers are proven.

usage: vnnlib.py ADVSWEEP VNN WORK [SECONDS [BENCHMARK ...]]

VNN has NAME.npz for each benchmark, with arrays by instance: net, prop, lo, hi [n, inputs], label
(a counterexample gives another class a logit as large) or target (it gives that class the largest),
and verdict; and the networks in nets. The properties are written to WORK in VNN-LIB, and asked on one
thread. A counterexample counts if onnxruntime, which reads the file alone, finds all that the property
asks for: inputs in the box to the bit of float32, and outputs within 1e-4 of what they are to be.
Exit code 1 if an answer contradicts what is proven, or a counterexample is none.
"""

import csv
import os
import re
import subprocess
import sys

import numpy as np
import onnxruntime


def write(path, lo, hi, label, target, classes):
    """Writes a property in VNN-LIB 1."""
    with open(path, "w") as f:
        for letter, n in (("X", len(lo)), ("Y", classes)):
            f.writelines(f"(declare-const {letter}_{i} Real)\n" for i in range(n))
        for i, (a, b) in enumerate(zip(lo, hi)):
            f.write(f"(assert (>= X_{i} {float(a)!r}))\n(assert (<= X_{i} {float(b)!r}))\n")
        if target >= 0:
            f.writelines(f"(assert (>= Y_{target} Y_{j}))\n" for j in range(classes) if j != target)
        else:
            f.write("(assert (or\n" + "".join(f"  (and (>= Y_{j} Y_{label}))\n" for j in range(classes) if j != label) + "))\n")


def accepted(network, path, lo, hi, label, target):
    """Says whether onnxruntime takes the file for a counterexample."""
    text = open(path).read()
    if not text.startswith("sat\n"):
        return False
    x = np.array([float(v) for v in re.findall(r"\(X_\d+ ([^)]+)\)", text)])
    y = np.array([float(v) for v in re.findall(r"\(Y_\d+ ([^)]+)\)", text)])
    if len(x) != len(lo) or not ((x >= lo) & (x <= hi)).all():
        return False
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    shape = [d if isinstance(d, int) and d > 0 else 1 for d in session.get_inputs()[0].shape]
    z = session.run(None, {session.get_inputs()[0].name: x.astype(np.float32).reshape(shape)})[0].ravel()
    if not np.allclose(z, y, rtol=1e-4, atol=1e-4):
        return False
    if target >= 0:
        return bool((z[target] >= z - 1e-4).all())
    return bool((np.delete(z, label) >= z[label] - 1e-4).any())


def main():
    program, vnn, work = sys.argv[1:4]
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 10
    names = sys.argv[5:] or sorted(f[:-4] for f in os.listdir(vnn) if f.endswith(".npz"))
    faults = 0
    print("| benchmark | proven safe | of them unsat | sat | known to be misread | of them sat | unsat | open | of them sat | unsat | counterexamples that onnxruntime accepts | seconds an instance |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    for name in names:
        z = np.load(os.path.join(vnn, name + ".npz"))
        folder = os.path.join(work, name)
        os.makedirs(folder, exist_ok=True)
        rows = []
        for i, net in enumerate(z["net"]):
            spec = f"{i:03d}.vnnlib"
            write(os.path.join(folder, spec), z["lo"][i], z["hi"][i], int(z["label"][i]), int(z["target"][i]), 10)
            rows.append([os.path.abspath(os.path.join(vnn, "nets", str(net))), spec, f"{seconds:g}"])
        with open(os.path.join(folder, "instances.csv"), "w", newline="") as f:
            csv.writer(f, lineterminator="\n").writerows(rows)
        out = os.path.join(folder, "answers")
        code = subprocess.run([program, "falsify", os.path.join(folder, "instances.csv"), "--threads", "1", "--backend", "cpu", "--out", out, "-q"], stdout=subprocess.DEVNULL).returncode
        if code not in (0, 10, 20):
            sys.exit(f"{program} falsify: exit code {code}")
        answers = list(csv.DictReader(open(os.path.join(out, "falsify.csv"))))
        count, good, took = {}, 0, 0.0
        for i, a in enumerate(answers):
            known = str(z["verdict"][i])
            count[known, a["answer"]] = count.get((known, a["answer"]), 0) + 1
            took += float(a["seconds"])
            if a["answer"] == "sat":
                good += accepted(rows[i][0], os.path.join(out, a["counterexample"]), z["lo"][i], z["hi"][i], int(z["label"][i]), int(z["target"][i]))
            if {known, a["answer"]} == {"sat", "unsat"}:
                print(f"{name} {i}: {a['answer']}, and it is proven to be {known}", file=sys.stderr)
                faults += 1
            if known == "sat" and a["answer"] == "unknown":
                print(f"{name} {i}: not found", file=sys.stderr)
        of = lambda known, answer: sum(n for (k, v), n in count.items() if k == known and answer in (None, v))
        sat = sum(n for (_, v), n in count.items() if v == "sat")
        faults += sat - good
        cells = [name, of("unsat", None), of("unsat", "unsat"), of("unsat", "sat"), of("sat", None), of("sat", "sat"), of("sat", "unsat"), of("unknown", None), of("unknown", "sat"), of("unknown", "unsat"), f"{good} of {sat}", f"{took / len(answers):.1f}"]
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    sys.exit(faults > 0)


if __name__ == "__main__":
    main()
