"""export.py DIR [NAME ...]: exports the architectures of archs.py, each in a process of its own, with what onnxruntime and PyTorch say.

DIR/NAME.onnx           float32, written as people write it: BatchNorm folded where the exporter folds it
DIR/NAME_dynamo.onnx    the same by the dynamo exporter, for those that both write
DIR/NAME_float64.onnx   the same module in float64, BatchNorm not folded: every constant is what PyTorch computes with
DIR/*.npz               beside each: x [B, 3, H, W]; labels [B]; of a float32 file runtime [B, 10], the logits of onnxruntime;
                        of a float64 file logits and gradient, of the cross-entropy, by PyTorch in float64
DIR/exports.json        of each file how it was made, or the error that the export ended in

ZOO_JOBS processes run at a time (1). A file that is there already is kept.
"""
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

WANTED = 60
PARTS = ("float32", "float64", "dynamo")
SUFFIX = {"float32": "", "float64": "_float64", "dynamo": "_dynamo"}


def part(out, name, kind):
    """Exports one file; in a process of its own."""
    import numpy as np
    import torch

    from archs import ARCHS, SPARE
    from common import export, gradient, off, picture, runtime, settle

    torch.set_num_threads(1)
    a = {**ARCHS, **SPARE}[name]
    x = picture(name, 8, a.size)
    model, _, spread = settle(a.build, x, name)
    x = x[:1] if a.fixed else x[:2]
    exporter = "dynamo" if kind == "dynamo" else a.exporter
    opset = a.opset if exporter == "script" else 18
    path = out / f"{name}{SUFFIX[kind]}.onnx"
    with torch.no_grad():
        labels = model(torch.tensor(x).float()).argmin(1).tolist()  # the class least believed in: no gradient vanishes
    if kind == "float64":
        export(model.double(), x, path, exporter, opset, not a.fixed, plain=True)
        z, g = gradient(model, x, labels)
        more = dict(logits=z, gradient=g)
    else:
        proto = export(model, x, path, exporter, opset, not a.fixed)
        z = runtime(path, x)
        with torch.no_grad():
            away = off(z, model.double()(torch.tensor(x)).numpy())
        assert away < 1e-3, f"onnxruntime is {away:.1e} of the largest logit away from PyTorch"
        more = dict(runtime=z)
    np.savez(path.with_suffix(".npz"), x=x, labels=np.array(labels, np.int32), **more)
    row = dict(source=a.source, exporter=exporter, opset=opset, fixed=a.fixed, size=a.size, spread=spread, bytes=path.stat().st_size)
    if kind != "float64":
        row.update(runtime_off=away, operators=sorted({n.op_type for n in proto.graph.node}))
    print(json.dumps(row))


def run(out, name, kind):
    """Returns what exports.json says of a file, after exporting it in a process."""
    start = time.time()
    try:
        p = subprocess.run([sys.executable, __file__, "--part", out, name, kind], capture_output=True, text=True, timeout=600)
        lines = (p.stdout if p.returncode == 0 else p.stderr).strip().splitlines()
        row = json.loads(lines[-1]) if p.returncode == 0 else dict(error=next((l for l in reversed(lines) if "Error" in l), lines[-1] if lines else f"exit {p.returncode}")[:200])
    except subprocess.TimeoutExpired:
        row = dict(error="no end after 600 s")
    row["seconds"] = round(time.time() - start)
    if "error" in row:
        for end in (".onnx", ".npz"):
            pathlib.Path(out, name + SUFFIX[kind] + end).unlink(missing_ok=True)
    print(f"{name} {kind}: {row.get('error') or str(row['bytes']) + ' bytes'}, {row['seconds']} s", flush=True)
    return row


def all_of(out, names):
    from archs import ARCHS, SPARE
    out.mkdir(parents=True, exist_ok=True)
    index = out / "exports.json"
    rows = json.loads(index.read_text()) if index.exists() else {}
    pool = concurrent.futures.ThreadPoolExecutor(int(os.environ.get("ZOO_JOBS", 1)))

    def do(wanted, kind):
        def one(name):
            key = name + SUFFIX[kind]
            if "bytes" not in rows.get(key, {}) or not (out / f"{key}.npz").exists():
                rows[key] = run(str(out), name, kind)
                index.write_text(json.dumps(rows, indent=0, sort_keys=True))
        list(pool.map(one, wanted))
        return [n for n in wanted if "bytes" in rows[n + SUFFIX[kind]]]

    have = do(names or list(ARCHS), "float32")
    for spare in () if names else SPARE:
        if len(have) >= WANTED:
            break
        have += do([spare], "float32")
    do(have, "float64")
    do([n for n in have if {**ARCHS, **SPARE}[n].also], "dynamo")


if __name__ == "__main__":
    if sys.argv[1] == "--part":
        part(pathlib.Path(sys.argv[2]), *sys.argv[3:])
    else:
        all_of(pathlib.Path(sys.argv[1]), sys.argv[2:])
