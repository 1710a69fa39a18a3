//! Published data sets in the forms that people keep them in: CIFAR pickled again by Python 3 (`cifar/make.py`), MNIST's
//! files under other names, Tiny-ImageNet with a sorted validation set.

mod layouts;

use std::io::Read;
use std::path::Path;

use ddae_data::datasets;
use ddae_data::split::Split;
use flate2::read::GzDecoder;
use layouts::{encoded, folder, gzip, idx_pair, image, tiny, write, write_all};

fn batch(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cifar").join(format!("{name}.gz"));
    let mut bytes = Vec::new();
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    GzDecoder::new(file).read_to_end(&mut bytes).expect("a batch");
    bytes
}

/// CIFAR-10 of which every file is that batch.
fn cifar10(name: &str) -> Result<datasets::DataSet, String> {
    let root = folder();
    let bytes = batch(name);
    let names = (1..=5).map(|number| format!("data_batch_{number}")).chain(["test_batch".to_string()]);
    for file in names {
        write(root.path().join("cifar-10-batches-py").join(file), &bytes);
    }
    datasets::open("cifar10", Some(root.path())).map_err(|error| error.to_string())
}

fn read(split: &Split, index: usize) -> Vec<u8> {
    let mut levels = vec![0; split.image_len()];
    split.read(index, &mut levels).expect("an image");
    levels
}

#[test]
fn cifar_by_python_3_is_read() {
    const FORMS: [&str; 16] = [
        "p2_list",
        "p2_numbers",
        "p2_small_numbers",
        "p2_array",
        "p2_big_endian",
        "p2_bytes_keys",
        "p3_list",
        "p3_bytes_keys",
        "p4_list",
        "p4_bytes_keys",
        "p5_list",
        "p5_numbers",
        "p5_small_numbers",
        "p5_array",
        "p5_big_endian",
        "p5_bytes_keys",
    ];
    for numpy in ["numpy1", "numpy2"] {
        for form in FORMS.into_iter().chain(["p5_planes"]) {
            let name = format!("{numpy}_{form}");
            let set = cifar10(&name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((set.train.len(), set.test.len()), (10, 2), "{name}");
            assert_eq!([set.train.label(2), set.train.label(3), set.test.label(1)], [9, 8, 8], "{name}");
            assert_eq!(read(&set.train, 9), image(1, 3072), "{name}");
            assert_eq!(read(&set.test, 0), image(0, 3072), "{name}");
        }
    }
}

#[test]
fn what_is_no_cifar_is_refused_by_its_name() {
    for numpy in ["numpy1", "numpy2"] {
        for (form, message) in [
            ("p5_float_labels", "its 'labels' is of type f8, not of integers"),
            ("p5_float_data", "its 'data' is of type f8, not uint8"),
            ("p5_pixels", "its 'data' has the shape [2, 32, 32, 3], not [images, levels]"),
            ("p5_columns", "its 'data' is stored column by column"),
        ] {
            let error = cifar10(&format!("{numpy}_{form}")).expect_err(form);
            assert!(error.contains(message), "{numpy}_{form}: {error}");
        }
    }
}

#[test]
fn mnist_is_found_under_its_other_names() {
    let names: [fn(&str, &str) -> String; 7] = [
        |stem, kind| format!("{stem}-{kind}-ubyte"),
        |stem, kind| format!("{stem}.{kind}-ubyte"),
        |stem, kind| format!("{stem}-{kind}-ubyte.gz"),
        |stem, kind| format!("{stem}.{kind}-ubyte.gz"),
        |stem, kind| format!("{stem}-{kind}.ubyte"),
        |stem, kind| format!("{}_{kind}_ubyte", stem.replace('-', "_")),
        |stem, kind| format!("{stem}.{kind}"),
    ];
    for below in ["", "raw", "MNIST/raw", "mnist"] {
        for name in names {
            let root = folder();
            for (prefix, first, count) in [("train", 0, 20), ("t10k", 20, 10)] {
                let (images, labels) = idx_pair(first, count);
                for (what, kind, bytes) in [("images", "idx3", images), ("labels", "idx1", labels)] {
                    let name = name(&format!("{prefix}-{what}"), kind);
                    let bytes = if name.ends_with(".gz") { gzip(&bytes) } else { bytes };
                    write(root.path().join(below).join(name), bytes);
                }
            }
            let set = datasets::open("mnist", Some(root.path())).expect("all files are there");
            assert_eq!((set.train.len(), set.test.len()), (20, 10));
            assert_eq!(read(&set.test, 3), image(23, 784));
        }
    }
}

#[test]
fn tiny_imagenet_may_have_its_validation_images_sorted() {
    for (inner, keeps_table) in [("", false), ("images/", false), ("", true)] {
        let root = folder();
        let below = root.path().join("tiny-imagenet-200");
        let as_published = |name: &str| name.starts_with("val/images/") || name.ends_with("annotations.txt");
        let files: Vec<_> = tiny()
            .into_iter()
            .filter(|(name, _)| !as_published(name) || keeps_table && name.ends_with(".txt"))
            .collect();
        write_all(&below, &files);
        let save =
            |name: String, level: u8| write(below.join(name), encoded("x.png", [level; 3], false, 64, 64));
        save(format!("val/n02/{inner}val_7.png"), 70);
        save(format!("val/n01/{inner}val_3.png"), 30);
        save(format!("val/n01/{inner}val_9.png"), 90);
        let set = datasets::open("tiny", Some(root.path())).expect("all files are there");
        let found: Vec<_> =
            (0..set.test.len()).map(|index| (set.test.label(index), read(&set.test, index)[0])).collect();
        assert_eq!(found, [(0, 30), (0, 90), (1, 70)], "{inner:?} {keeps_table}");
        assert_eq!(set.test.key(2), format!("val/n02/{inner}val_7.png"));
        save("val/images/val_0.JPEG".to_string(), 0);
        let error =
            datasets::open("tiny", Some(root.path())).expect_err("neither one nor the other").to_string();
        assert!(error.contains("val/images: it has images beside those that are sorted"), "{error}");
    }
}
