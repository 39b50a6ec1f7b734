"""check.py ZOO FOLDER: how many graphs of FOLDER, as ranks.py and graphs.py write them, the program ZOO (internal/zoo) reads as onnxruntime does.

It fails if one panics or differs, and lists why others are refused.
"""
import collections
import pathlib
import sys

from table import look, reason, right

if __name__ == "__main__":
    zoo, files = sys.argv[1], sorted(pathlib.Path(sys.argv[2]).glob("*.onnx"))
    rows = [r for i in range(0, len(files), 200) for r in look(zoo, files[i:i + 200])]
    wrong = [r for r in rows if "error" not in r and not right(r)]
    refused = collections.Counter(reason(r) for r in rows if "error" in r)
    print(f"{len(rows)} graphs: {len(rows) - len(wrong) - refused.total()} as onnxruntime, {refused.total()} refused, {len(wrong)} wrong")
    for why, n in refused.most_common():
        print(f"{n:6} {why}")
    for r in wrong:
        print(f"wrong: {r['file']}: {r.get('panic') or r['logits']}")
    sys.exit(bool(wrong))
