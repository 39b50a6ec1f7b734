"""Writes pictures/, and pictures.npz with what Pillow reads of each and makes of some of them.

Made with Pillow 13.0.0 and NumPy 2.4.6: python pictures.py. The arrays of pictures.npz are
  NAME              uint8 [H, W] or [H, W, 3], or of 16 bits uint16, as Pillow decodes pictures/NAME;
                    transparent pixels are laid over white: (v*a + 255*(255 - a))/255, rounded
  resize_HxW_NAME   that, resized by Pillow's bilinear filter (which reduces with antialiasing)
  grey_NAME         that, as Image.convert("L") makes it
"""
import os
import struct
import zlib

import numpy as np
from PIL import Image

os.chdir(os.path.dirname(os.path.abspath(__file__)))
os.makedirs("pictures", exist_ok=True)
rng = np.random.default_rng(1)
H, W = 11, 14
# Smooth, with one hard edge of colour: what encoders of photographs meet.
y, x = np.mgrid[:H, :W]
rgb = np.stack([20 + 15 * x, 30 + 18 * y, 200 - 6 * x - 8 * y], 2).clip(0, 255).astype(np.uint8)
rgb[:5, :6] = (230, 40, 60)
grey = rgb[..., 1]
noise = rng.integers(0, 256, (H, W, 3), dtype=np.uint8)
alpha = (17 * x + 3 * y).clip(0, 255).astype(np.uint8)
out = {}


def white(a, alpha, most=255):
    alpha = alpha.astype(np.int64)
    alpha = alpha if a.ndim == 2 else alpha[..., None]
    return ((a.astype(np.int64) * alpha + (most - alpha) * most + most // 2) // most).astype(a.dtype)


def save(name, image, expected, **options):
    image.save("pictures/" + name, **options)
    out[name] = expected


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png16(name, a, kind):
    """Pillow writes no RGB of 16 bits."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in a)
    head = struct.pack(">IIBBBBB", a.shape[1], a.shape[0], 16, kind, 0, 0, 0)
    with open("pictures/" + name, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


save("rgb.png", Image.fromarray(rgb), rgb)
save("noise.png", Image.fromarray(noise), noise)
save("grey.png", Image.fromarray(grey), grey)
one = Image.fromarray(grey).point(lambda v: 255 * (v > 99)).convert("1")
save("bits1.png", one, np.array(one.convert("L")))
for bits in (2, 4):
    levels = grey >> (8 - bits)
    rows = b""
    for row in levels:
        text = "".join(format(v, f"0{bits}b") for v in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
    head = struct.pack(">IIBBBBB", W, H, bits, 0, 0, 0, 0)
    with open(f"pictures/bits{bits}.png", "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    out[f"bits{bits}.png"] = np.array(Image.open(f"pictures/bits{bits}.png").convert("L"))
    assert (out[f"bits{bits}.png"] == levels * (255 // (2**bits - 1))).all()
palette = Image.fromarray(rgb).quantize(16)
save("palette.png", palette, np.array(palette.convert("RGB")))
save("palette_clear.png", palette, white(np.array(palette.convert("RGB")), 255 * (np.array(palette) != 3)), transparency=3)
save("rgba.png", Image.fromarray(np.dstack([rgb, alpha])), white(rgb, alpha))
save("rgba_opaque.png", Image.fromarray(np.dstack([rgb, 0 * alpha + 255])), rgb)
save("la.png", Image.fromarray(np.dstack([grey, alpha])), white(grey, alpha))
wide = (noise.astype(np.uint16) << 8) + noise[::-1]
wide_alpha = alpha.astype(np.uint16) * 257
png16("grey16.png", wide[..., 0], 0)
out["grey16.png"] = wide[..., 0]
assert (np.array(Image.open("pictures/grey16.png")) == wide[..., 0]).all()
png16("rgb16.png", wide, 2)
out["rgb16.png"] = wide
png16("rgba16.png", np.dstack([wide, wide_alpha]), 6)
out["rgba16.png"] = white(wide.astype(np.int64), wide_alpha, 65535).astype(np.uint16)

for name, options in {
    "rgb444.jpg": dict(quality=90, subsampling=0),
    "rgb422.jpg": dict(quality=90, subsampling=1),
    "rgb420.jpg": dict(quality=90, subsampling=2),
    "progressive.jpg": dict(quality=75, progressive=True),
}.items():
    Image.fromarray(rgb).save("pictures/" + name, **options)
    out[name] = np.array(Image.open("pictures/" + name))
Image.fromarray(grey).save("pictures/grey.jpg", quality=90)
out["grey.jpg"] = np.array(Image.open("pictures/grey.jpg"))

save("rgb24.bmp", Image.fromarray(rgb), rgb)
save("grey8.bmp", Image.fromarray(grey), grey)
save("palette8.bmp", palette, np.array(palette.convert("RGB")))

save("lossless.webp", Image.fromarray(rgb), rgb, lossless=True)
save("lossless_alpha.webp", Image.fromarray(np.dstack([rgb, alpha])), white(rgb, alpha), lossless=True, exact=True)
Image.fromarray(rgb).save("pictures/lossy.webp", quality=90)
out["lossy.webp"] = np.array(Image.open("pictures/lossy.webp").convert("RGB"))
Image.fromarray(np.dstack([rgb, alpha])).save("pictures/lossy_alpha.webp", quality=90, exact=True)
a = np.array(Image.open("pictures/lossy_alpha.webp"))
out["lossy_alpha.webp"] = white(a[..., :3], a[..., 3])

for name in ("noise.png", "grey.png"):
    image = Image.open("pictures/" + name)
    for h, w in ((7, 9), (5, 14), (22, 20), (11, 3)):
        out[f"resize_{h}x{w}_{name}"] = np.array(image.resize((w, h), Image.BILINEAR))
out["grey_noise.png"] = np.array(Image.fromarray(noise).convert("L"))
np.savez_compressed("pictures.npz", **out)
