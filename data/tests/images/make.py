"""Makes the images beside it (files/) and Pillow's levels of them (pil.gz), once.

    pip install pillow==11.3.0 numpy simplejpeg tifffile
    python3 make.py OUTPUT_FOLDER

Made with Python 3.11, Pillow 11.3.0 (libjpeg-turbo 3.1.1), simplejpeg 1.9.0 and tifffile. pil.gz holds, one after
the other, a line `file<TAB>options<TAB>channels<TAB>height<TAB>width` and the levels, pixel by pixel. The options are
those of the commands, without their dashes.
"""
import gzip
import math
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import simplejpeg
import tifffile
from PIL import Image, ImageOps

warnings.simplefilter("ignore")
out = sys.argv[1]
os.makedirs(f"{out}/files", exist_ok=True)
pil = gzip.GzipFile(f"{out}/pil.gz", "wb", 9, mtime=0)
draw = np.random.default_rng(7)


def photo(height, width, seed):
    """Smooth colours, edges and some noise: what a camera sees, in few bytes."""
    own = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(float)
    image = np.zeros((height, width, 3))
    for channel in range(3):
        for k in range(8):
            fy, fx = own.normal(0, 2 / max(height, 8), 2) if k < 5 else own.normal(0, 0.2, 2)
            image[..., channel] += own.uniform(10, 60) / (1 + k / 2) * np.sin(2 * np.pi * (fy * y + fx * x + own.uniform()))
    for _ in range(4):
        a, b = own.integers(0, max(height - 4, 1)), own.integers(0, max(width - 4, 1))
        image[a : a + height // 4, b : b + width // 5] += own.uniform(-128, 128, 3)
    return np.clip(image + 128 + own.normal(0, 3, image.shape), 0, 255).astype(np.uint8)


def add(name, options="", resize=None):
    image = Image.open(f"{out}/files/{name}")
    image.load()
    words = options.split()
    if "orient" in words:
        image = ImageOps.exif_transpose(image)
    image = image.convert("L" if "colour=grey" in words else "RGB")
    levels = np.asarray(resize(image) if resize else image)
    if levels.ndim == 2:
        levels = levels[..., None]
    height, width, channels = levels.shape
    pil.write(f"{name}\t{options}\t{channels}\t{height}\t{width}\n".encode() + levels.tobytes())


def both(name):
    add(name, "colour=rgb")
    add(name, "colour=grey")


def save(name, image, **options):
    image.save(f"{out}/files/{name}", **options)
    return name


def raw(name, data):
    with open(f"{out}/files/{name}", "wb") as file:
        file.write(data)
    return name


small = Image.fromarray(photo(37, 29, 5))
grey = small.convert("L")
alpha = Image.fromarray(photo(37, 29, 6)[..., 0])
rgba = Image.merge("RGBA", [*small.split(), alpha])
la = Image.merge("LA", [grey, alpha])
palette = small.quantize(50)
bits = grey.convert("1")
levels16 = draw.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
levels16[:4] %= 300
grey16 = Image.frombytes("I;16", (7, 9), levels16[..., 0].astype("<u2").tobytes())

# JPEG
for height, width in [(37, 29), (16, 48), (1, 1), (3, 2), (8, 5)]:
    image = Image.fromarray(photo(height, width, height))
    for sampling, name in enumerate(["444", "422", "420"]):
        for quality in (95, 60, 15):
            add(save(f"{height}x{width}_{name}_{quality}.jpg", image, quality=quality, subsampling=sampling))
        add(save(f"{height}x{width}_{name}_progressive.jpg", image, quality=80, subsampling=sampling, progressive=True))
        if height > 8:
            restart = {"restart_marker_blocks": 2}
            add(save(f"{height}x{width}_{name}_restart.jpg", image, quality=80, subsampling=sampling, **restart))
    for name in ("440", "411"):
        pixels = np.ascontiguousarray(np.asarray(image))
        add(raw(f"{height}x{width}_{name}.jpg", simplejpeg.encode_jpeg(pixels, 80, "RGB", name)))
both(save("grey.jpg", grey, quality=80))
both(save("grey_progressive.jpg", grey, quality=80, progressive=True))
both(save("cmyk.jpg", small.convert("CMYK"), quality=80))
add(save("rgb.jpg", small, quality=80, keep_rgb=True))
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x112] = orientation
    name = save(f"orientation_{orientation}.jpg", Image.fromarray(photo(12, 8, 3)), quality=90, exif=exif)
    add(name, "orient")
    add(name)
exif[0x112] = 6
add(save("orientation.png", small, exif=exif), "orient")
add(save("orientation.webp", small, exif=exif, lossless=True), "orient")
add(save("orientation.tif", small, tiffinfo={274: 6}), "orient")

# PNG
images = {"L": grey, "LA": la, "RGB": small, "RGBA": rgba, "P": palette, "1": bits}
for name, image in images.items():
    both(save(f"{name}.png", image))
both(save("I16.png", grey16))
both(save("P_transparent.png", palette, transparency=3))
both(save("L_transparent.png", grey, transparency=100))
both(save("RGB_transparent.png", small, transparency=(1, 2, 3)))
for depth in (1, 2, 4):
    both(save(f"P{depth}.png", small.quantize(2**depth), bits=depth))


def png(name, width, height, depth, colour, rows, before=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    before = chunk(b"tRNS", before) if before else b""
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return raw(name, b"\x89PNG\r\n\x1a\n" + header + before + data + chunk(b"IEND", b""))


def rows(levels):
    return [row.astype(">u2").tobytes() for row in levels]


both(png("RGB16.png", 7, 9, 16, 2, rows(levels16[..., :3])))
both(png("RGBA16.png", 7, 9, 16, 6, rows(levels16)))
both(png("LA16.png", 7, 9, 16, 4, rows(levels16[..., :2])))
both(png("I16_transparent.png", 7, 9, 16, 0, rows(levels16[..., 0]), struct.pack(">H", 7)))
for depth in (2, 4):
    packed = [draw.integers(0, 256, 3, dtype=np.uint8).tobytes() for _ in range(9)]
    both(png(f"L{depth}.png", 24 // depth, 9, depth, 0, packed))

# WebP
for quality in (10, 50, 90):
    both(save(f"{quality}.webp", small, quality=quality))
both(save("alpha.webp", rgba, quality=60))
both(save("lossless.webp", rgba, lossless=True, exact=True))
save("animated.webp", small, save_all=True, append_images=[small.rotate(90)], quality=60)
both("animated.webp")

# BMP
for name, image in images.items():
    if name != "LA":
        both(save(f"{name}.bmp", image))


def bmp(name, depth, compression, data, masks=b"", colours=b"", down=False):
    header = struct.pack("<IiiHHIIiiII", 40, 8, -9 if down else 9, 1, depth, compression, len(data), 0, 0, len(colours) // 4, 0)
    start = 14 + len(header) + len(masks) + len(colours)
    return raw(name, struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + masks + colours + data)


def noise(count):
    return draw.integers(0, 256, count, dtype=np.uint8).tobytes()


colours = noise(1024)
both(bmp("555.bmp", 16, 0, noise(144)))
both(bmp("565.bmp", 16, 3, noise(144), struct.pack("<III", 0xF800, 0x7E0, 0x1F)))
both(bmp("32.bmp", 32, 0, noise(288)))
both(bmp("down.bmp", 32, 0, noise(288), down=True))
both(bmp("P8.bmp", 8, 0, noise(72), colours=colours))
both(bmp("P4.bmp", 4, 0, noise(36), colours=colours[:64]))
run_lengths = b"".join(bytes([5, row, 3, 200 + row, 0, 0]) for row in range(9)) + b"\0\1"
both(bmp("run_lengths.bmp", 8, 1, run_lengths, colours=colours))

# GIF
for name in ("L", "RGB", "P", "1"):
    both(save(f"{name}.gif", images[name]))
both(save("transparent.gif", palette, transparency=3))
both(save("interlaced.gif", palette, interlace=1))
save("animated.gif", small, save_all=True, append_images=[small.rotate(90)])
both("animated.gif")


def gif(name, left, top, width, height, transparent=None, own_colours=None):
    packed, filled, data = 0, 0, bytearray()

    def code(value):
        nonlocal packed, filled
        packed, filled = packed | value << filled, filled + 8
        while filled >= 8:
            data.append(packed & 255)
            packed, filled = packed >> 8, filled - 8

    code(128)
    for count, index in enumerate(draw.integers(0, 128, width * height), 1):
        code(int(index))
        if count % 100 == 0:
            code(128)
    code(129)
    content = b"GIF89a" + struct.pack("<HHBBB", 12, 10, 0xF6, 5, 0) + colours[:384]
    if transparent is not None:
        content += b"\x21\xf9\4" + bytes([1, 0, 0, transparent, 0])
    content += b"," + struct.pack("<HHHHB", left, top, width, height, 0x86 if own_colours else 0) + (own_colours or b"")
    blocks = b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
    return raw(name, content + b"\7" + blocks + b"\0;")


both(gif("inside.gif", 2, 3, 6, 5))
both(gif("inside_transparent.gif", 2, 3, 6, 5, transparent=9))
both(gif("outside.gif", 8, 7, 6, 5))
both(gif("own_colours.gif", 0, 0, 12, 10, own_colours=colours[300:684]))

# TIFF
for name in ("L", "RGB", "RGBA", "1"):
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        both(save(f"{name}_{compression or 'plain'}.tif", images[name], compression=compression))
both(save("CMYK.tif", small.convert("CMYK")))
both(save("I16.tif", grey16))
both(save("group4.tif", bits, compression="group4"))
tiff = {
    "RGB16": dict(data=levels16[..., :3], photometric="rgb"),
    "I16_big_endian": dict(data=levels16[..., 0], byteorder=">"),
    "white_is_zero": dict(data=np.asarray(grey), photometric="miniswhite"),
    "planes": dict(data=np.moveaxis(np.asarray(small), 2, 0), photometric="rgb", planarconfig="separate"),
    "tiles": dict(data=photo(40, 40, 3), photometric="rgb", tile=(16, 16)),
}
for name, options in tiff.items():
    tifffile.imwrite(f"{out}/files/{name}.tif", **options)
    both(f"{name}.tif")
# Refused.
save("P.tif", palette)
save("LA.tif", la)
tifffile.imwrite(f"{out}/files/float.tif", levels16[..., 0].astype(np.float32))

# PNM
both(save("1.pbm", bits))
both(save("L.pgm", grey))
both(save("RGB.ppm", small))
both(raw("P1.pbm", b"P1\n# a comment\n3 2\n1 0 1\n010"))
both(raw("P2.pgm", b"P2 3 2 15\n1 0 15 7 3 4"))
both(raw("P2_1000.pgm", b"P2 3 2 1000\n1 0 15 700 300 4"))
both(raw("P3.ppm", b"P3\n#a comment\n2 1\n100\n1 2 3 100 50 7"))
both(raw("P5_100.pgm", b"P5 4 3 100\n" + bytes(range(0, 120, 10))))
both(raw("P6_31.ppm", b"P6 4 3 31\n" + bytes(range(36))))
both(raw("P5_65535.pgm", b"P5 4 3 65535\n" + levels16.ravel()[:12].astype(">u2").tobytes()))
both(raw("P5_1000.pgm", b"P5 4 3 1000\n" + (levels16.ravel()[:12] % 1200).astype(">u2").tobytes()))
both(raw("P6_65535.ppm", b"P6 4 3 65535\n" + levels16.ravel()[:36].astype(">u2").tobytes()))


# Resizing, as the publications write it.
def cover(side, filter, before=None):
    """torchvision's Resize and CenterCrop."""
    before = before or side

    def resize(image):
        width, height = image.size
        if width <= height:
            size = (before, int(before * height / width))
        else:
            size = (int(before * width / height), before)
        image = image.resize(size, filter)
        left, top = (int(round((outer - side) / 2.0)) for outer in size)
        return image.crop((left, top, left + side, top + side))

    return resize


def adm(side):
    """center_crop_arr of guided-diffusion and DiT."""

    def resize(image):
        while min(*image.size) >= 2 * side:
            image = image.resize(tuple(x // 2 for x in image.size), resample=Image.BOX)
        scale = side / min(*image.size)
        image = image.resize(tuple(round(x * scale) for x in image.size), resample=Image.BICUBIC)
        levels = np.array(image)
        top, left = (levels.shape[0] - side) // 2, (levels.shape[1] - side) // 2
        return levels[top : top + side, left : left + side]

    return resize


def edm(side):
    """center_crop of EDM's dataset_tool.py."""

    def resize(image):
        levels = np.array(image)
        crop = np.min(levels.shape[:2])
        height, width = levels.shape[:2]
        levels = levels[(height - crop) // 2 : (height + crop) // 2, (width - crop) // 2 : (width + crop) // 2]
        return Image.fromarray(levels).resize((side, side), Image.LANCZOS)

    return resize


def clean_fid(side):
    """build_resizer("clean") of clean-fid, rounded."""

    def resize(image):
        levels = np.atleast_3d(np.asarray(image)).astype(np.float32)
        planes = [Image.fromarray(levels[..., c]).resize((side, side), Image.BICUBIC) for c in range(levels.shape[2])]
        return np.rint(np.dstack([np.asarray(plane).clip(0, 255) for plane in planes])).astype(np.uint8)

    return resize


def stretch(side, filter):
    return lambda image: image.resize((side, side), filter)


for height, width in [(61, 47), (40, 90), (90, 40), (5, 7), (32, 32)]:
    name = save(f"{height}x{width}.png", Image.fromarray(photo(height, width, height + width)))
    for side in (32, 13):
        before = math.floor(side / 0.875)
        rules = {
            "cover": cover(side, Image.BILINEAR),
            "cover-bicubic": cover(side, Image.BICUBIC),
            "imagenet": cover(side, Image.BILINEAR, before),
            "imagenet-bicubic": cover(side, Image.BICUBIC, before),
            "adm": adm(side),
            "edm": edm(side),
            "stretch": stretch(side, Image.BILINEAR),
            "stretch-bicubic": stretch(side, Image.BICUBIC),
            "clean-fid": clean_fid(side),
        }
        for rule, resize in rules.items():
            add(name, f"resize={rule}", resize)
        add(name, "resize=adm colour=grey", rules["adm"])
pil.close()
