//! Every kind of file that a program reads: a good one in its place, and the command lines that read it.

use ddae_tests::fixtures;

use super::files::Fault;
use crate::formats::{cifar10_batch, idx};
use crate::place::{Place, read};
use crate::tiny::{trained, with};

/// A kind of input.
pub struct Kind {
    /// What it is called in failures of the test.
    pub name: &'static str,
    /// Where it lies.
    pub file: &'static str,
    /// Makes a place with a good one and all that the commands need beside it.
    pub place: fn() -> Place,
    /// Another kind of file.
    pub foreign: fn() -> Vec<u8>,
    /// Commands that read it.
    pub commands: &'static [&'static str],
    /// Faults that are none here: what is missing is made anew, for example.
    pub harmless: &'static [Fault],
    /// What a command may leave, whole: a run that had begun.
    pub leaves: &'static [&'static str],
    /// What the error may say in place of the name, where a file is looked for in a folder.
    pub unnamed: Option<&'static str>,
}

/// What most kinds have in common.
const PLAIN: Kind = Kind {
    name: "",
    file: "",
    place: Place::new,
    foreign: image,
    commands: &[],
    harmless: &[],
    leaves: &[],
    unnamed: None,
};

fn onnx() -> Vec<u8> {
    trained().read("sampler.onnx")
}

fn safetensors() -> Vec<u8> {
    trained().read("run/checkpoints/latest.safetensors")
}

fn feature_file() -> Vec<u8> {
    trained().read("test.h5")
}

fn image() -> Vec<u8> {
    trained().read("data/test/flat/03.png")
}

fn text() -> Vec<u8> {
    trained().read("ddpm.yaml")
}

/// MNIST in small, as idx files: 60 training images and 20 to test with.
fn mnist(place: &Place) {
    for (prefix, count) in [("train", 60), ("t10k", 20)] {
        let levels: Vec<u8> = (0..count * 784).map(|i| (i % 251) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        let images = idx(2051, &[count as u32, 28, 28], &levels);
        place.write(&format!("data/{prefix}-images-idx3-ubyte"), images);
        place.write(&format!("data/{prefix}-labels-idx1-ubyte"), idx(2049, &[count as u32], &labels));
    }
}

fn with_mnist() -> Place {
    let place = with(&["ddpm.yaml", "features.onnx"]);
    mnist(&place);
    place
}

fn with_cifar() -> Place {
    let place = with(&["ddpm.yaml", "features.onnx"]);
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    {
        place.write(&format!("data/cifar-10-batches-bin/{name}.bin"), cifar10_batch(21));
    }
    place
}

/// CIFAR-10 in small, of the python version: batches of one image, pickled as Python 2 did.
fn with_pickled_cifar() -> Place {
    let place = Place::new();
    let key = |name: &str| [&[b'U', name.len() as u8], name.as_bytes()].concat();
    let batch = [
        b"\x80\x02}(".to_vec(),
        key("labels"),
        b"]K\x00a".to_vec(),
        key("data"),
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01M\x00\x0c\x86".to_vec(),
        b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff".to_vec(),
        b"K\x00tb\x89T".to_vec(),
        3072u32.to_le_bytes().to_vec(),
        vec![7; 3072],
        b"tbu.".to_vec(),
    ]
    .concat();
    for name in ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]
    {
        place.write(&format!("data/cifar-10-batches-py/{name}"), &batch);
    }
    place
}

fn with_drawn_images() -> Place {
    let place = with(&["sampler.onnx"]);
    place.done("ddae-infer sample sampler.onnx --steps 2 --seeds 0-1 -o images");
    place
}

fn with_shard() -> Place {
    let place = with(&["data", "features.onnx"]);
    place.done("ddae-infer features features.onnx --data-root data --timesteps 1 --shard 0/2 -o out");
    place
}

/// All kinds.
pub const KINDS: [Kind; 14] = [
    Kind {
        name: "YAML",
        file: "bad.yaml",
        place: || {
            let place = with(&["data", "run/checkpoints/latest.safetensors"]);
            place.write("bad.yaml", text());
            place
        },
        commands: &[
            "ddae-train diffusion --config bad.yaml --run new --data-root data --device cpu",
            "ddae-export run/checkpoints/latest.safetensors --config bad.yaml -o out.onnx",
            "ddae-export --config bad.yaml --list-taps",
        ],
        ..PLAIN
    },
    Kind {
        name: "safetensors",
        file: "bad.safetensors",
        place: || {
            let place = with(&["data", "ddpm.yaml"]);
            place.write("bad.safetensors", safetensors());
            place
        },
        foreign: onnx,
        commands: &[
            "ddae-train diffusion --config ddpm.yaml --init bad.safetensors --run new --data-root data --device cpu",
            "ddae-export bad.safetensors --graph sampler -o out.onnx",
            "ddae-export bad.safetensors --config ddpm.yaml -o out.onnx",
            "ddae-export bad.safetensors --list-taps",
            "ddae-export inspect bad.safetensors",
        ],
        ..PLAIN
    },
    Kind {
        name: "PyTorch",
        file: "bad.pth",
        place: || {
            let place = with(&["data", "ddpm.yaml"]);
            place.write("bad.pth", read(&fixtures().join("ddae_checkpoint.pth")));
            place
        },
        foreign: image,
        commands: &[
            "ddae-train diffusion --config ddpm.yaml --init bad.pth --run new --data-root data --device cpu",
            "ddae-export bad.pth --config ddpm.yaml -o out.onnx",
            "ddae-export inspect bad.pth",
        ],
        ..PLAIN
    },
    Kind {
        name: "checkpoint of a run",
        file: "run/checkpoints/latest.safetensors",
        place: || {
            let place = with(&["data", "run/config.yaml"]);
            place.write("run/checkpoints/latest.safetensors", safetensors());
            place
        },
        foreign: onnx,
        commands: &[
            "ddae-train diffusion --run run --resume --epochs 3 --data-root data --device cpu",
            "ddae-export run --graph sampler -o out.onnx",
        ],
        // A run that is opened has its log and all its folders, also those that were removed.
        leaves: &["run/log.txt", "run/samples/", "run/tensorboard/"],
        unnamed: Some("holds no checkpoint"),
        ..PLAIN
    },
    Kind {
        name: "ONNX",
        file: "bad.onnx",
        place: || {
            let place = with(&["data"]);
            place.write("bad.onnx", onnx());
            place
        },
        commands: &[
            "ddae-infer features bad.onnx --data-root data --timesteps 1 -o out",
            "ddae-infer sample bad.onnx --steps 2 --seeds 0-1 -o images --sheet sheet.png --npy array.npy",
            "ddae-export inspect bad.onnx",
        ],
        ..PLAIN
    },
    Kind {
        name: "HDF5 to learn from",
        file: "bad.h5",
        place: || {
            let place = with(&["test.h5"]);
            place.write("bad.h5", feature_file());
            place
        },
        commands: &[
            "ddae-probe logistic --train bad.h5 --test test.h5 --confusion matrix.png",
            "ddae-probe knn --train bad.h5 --test test.h5 --confusion matrix.png",
        ],
        ..PLAIN
    },
    Kind {
        name: "HDF5 to measure on",
        file: "bad.h5",
        place: || {
            let place = with(&["train.h5"]);
            place.write("bad.h5", feature_file());
            place
        },
        foreign: onnx,
        commands: &[
            "ddae-probe logistic --train train.h5 --test bad.h5 --confusion matrix.png",
            "ddae-probe knn --train train.h5 --test bad.h5 --confusion matrix.png",
        ],
        ..PLAIN
    },
    Kind {
        name: "shard",
        file: "out.0000-of-0002.h5",
        place: with_shard,
        commands: &["ddae-infer features features.onnx --data-root data --timesteps 1 --shards 2 -o out"],
        harmless: &[Fault::Missing],
        ..PLAIN
    },
    Kind {
        name: "idx images",
        file: "data/train-images-idx3-ubyte",
        place: with_mnist,
        commands: &[
            "ddae-data info mnist --root data",
            "ddae-data preview mnist --root data -o sheet.png",
            "ddae-train diffusion --config ddpm.yaml --set dataset=mnist --set network.image_shape=[1,28,28] \
             --run new --data-root data --device cpu",
            "ddae-infer features features.onnx --data mnist --data-root data --timesteps 1 -o out",
            "ddae-probe knn --pixels mnist --root data --confusion matrix.png",
        ],
        unnamed: Some("mnist is not in data"),
        ..PLAIN
    },
    Kind {
        name: "idx labels",
        file: "data/t10k-labels-idx1-ubyte",
        place: with_mnist,
        foreign: text,
        commands: &[
            "ddae-data info mnist --root data",
            "ddae-probe logistic --pixels mnist --root data --confusion matrix.png",
        ],
        unnamed: Some("mnist is not in data"),
        ..PLAIN
    },
    Kind {
        name: "CIFAR batch",
        file: "data/cifar-10-batches-bin/data_batch_3.bin",
        place: with_cifar,
        commands: &[
            "ddae-data info cifar10 --root data",
            "ddae-data preview cifar10 --root data -o sheet.png",
            "ddae-data prepare cifar10 --root data",
            "ddae-train diffusion --config ddpm.yaml --set dataset=cifar --set network.image_shape=[3,32,32] \
             --run new --data-root data --device cpu",
            "ddae-infer features features.onnx --data cifar10 --data-root data --timesteps 1 -o out",
            "ddae-probe knn --pixels cifar10 --root data",
        ],
        ..PLAIN
    },
    Kind {
        name: "pickled CIFAR batch",
        file: "data/cifar-10-batches-py/data_batch_3",
        place: with_pickled_cifar,
        foreign: text,
        commands: &[
            "ddae-data info cifar10 --root data",
            "ddae-data preview cifar10 --root data -o sheet.png",
        ],
        ..PLAIN
    },
    Kind {
        name: "PNG",
        file: "data/train/flat/01.png",
        place: || with(&["data", "ddpm.yaml", "features.onnx"]),
        foreign: onnx,
        commands: &[
            "ddae-data info folder --root data",
            "ddae-train diffusion --config ddpm.yaml --run new --data-root data --device cpu",
            "ddae-infer features features.onnx --data-root data --timesteps 1 -o out",
            "ddae-probe knn --pixels folder --root data",
        ],
        // An image fewer is another data set; a folder is one, whatever its name.
        harmless: &[Fault::Missing, Fault::Folder],
        leaves: &["new/"],
        ..PLAIN
    },
    Kind {
        name: "drawn PNG",
        file: "images/000001.png",
        place: with_drawn_images,
        foreign: onnx,
        commands: &[
            "ddae-infer sample sampler.onnx --steps 2 --seeds 0-1 -o images --sheet sheet.png --npy array.npy",
        ],
        harmless: &[Fault::Missing],
        ..PLAIN
    },
];
