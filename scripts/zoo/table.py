"""table.py ZOO EXPORTS GRAPHS OUT: what the program ZOO (internal/zoo) says of all files, as the table OUT in Markdown.

EXPORTS is the folder that export.py wrote, GRAPHS that of graphs.py. What ZOO says of a file of EXPORTS is kept in results.json there,
and is not asked again until ZOO is another program. It fails unless enough of the architectures load, everything that loads is right, and no
random graph is wrong. ZOO_JOBS processes run at a time (1).
"""
import collections
import concurrent.futures
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import subprocess
import sys
import threading

import onnx

LOGITS, GRADIENT = 1e-5, 1e-9  # as the text below says: largest differences, of the largest logit and of the largest element of the gradient
LOAD, OF = 54, 60              # architectures
LIMIT = 1200                   # seconds for one file


def look(zoo, files):
    """What zoo says of files. One that does not end, or ends the process, is said to panic."""
    try:
        p = subprocess.run([zoo, *map(str, files)], capture_output=True, text=True, timeout=LIMIT)
        rows = [json.loads(line) for line in p.stdout.splitlines()]
        why = (p.stderr.strip().splitlines() or [f"exit {p.returncode}"])[0]
    except subprocess.TimeoutExpired:
        rows, why = [], f"no end after {LIMIT} s"
    return rows + [dict(file=str(f), panic=why) for f in files[len(rows):]]


def right(row):
    """Whether a file that was read gives what it should."""
    return "panic" not in row and row["logits"] <= (LOGITS if row["gradient"] is None else GRADIENT) and (row["gradient"] or 0) <= GRADIENT


def reason(row):
    """Why a file was refused, without what only this file has: its path, its names and its numbers."""
    text = row["error"].replace(f"model: {row['file']}: ", "")
    graph = onnx.load(row["file"], load_external_data=False).graph
    for name in sorted({s for n in graph.node for s in (n.name, *n.output) if s}, key=len, reverse=True):
        text = text.replace(f" {name}:", ":")
    return re.sub(r"\d+", "#", text.split(", want only")[0])[:120]


def cell(row, key="logits"):
    if row is None:
        return "–"
    if "panic" in row:
        return "**panic**"
    if "error" in row:
        return "refused"
    text = f"{row[key]:.0e}".replace("e-0", "e-").replace("e+00", "")
    return text if right(row) else f"**{text}**"


def main(zoo, exports, graphs, out):
    made = json.loads((exports / "exports.json").read_text())
    keys = sorted(k for k in made if "bytes" in made[k])
    jobs = concurrent.futures.ThreadPoolExecutor(int(os.environ.get("ZOO_JOBS", 1)))
    index = exports / "results.json"
    before = json.loads(index.read_text()) if index.exists() else {}
    writing = threading.Lock()
    program = hashlib.sha256(pathlib.Path(zoo).read_bytes()).hexdigest()
    results = before["architectures"] if before.get("program") == program else {}

    def one(k):
        if k not in results:
            row = look(zoo, [exports / f"{k}.onnx"])[0]
            with writing:
                results[k] = row
                index.write_text(json.dumps(dict(program=program, architectures=results), indent=0, sort_keys=True))
        r = results[k]
        print(f"{k}: {r.get('panic') or r.get('error') or (r['logits'], r['gradient'])}", flush=True)

    list(jobs.map(one, keys))
    drawn = json.loads((graphs / "graphs.json").read_text())
    files = [graphs / f"{k}.onnx" for k in sorted(drawn)]
    random = {pathlib.Path(r["file"]).stem: r for rows in jobs.map(lambda i: look(zoo, files[i:i + 50]), range(0, len(files), 50)) for r in rows}

    names = [k for k in keys if k + "_float64" in made and not k.endswith(("_float64", "_dynamo"))]
    names = sorted((k for k in names if "bytes" in made[k + "_float64"]), key=lambda k: (made[k]["source"], k))
    loaded = [k for k in names if "logits" in results[k] and "error" not in results[k] and "panic" not in results[k]]
    of_name = [results[k] for n in names for k in (n, n + "_float64", n + "_dynamo") if k in results]
    wrong = [r["file"] for r in of_name if "error" not in r and not right(r)]
    failed = {k: v["error"] for k, v in made.items() if "error" in v}
    refused = {k: r for k, r in random.items() if "error" in r}
    mismatches = {k: r for k, r in random.items() if "error" not in r and not ("panic" not in r and r["logits"] <= LOGITS)}
    both = [n for n in names if n + "_dynamo" in results]
    versions = ", ".join(f"{m} {importlib.metadata.version(m).split('+')[0]}" for m in ("torch", "torchvision", "timm", "onnx", "onnxscript", "onnxruntime"))

    text = f"""# The zoo

Made by `make zoo`, which exports networks with random weights and compares what advsweep reads from the files with what others
compute ({versions}). Nothing here is part of the tests: those have shrunk networks of the same families.

**{len(loaded)} of {len(names)} architectures load.** {len(names) - len({k for n in names for k in (n, n + '_float64', n + '_dynamo') if k in results and ('error' in results[k] or not right(results[k]))})} of them agree in every file. {len(both)} were written by both of PyTorch's
exporters, {sum(made[n]['fixed'] for n in names)} for a batch of one image alone.

- *logits*: in float32, of the file as exporters write it (BatchNorm folded): the largest difference from onnxruntime, at most 1e-5 of
  the largest logit. *runtime* is how far onnxruntime itself is from PyTorch's float64.
- *dynamo*: the same of the file of the dynamo exporter (opset 18).
- *gradient*: in float64, of the same network in a float64 file: the largest difference of the gradient of the cross-entropy with respect
  to the image from PyTorch's float64, at most 1e-9 of its largest element.

| architecture | from | exporter, opset | image | logits | runtime | dynamo | gradient |
|---|---|---|---|---|---|---|---|
"""
    for n in names:
        m = made[n]
        text += (f"| {n} | {m['source']} | {m['exporter']}, {m['opset']} | {m['size']}×{m['size']}{', batch 1' if m['fixed'] else ''} | {cell(results[n])} | {m['runtime_off']:.0e} | "
                 f"{cell(results.get(n + '_dynamo'))} | {cell(results[n + '_float64'], 'gradient')} |\n".replace("e-0", "e-"))
    text += "\nNetworks of RobustBench, and those of timm that would take more than some 100 MB, are cut in depth. Classes are ten.\n"
    stopped = {k: reason(results[k]) for n in names for k in (n, n + "_float64", n + "_dynamo") if k in results and "error" in results[k]}
    if stopped:
        text += "\n## Refused\n\n| file | why |\n|---|---|\n" + "".join(f"| {k} | {v.replace('|', '¦')} |\n" for k, v in sorted(stopped.items()))
    if failed:
        text += "\n## Not exported\n\nPyTorch's exporter refused these; others take their place.\n\n| file | why |\n|---|---|\n" + "".join(f"| {k} | {v.replace('|', '¦')} |\n" for k, v in sorted(failed.items()))
    operators = sorted({o for r in drawn.values() for o in r["operators"]})
    opsets = sorted({r["opset"] for r in drawn.values()})
    text += f"""
## Random graphs

{len(drawn)} graphs over {len(operators)} operators, opsets {opsets[0]} to {opsets[-1]}: {len(drawn) - len(refused) - len(mismatches)} agree with onnxruntime, {len(refused)} are refused, **{len(mismatches)} differ**.
"""
    if mismatches:
        text += "\nThose that differ: " + ", ".join(f"{k} ({cell(r)})" for k, r in sorted(mismatches.items())) + ".\n"
    if refused:
        text += "\n| refused | why |\n|---|---|\n" + "".join(f"| {c} | {t.replace('|', '¦')} |\n" for t, c in collections.Counter(map(reason, refused.values())).most_common())
    text += "\nOperators: " + ", ".join(operators) + ".\n"
    out.write_text(text)
    print(text[text.index("**"):text.index("- *logits*")], text[text.index("## Random"):].split("Operators:")[0], sep="\n")
    problems = []
    if len(names) < OF:
        problems.append(f"{len(names)} architectures were exported, want {OF}")
    if len(loaded) < LOAD:
        problems.append(f"{len(loaded)} architectures load, want at least {LOAD}")
    if wrong:
        problems.append(f"{len(wrong)} files differ: {' '.join(wrong)}")
    if mismatches:
        problems.append(f"{len(mismatches)} random graphs differ, want 0")
    sys.exit("\n".join(problems))


if __name__ == "__main__":
    main(str(pathlib.Path(sys.argv[1]).resolve()), *map(pathlib.Path, sys.argv[2:]))
