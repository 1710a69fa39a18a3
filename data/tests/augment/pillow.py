"""Writes pillow.txt: hashes of what Pillow computes, as torchvision calls it, for pictures of many shapes.

    pip install pillow numpy && python pillow.py > pillow.txt

Every line is a shape, the range of the picture's levels, what was done, and the FNV-1a hash of the resulting levels,
plane by plane. The levels come from the rule of the fixtures' README, rounded down.
"""

import math
import sys

import numpy as np
import PIL
from PIL import Image, ImageEnhance, ImageOps

MASK = (1 << 64) - 1


def fnv(data, state=0xCBF29CE484222325):
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def picture(shape, low, high):
    channels, height, width = shape
    name = f"dev:pillow {channels}x{height}x{width}"
    seed = fnv(name.encode())
    levels = []
    for i in range(channels * height * width):
        z = (seed + i + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        levels.append(int(np.float32(low + (high - low) * ((z >> 40) / 2**24))))
    planes = np.array(levels, np.uint8).reshape(shape)
    return Image.fromarray(planes[0] if channels == 1 else planes.transpose(1, 2, 0))


def planes(image):
    array = np.asarray(image)
    return (array if array.ndim == 2 else array.transpose(2, 0, 1)).tobytes()


def affine(image, matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


def shear_x(image, m):
    return affine(image, [1.0, math.tan(math.radians(math.degrees(math.atan(m)))), 0.0, 0.0, 1.0, 0.0])


def shear_y(image, m):
    return affine(image, [1.0, 0.0, 0.0, math.tan(math.radians(math.degrees(math.atan(m)))), 1.0, 0.0])


OPERATIONS = {
    "ShearX": (shear_x, [0.09, -0.09, 0.3, -1.0]),
    "ShearY": (shear_y, [0.09, -0.09, 0.3, -1.0]),
    "TranslateX": (lambda i, m: affine(i, [1.0, 0.0, -int(m), 0.0, 1.0, 0.0]), [4.35, -4.35, 0.9, 50.0]),
    "TranslateY": (lambda i, m: affine(i, [1.0, 0.0, 0.0, 0.0, 1.0, -int(m)]), [4.35, -4.35, -0.9, 50.0]),
    "Rotate": (lambda i, m: i.rotate(m, Image.Resampling.NEAREST), [9.0, -9.0, 30.0, -30.0, 77.7, -0.01, 0.0]),
    "Brightness": (lambda i, m: ImageEnhance.Brightness(i).enhance(1.0 + m), [0.27, -0.27, 0.9, -0.9, -1.0, 0.0]),
    "Color": (lambda i, m: ImageEnhance.Color(i).enhance(1.0 + m), [0.27, -0.27, 0.9, -0.9, -1.0, 0.0]),
    "Contrast": (lambda i, m: ImageEnhance.Contrast(i).enhance(1.0 + m), [0.27, -0.27, 0.9, -0.9, -1.0, 0.0]),
    "Sharpness": (lambda i, m: ImageEnhance.Sharpness(i).enhance(1.0 + m), [0.27, -0.27, 0.9, -0.9, -1.0, 0.0]),
    "Posterize": (lambda i, m: ImageOps.posterize(i, int(m)), [7.0, 4.0, 1.0, 8.0]),
    "Solarize": (ImageOps.solarize, [178.5, 0.0, 255.0, 100.0]),
    "AutoContrast": (lambda i, m: ImageOps.autocontrast(i), [0.0]),
    "Equalize": (lambda i, m: ImageOps.equalize(i), [0.0]),
}


def resized_crops(image):
    """Parts of every size, one after the other."""
    width, height = image.size
    state = fnv(b"")
    for h in range(1, height + 1):
        for w in range(1, width + 1):
            top, left = (height - h) // 2, width - w
            part = image.crop((left, top, left + w, top + h))
            state = fnv(planes(part.resize(image.size, Image.Resampling.BILINEAR)), state)
    return state


print(f"# Pillow {PIL.__version__}: written by pillow.py")
for shape in [(3, 32, 32), (1, 28, 28), (3, 5, 7), (1, 2, 9), (1, 1, 1), (3, 40, 17), (1, 64, 64)]:
    for low, high in [(0, 256), (60, 181), (200, 201)]:
        image = picture(shape, low, high)
        start = "x".join(map(str, shape)) + f" {low}..{high}"
        for name, (operation, magnitudes) in OPERATIONS.items():
            for magnitude in magnitudes:
                print(start, name, magnitude, f"{fnv(planes(operation(image, magnitude))):016x}")
        if max(shape) <= 40:
            print(start, "resized_crop all", f"{resized_crops(image):016x}")
        sys.stdout.flush()
