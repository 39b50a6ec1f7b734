"""What onnxruntime gives for the small graphs of ranks 2 to 6 beside this file.

    python make.py

ranks.json: for each NAME.onnx three images [3][...] as the file takes them, and the logits. The files were drawn at random: ones_*,
norm_*, add_5 and mul_3 made an earlier reader panic; scripts/zoo/ranks.py drew the others. twice_* change a number that two nodes take,
more_axes_* have constants of more axes than the image, group_19 has an operator that is out of date, fixed_* are for three images alone,
and any_* have many operators.
Made with Python 3.11, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6.
"""
import json
import pathlib

import numpy as np
import onnxruntime

here, everything = pathlib.Path(__file__).parent, []
for k, path in enumerate(sorted(here.glob("*.onnx"))):
    s = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    batch, *shape = s.get_inputs()[0].shape
    x = (np.random.RandomState(k).randint(0, 257, (3, *shape)) / 256).astype(np.float32)
    run = lambda v: s.run(None, {s.get_inputs()[0].name: v})[0]
    z = run(x) if batch != 1 else np.concatenate([run(v[None]) for v in x])
    everything.append(dict(name=path.stem, shape=shape, inputs=x.reshape(3, -1).tolist(), logits=z.astype(float).tolist()))
(here / "ranks.json").write_text("[\n" + ",\n".join(json.dumps(e, separators=(",", ":")) for e in everything) + "\n]\n")
