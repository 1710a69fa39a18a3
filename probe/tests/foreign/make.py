"""Makes the files in this folder anew: the same small features and labels as several programs write them.

Made with Python 3.11, numpy 2.4.6, h5py 3.16.0, pyarrow 26.0.1, pandas 3.1.1 and safetensors 0.8.0. The tests
do not run it.
"""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import TensorSpec, serialize_file
from safetensors.numpy import save_file

here = Path(__file__).parent
names = np.array(["ant", "bee", "cat", "dog"])


def split(samples, shift):
    """Numbers that every type here but bool holds exactly: whole numbers from 0 to 63."""
    label = np.arange(samples) % 4
    rng = np.random.RandomState(shift)
    x = rng.randint(0, 40, size=(samples, 6))
    x[np.arange(samples), label] += 20
    return x, label


train, test = split(40, 1), split(20, 2)


def write(name, x, y):
    text = names[y]
    f4, i8 = x.astype("<f4"), y.astype("<i8")

    # NumPy.
    for kind in ["<f2", "<f4", ">f4", "<f8", "|i1", "|u1", "<i2", ">u2", "<i4", "<u4", "<i8", "<u8"]:
        order = {"<": "", ">": "be_", "|": ""}[kind[0]]
        np.save(here / f"{name}.{order}{kind[1:]}.npy", x.astype(kind))
    np.save(here / f"{name}.fortran.npy", np.asfortranarray(f4))
    np.save(here / f"{name}.maps.npy", f4.reshape(len(x), 2, 3))
    np.save(here / f"{name}.y.npy", i8)
    np.save(here / f"{name}.y_text.npy", text)
    np.save(here / f"{name}.y_bytes.npy", text.astype("S"))
    np.save(here / f"{name}.y_column.npy", y.astype("f4")[:, None])
    np.save(here / f"{name}.y_object.npy", text.astype(object))
    np.savez(here / f"{name}.plain.npz", features=f4, labels=i8)
    np.savez_compressed(here / f"{name}.packed.npz", X=x.astype("f8"), y=text)
    np.savez(here / f"{name}.named.npz", pool=f4, other=f4[:, :2], cls=i8 + 1)
    np.savetxt(here / f"{name}.savetxt.txt", f4)
    np.savetxt(here / f"{name}.savetxt.csv", np.column_stack([f4, y]), delimiter=",")

    # Lists of labels.
    (here / f"{name}.y.txt").write_text("".join(f"{label}\n" for label in text))
    pd.DataFrame({"path": [f"{i}.png" for i in range(len(x))], "label": text}).to_csv(here / f"{name}.y.csv", index=False)

    # pandas and pyarrow.
    table = pd.DataFrame(f4, columns=[f"f{i}" for i in range(6)])
    table["path"] = [f"{i}.png" for i in range(len(x))]
    table["label"] = text
    table.to_csv(here / f"{name}.csv")
    table.drop(columns="path").to_csv(here / f"{name}.tsv", sep="\t", index=False)
    table.to_parquet(here / f"{name}.columns.parquet", row_group_size=16)
    lists = pa.table({
        "path": table["path"],
        "embedding": pa.array(list(f4), type=pa.list_(pa.float32())),
        "target": pa.array(text).dictionary_encode(),
    })
    pq.write_table(lists, here / f"{name}.lists.parquet", row_group_size=7, compression="zstd")
    halves = pa.FixedSizeListArray.from_arrays(pa.array(x.astype("f2").ravel(), type=pa.float16()), 6)
    pq.write_table(pa.table({"emb": halves, "cls": i8 - 2}), here / f"{name}.halves.parquet", data_page_version="2.0")

    # safetensors, where bfloat16 is the upper half of float32.
    save_file({"embeddings": f4, "labels": y.astype("i4")}, here / f"{name}.safetensors", {"by": "a test"})
    spec = lambda kind, values: TensorSpec(
        dtype=kind, shape=values.shape, data_ptr=values.ctypes.data, data_len=values.nbytes
    )
    upper, short = np.ascontiguousarray(f4.view("<u4") >> 16).astype("<u2"), y.astype("u1")
    tensors = {"x": spec("bfloat16", upper), "y": spec("uint8", short)}
    serialize_file(tensors, here / f"{name}.bf16.safetensors", metadata={})

    # h5py: plain, packed and resizable; labels as numbers and texts of each kind; attributes of another's.
    with h5py.File(here / f"{name}.plain.h5", "w") as file:
        file["features"] = f4
        file["labels"] = i8
        file.attrs["made by"] = "somebody"
        file["features"].attrs["units"] = np.bytes_(b"none")
    with h5py.File(here / f"{name}.groups.h5", "w") as file:
        group = file.create_group("deep/er")
        group.create_dataset("x", data=x.astype(">f8"), compression="gzip", shuffle=True, fletcher32=True, chunks=(8, 6))
        group.create_dataset("half", data=x.astype("f2"), maxshape=(None, 6), compression="lzf")
        group["y"] = [str(label) for label in text]
        group["y_ascii"] = text.astype("S")
        group["maps"] = f4.reshape(len(x), 2, 3)
        file["link"] = h5py.SoftLink("/deep/er/x")


write("train", *train)
write("test", *test)

# Wrong in one way each.
x, y = train
np.save(here / "bad.nan.npy", np.where(np.arange(240).reshape(40, 6) == 45, np.nan, x))
np.save(here / "bad.large.npy", np.where(np.arange(240).reshape(40, 6) == 45, 1e300, x))
np.save(here / "bad.complex.npy", x.astype("c8"))
np.save(here / "bad.short_y.npy", y[:39])
np.save(here / "bad.onehot.npy", np.eye(4)[y])
np.save(here / "bad.fractions.npy", y + 0.5)
np.savez(here / "bad.two.npz", features=x, x=x, y=y)
np.savez(here / "bad.unnamed.npz", x.astype("f4"), y)
pd.DataFrame({"a": [1, 2, None], "label": [0, 1, 0]}).to_csv(here / "bad.empty.csv", index=False)
pd.DataFrame({"a": [1.0, 2.0], "label": [0, 1], "y": [0, 1]}).to_csv(here / "bad.two_labels.csv", index=False)
pd.DataFrame({"path": ["a", "b"], "label": [0, 1]}).to_csv(here / "bad.no_numbers.csv", index=False)
(here / "bad.ragged.csv").write_text("a,b,label\n1,2,0\n1,2\n")
pq.write_table(pa.table({"emb": [[1.0, 2.0], [3.0]], "label": [0, 1]}), here / "bad.ragged.parquet")
pq.write_table(pa.table({"a": pa.array([1.0, None, 2.0]), "label": [0, 1, 0]}), here / "bad.null.parquet")
with h5py.File(here / "bad.outside.h5", "w") as file:
    file["x"] = h5py.ExternalLink("train.plain.h5", "/features")
    file["y"] = y
with h5py.File(here / "bad.unwritten.h5", "w") as file:
    file.create_dataset("x", shape=(40, 6), dtype="f4", chunks=(8, 6))
    file["y"] = y
with h5py.File(here / "bad.records.h5", "w") as file:
    file["x"] = np.zeros(4, dtype=[("a", "f4"), ("b", "i4")])
    file["y"] = y
