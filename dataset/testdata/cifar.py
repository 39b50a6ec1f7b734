"""Writes cifar_pN.pickle and cifar100.pickle: three images as the batches of CIFAR's Python version.

Made with NumPy 2.4.6 and Python 3.11: python cifar.py. Pixel j of image i is (31*i + 7*j) mod 256, as
in load_test.go. Protocol 2 is written as Python 2 wrote the files that are given out: strings are bytes.
"""
import os
import pickle

import numpy as np

os.chdir(os.path.dirname(os.path.abspath(__file__)))
data = ((31 * np.arange(3)[:, None] + 7 * np.arange(3072)) % 256).astype(np.uint8)
for protocol in range(1, 6):
    batch = {b"batch_label": b"testing batch 1 of 1", b"labels": [9, 0, 1], b"data": data, b"filenames": [b"a.png", b"b.png", b"c.png"]}
    with open(f"cifar_p{protocol}.pickle", "wb") as f:
        pickle.dump(batch, f, protocol)
with open("cifar100.pickle", "wb") as f:
    pickle.dump({"filenames": ["a", "b", "c"], "fine_labels": [99, 0, 7], "coarse_labels": [1, 2, 3], "data": data}, f, 4)


def text(s):
    """A string of Python 2: SHORT_BINSTRING, or BINSTRING."""
    return b"U" + bytes([len(s)]) + s if len(s) < 256 else b"T" + len(s).to_bytes(4, "little") + s


# As cPickle of Python 2 and NumPy 1 wrote it, opcode by opcode.
batch = (
    b"\x80\x02}q\x01(" + text(b"data") + b"cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85" + text(b"b") + b"\x87R"
    + b"(K\x01K\x03M\x00\x0c\x86cnumpy\ndtype\nq\x04" + text(b"u1") + b"K\x00K\x01\x87R(K\x03" + text(b"|")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text(data.tobytes()) + b"tb"
    + text(b"labels") + b"]q\x05(K\x09K\x00K\x01eu."
)
loaded = pickle.loads(batch, encoding="bytes")
assert (loaded[b"data"] == data).all() and loaded[b"labels"] == [9, 0, 1]
with open("cifar_python2.pickle", "wb") as f:
    f.write(batch)
