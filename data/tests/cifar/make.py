"""Makes the batches beside it: two CIFAR-10 images with the labels 9 and 8, pickled as people do it again.

    python3 make.py OUTPUT_FOLDER NAME    # NAME: numpy1 or numpy2, as installed

Made with Python 3.11 and numpy 1.26 (numpy1) and 2.4 (numpy2). The levels are those of tests/layouts: image n has
(31 n + 7 i) % 251 at place i. Compressed with gzip -9 -n.
"""
import gzip
import pickle
import sys

import numpy as np

folder, name = sys.argv[1:]
levels = np.array([[(31 * n + 7 * i) % 251 for i in range(3072)] for n in range(2)], dtype=np.uint8)
labels = [9, 8]
forms = {
    "list": labels,
    "numbers": [np.int64(label) for label in labels],
    "small_numbers": [np.uint8(label) for label in labels],
    "array": np.array(labels),
    "big_endian": np.array(labels, dtype=">i4"),
}


def write(what, batch, protocol):
    with gzip.GzipFile(f"{folder}/{name}_p{protocol}_{what}.gz", "wb", 9, mtime=0) as file:
        file.write(pickle.dumps(batch, protocol=protocol))


for protocol in (2, 3, 4, 5):
    for form, given in forms.items():
        if form == "list" or protocol in (2, 5):
            write(form, {"data": levels, "labels": given, "batch_label": "again"}, protocol)
    write("bytes_keys", {b"data": levels, b"labels": labels, b"filenames": [b"a.png", b"b.png"]}, protocol)
write("planes", {"data": levels.reshape(2, 3, 32, 32), "labels": labels}, 5)
# What is refused, each by its name.
write("float_labels", {"data": levels, "labels": np.array([9.0, 8.0])}, 5)
write("float_data", {"data": levels / 255, "labels": labels}, 5)
write("pixels", {"data": levels.reshape(2, 3, 32, 32).transpose(0, 2, 3, 1).copy(), "labels": labels}, 5)
write("columns", {"data": np.asfortranarray(levels), "labels": labels}, 5)
