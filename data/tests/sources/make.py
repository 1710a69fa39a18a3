"""Makes the tar and parquet files of this folder, as those who publish such data sets make them.

python3 -m venv venv && venv/bin/pip install pillow numpy pyarrow==26.0.1 webdataset==1.0.2 datasets==5.2.0
venv/bin/python make.py

Image n is of one colour, (10 + 20 n, 30 + 5 n, 250 - 20 n), 6 wide and 4 high, as PNG. The tests do not run this.
"""

import io
import json
import os
import shutil
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset as wds
from PIL import Image

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["ant", "bee", "cat"]


def image(n):
    return Image.new("RGB", (6, 4), (10 + 20 * n, 30 + 5 * n, 250 - 20 * n))


def png(n):
    out = io.BytesIO()
    image(n).save(out, "PNG")
    return out.getvalue()


def folder(name):
    path = os.path.join(HERE, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    return path


def shard(path, numbers, sample):
    with wds.TarWriter(path, mtime=0) as out:
        for n in numbers:
            out.write({"__key__": f"sample{n:03}", "png": image(n), **sample(n)})


def webdataset():
    at = folder("webdataset")
    label = lambda n: {"cls": n % 3}
    shard(f"{at}/birds-train-000000.tar", [0, 1, 2], label)
    shard(f"{at}/birds-train-000001.tar", [3, 4], label)
    shard(f"{at}/birds-val-000000.tar", [5, 6], label)
    at = folder("webdataset-json")
    shard(f"{at}/000.tar", [0, 1, 2], lambda n: {"json": {"label": NAMES[n % 3], "width": 6}, "txt": "a caption"})
    at = folder("webdataset-unlabelled")
    shard(f"{at}/000.tar", [0, 1], lambda n: {})
    # Names longer than a header holds, and folders: pax and GNU's way.
    for name, form in [("pax", tarfile.PAX_FORMAT), ("gnu", tarfile.GNU_FORMAT)]:
        at = folder(f"tar-{name}")
        with tarfile.open(f"{at}/long.tar", "w", format=form) as out:
            for n in range(2):
                for ending, data in [("png", png(n)), ("cls", str(n).encode())]:
                    info = tarfile.TarInfo(f"{'folder' * 12}/{'naïve' * 20}/{n}.{ending}")
                    info.size = len(data)
                    out.addfile(info, io.BytesIO(data))


def hub(at, numbers_of_splits, features, row):
    os.makedirs(f"{at}/data")
    for split, files in numbers_of_splits.items():
        for i, numbers in enumerate(files):
            rows = [row(n) for n in numbers]
            columns = {key: [r[key] for r in rows] for key in rows[0]}
            table = datasets.Dataset.from_dict(columns, features=features)
            table.to_parquet(f"{at}/data/{split}-{i:05}-of-{len(files):05}.parquet")


def parquet():
    label = datasets.ClassLabel(names=NAMES)
    features = datasets.Features({"image": datasets.Image(), "label": label})
    row = lambda n: {"image": {"bytes": png(n), "path": f"{n}.png"}, "label": n % 3}
    hub(folder("hub"), {"train": [[0, 1, 2], [3, 4]], "validation": [[5, 6]]}, features, row)
    # CIFAR-100's columns.
    coarse = datasets.ClassLabel(names=["animal", "other"])
    features = datasets.Features({"img": datasets.Image(), "fine_label": label, "coarse_label": coarse})
    row = lambda n: {"img": {"bytes": png(n), "path": None}, "fine_label": n % 3, "coarse_label": n % 2}
    hub(folder("hub-cifar100"), {"train": [[0, 1, 2]], "test": [[3]]}, features, row)
    # Test labels that are kept secret are -1.
    features = datasets.Features({"image": datasets.Image(), "label": label})
    row = lambda n: {"image": {"bytes": png(n), "path": None}, "label": n % 3 if n < 3 else -1}
    hub(folder("hub-secret"), {"train": [[0, 1, 2]], "test": [[3, 4]]}, features, row)
    # Files without Hugging Face's metadata, in pages of one image or two, compressed in every way.
    at = folder("plain")
    table = pa.table({"image": pa.array([png(n) for n in range(5)], pa.binary()), "label": ["ant", "bee", "cat", "ant", "bee"]})
    for compression in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
        for version in ["1.0", "2.0"]:
            pq.write_table(
                table,
                f"{at}/{compression}-v{version[0]}.parquet",
                compression=compression,
                data_page_version=version,
                data_page_size=100,
                write_batch_size=1,
                row_group_size=3,
                use_dictionary=version == "1.0",
            )
    at = folder("odd")
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    paths = pa.array([{"bytes": png(0), "path": None}, {"bytes": None, "path": "1.png"}], image_type)
    pq.write_table(pa.table({"image": paths, "label": [0, 1]}), f"{at}/paths.parquet")
    lists = pa.array([[1, 2, 3]], pa.list_(pa.uint8()))
    pq.write_table(pa.table({"image": lists, "label": [0]}), f"{at}/numbers.parquet")
    two = pa.array([png(0)], pa.binary())
    pq.write_table(pa.table({"left": two, "right": two}), f"{at}/two.parquet")
    pq.write_table(pa.table({"image": two, "label": pa.array([7], pa.int8())}), f"{at}/number.parquet")


webdataset()
parquet()
print(json.dumps(sorted(os.listdir(HERE))))
