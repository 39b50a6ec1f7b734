"""Makes golden-32.npy and golden-28.npy: what the libraries of the script that made CIFAR-10-C say of
the corruptions that draw nothing. Each file is an image and then contrast, brightness, pixelate and
zoom_blur of it, at severities 1 to 5 each: [21, H, W, C] of uint8.

Made with Python 3.11, numpy 2.4.6, scipy 1.17.1, pillow 13.0.0, scikit-image 0.26.0 by
    python golden.py
The constants are those of make_cifar_c.py in github.com/hendrycks/robustness, commit ca360085d579.
Bytes are numpy.uint8 of 255 times a pixel, as there: what follows the point is cut off.
"""

import math

import numpy as np
from PIL import Image
from scipy.ndimage import zoom
from skimage.color import hsv2rgb, rgb2hsv


def contrast(v, c):
    m = v.mean(axis=(0, 1), keepdims=True)
    return (v - m) * c + m


def brightness(v, c):
    grey = v.shape[2] == 1
    hsv = rgb2hsv(np.repeat(v, 3, axis=2) if grey else v)
    hsv[..., 2] = np.minimum(hsv[..., 2] + c, 1)
    out = hsv2rgb(hsv)
    return out[..., :1] if grey else out


def pixelate(v, c):
    side = v.shape[0]
    levels = np.rint(v * 255).astype(np.uint8)
    picture = Image.fromarray(levels[..., 0] if v.shape[2] == 1 else levels)
    small = picture.resize((int(side * c),) * 2, Image.BOX)
    return np.array(small.resize((side, side), Image.BOX)).reshape(v.shape) / 255


def zoom_blur(v, c):
    v = v.astype(np.float32)
    side, total, factors = v.shape[0], v.copy(), np.arange(1, c, 0.01)
    for z in factors:
        cut = math.ceil(side / z)
        at = (side - cut) // 2
        large = zoom(v[at:at + cut, at:at + cut], (z, z, 1), order=1)
        at = (large.shape[0] - side) // 2
        total += large[at:at + side, at:at + side]
    return total / (len(factors) + 1)


KINDS = [
    (contrast, [.75, .5, .4, .3, .15]),
    (brightness, [.05, .1, .15, .2, .3]),
    (pixelate, [.95, .9, .85, .75, .65]),
    (zoom_blur, [1.06, 1.11, 1.16, 1.21, 1.26]),
]


def main():
    for side, channels in ((32, 3), (28, 1)):
        r = np.random.default_rng(side)
        y, x = np.mgrid[0:side, 0:side] / side
        waves = [np.sin(7 * x * (k + 1) + k) * np.cos(5 * y + 2 * k) for k in range(channels)]
        image = np.stack(waves, axis=2) * 90 + 120 + r.normal(size=(side, side, channels)) * 25
        image[:3, :4] = 0  # black and white have their own cases
        image[3:6, :4] = 255
        image = np.clip(image, 0, 255).astype(np.uint8)
        out = [image]
        for kind, constants in KINDS:
            for c in constants:
                out.append(np.uint8(np.clip(kind(image / 255., c), 0, 1) * 255))
        np.save(f"golden-{side}.npy", np.array(out))


if __name__ == "__main__":
    main()
