"""Writes the NPY and NPZ files beside it, byte for byte the same again, with NumPy 2.4.6: python arrays.py

Every element follows from its index in the array as [N, C, H, W] or [N, H, W], counted in C order:
uint8 i*7 mod 251, floats that divided by 256. dataset/npy_test.go computes the same.
"""
import io
import os
import zipfile

import numpy as np

os.chdir(os.path.dirname(os.path.abspath(__file__)))


def images(*shape):
    return (np.arange(np.prod(shape)) * 7 % 251).astype(np.uint8).reshape(shape)


def floats(dtype, *shape):
    return (images(*shape) / 256).astype(dtype)


gray, color = (5, 5, 6), (5, 3, 5, 6)
np.save("nhw_u1.npy", images(*gray))
np.save("nhw_u1_fortran.npy", np.asfortranarray(images(*gray)))
np.save("nhw_f4.npy", floats("<f4", *gray))
np.save("nhw_f4_big.npy", floats(">f4", *gray))
np.save("nhw_f8.npy", floats("<f8", *gray))
np.save("nchw_u1.npy", images(*color))
np.save("nchw_f4_fortran.npy", np.asfortranarray(floats("<f4", *color)))
np.save("nhwc_u1.npy", np.ascontiguousarray(images(*color).transpose(0, 2, 3, 1)))
np.save("nhwc_f8_fortran.npy", np.asfortranarray(floats("<f8", *color).transpose(0, 2, 3, 1)))
np.save("nhwc_one_channel.npy", images(*gray)[..., None])
np.save("nchw_one_channel.npy", images(*gray)[:, None])
with open("nhw_u1_version3.npy", "wb") as f:
    np.lib.format.write_array(f, images(*gray), version=(3, 0))

labels = np.arange(5) % 4
for dtype in "|i1 |u1 <i2 >u2 <i4 >i4 <u4 <i8 >i8 <u8".split():
    order = {"|": "", "<": "", ">": "_big"}[dtype[0]]
    np.save(f"labels_{dtype[1:]}{order}.npy", labels.astype(dtype))
np.save("labels_column.npy", labels[:, None])

# What the readers must refuse.
np.save("bad_f2.npy", floats("<f2", *gray))
np.save("bad_bool.npy", images(*gray) > 9)
np.save("bad_complex.npy", floats("<c8", *gray))
np.save("bad_text.npy", np.array(["a", "b"]))
np.save("bad_records.npy", np.zeros(3, [("x", "<f4"), ("y", "<i4")]))
np.save("bad_pickle.npy", np.array([None, 1]), allow_pickle=True)
np.save("bad_scalar.npy", np.float32(1))
np.save("bad_empty.npy", images(5, 5, 6)[:, :0])
np.save("bad_onehot.npy", np.eye(5, dtype=np.int64))


def savez(name, compress, **arrays):
    """numpy.savez, but with a fixed date, so that the file is the same again."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(name, "w", method) as z:
        for key, a in arrays.items():
            b = io.BytesIO()
            np.save(b, a)
            z.writestr(zipfile.ZipInfo(key + ".npy", (2026, 1, 1, 0, 0, 0)), b.getvalue(), method)


savez("images_labels.npz", False, images=floats("<f4", *color), labels=labels)
savez("keras.npz", True, x_train=images(7, 5, 6), y_train=np.arange(7) % 3, x_test=images(*gray), y_test=labels.astype("u1"))
savez("medmnist.npz", True, train_images=images(7, 5, 6), train_labels=(np.arange(7) % 3)[:, None],
      test_images=np.ascontiguousarray(images(*color).transpose(0, 2, 3, 1)), test_labels=labels[:, None])
np.savez("numpy_savez.npz", x=images(*gray), y=labels)  # as NumPy itself writes it: zip64 headers
np.savez_compressed("numpy_savez_compressed.npz", x=images(*gray), y=labels)
