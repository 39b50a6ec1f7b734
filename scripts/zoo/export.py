"""export.py DIR [NAME ...]: exports the architectures of archs.py, each in a process of its own, with what onnxruntime and PyTorch say.

DIR/NAME.onnx           float32, written as people write it: BatchNorm folded where the exporter folds it
DIR/NAME_float64.onnx   the same module in float64, BatchNorm not folded: every constant is what PyTorch computes with
DIR/NAME_dynamo.onnx    the float32 module by the dynamo exporter, for those that both write
DIR/*.npz               beside each: x [B, 3, H, W]; labels [B]; of a float32 file runtime [B, 10], the logits of onnxruntime;
                        of a float64 file logits and gradient, of the cross-entropy, by PyTorch in float64
DIR/exports.json        of each file how it was made, or the error that the export ended in

ZOO_JOBS processes run at a time (1). A file that is there already is kept.
"""
import concurrent.futures
import json
import multiprocessing
import os
import pathlib
import sys
import threading
import time

import numpy as np
import torch

from archs import ARCHS, SPARE
from common import export, gradient, off, picture, runtime, settle

WANTED = 60
LIMIT = 900  # seconds for one process
SUFFIX = {"float32": "", "float64": "_float64", "dynamo": "_dynamo"}


def part(out, name, kinds):
    """Exports the files of the given kinds, and writes NAME.json for each: the row of exports.json. It runs in a process of its own."""
    a = {**ARCHS, **SPARE}[name]
    torch.set_num_threads(1)
    x = picture(name, 8, a.size)
    first = out / f"{name}.npz"  # of the float32 file
    known = np.load(first).get("calm") if first.exists() else None
    model, calm, spread = settle(a.build, x, name, known if known is None else float(known[0]))
    x = x[:1] if a.fixed else x[:2]
    with torch.no_grad():
        labels = model(torch.tensor(x).float()).argmin(1).tolist()  # the class least believed in: no gradient vanishes
    for kind in kinds:
        start = time.time()
        path = out / f"{name}{SUFFIX[kind]}.onnx"
        # The dynamo exporter writes numbers of Python as float32 into a float64 file.
        exporter = {"dynamo": "dynamo", "float64": "script", "float32": a.exporter}[kind]
        opset = a.opset if exporter == "script" else 18
        row = dict(source=a.source, exporter=exporter, opset=opset, fixed=a.fixed, size=a.size, spread=spread)
        try:
            if kind == "float64":
                export(model.double(), x, path, exporter, opset, not a.fixed, plain=True)
                z, g = gradient(model, x, labels)
                more = dict(logits=z, gradient=g)
            else:
                proto = export(model.float(), x, path, exporter, opset, not a.fixed)
                z = runtime(path, x)
                with torch.no_grad():
                    row["runtime_off"] = off(z, model.double()(torch.tensor(x)).numpy())
                row["operators"] = sorted({n.op_type for n in proto.graph.node})
                if row["runtime_off"] > 1e-3:
                    raise ValueError(f"onnxruntime is {row['runtime_off']:.1e} of the largest logit away from PyTorch")
                more = dict(runtime=z, calm=np.array([calm], np.float64))
            np.savez(path.with_suffix(".npz"), x=x, labels=np.array(labels, np.int32), **more)
            row["bytes"] = path.stat().st_size
        except Exception as e:
            row["error"] = f"{type(e).__name__}: {e}".splitlines()[0][:200]
            path.unlink(missing_ok=True)
        row["seconds"] = round(time.time() - start)
        path.with_suffix(".json").write_text(json.dumps(row))


def run(out, name, kinds):
    """Returns the rows of exports.json by their keys, after exporting in a process."""
    p = multiprocessing.get_context("fork").Process(target=part, args=(out, name, kinds))
    p.start()
    p.join(LIMIT)
    if p.exitcode is None:
        p.kill()
        p.join()
    rows = {}
    for kind in kinds:
        key = name + SUFFIX[kind]
        said = out / f"{key}.json"
        rows[key] = json.loads(said.read_text()) if said.exists() else dict(error=f"the process ended with {p.exitcode}")
        said.unlink(missing_ok=True)
        print(f"{key}: {rows[key].get('error') or str(rows[key]['bytes']) + ' bytes'}, {rows[key].get('seconds', LIMIT)} s", flush=True)
    return rows


def main(out, names):
    out.mkdir(parents=True, exist_ok=True)
    index = out / "exports.json"
    rows = json.loads(index.read_text()) if index.exists() else {}
    writing = threading.Lock()
    pool = concurrent.futures.ThreadPoolExecutor(int(os.environ.get("ZOO_JOBS", 1)))

    def one(name, kinds):
        kinds = [k for k in kinds if "bytes" not in rows.get(name + SUFFIX[k], {}) or not (out / f"{name}{SUFFIX[k]}.npz").exists()]
        if kinds:
            new = run(out, name, kinds)
            with writing:
                rows.update(new)
                index.write_text(json.dumps(rows, indent=0, sort_keys=True))
        return name

    def do(wanted, *kinds):
        return [n for n in pool.map(lambda n: one(n, kinds), wanted) if all("bytes" in rows[n + SUFFIX[k]] for k in kinds)]

    have = do(names or list(ARCHS), "float32", "float64")
    for spare in () if names else SPARE:
        if len(have) < WANTED:
            have += do([spare], "float32", "float64")
    do([n for n in have if {**ARCHS, **SPARE}[n].also], "dynamo")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
