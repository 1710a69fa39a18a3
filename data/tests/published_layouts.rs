//! Every published form is read, with the right pixels and labels.

mod layouts;

use std::path::Path;

use ddae_data::Split;
use ddae_data::datasets;
use ddae_model::config::ChannelStatistics;
use layouts::*;

fn read(split: &Split, index: usize) -> Vec<u8> {
    let mut levels = vec![0; split.image_len()];
    split.read(index, &mut levels).expect("a readable image");
    levels
}

fn labels(split: &Split) -> Vec<usize> {
    (0..split.len()).map(|index| split.label(index)).collect()
}

#[test]
fn the_built_in_sample_is_balanced() {
    let set = datasets::open("fashion-sample", None).expect("built in");
    assert_eq!(set.train.class_counts(), [600; 10]);
    assert_eq!(set.test.class_counts(), [1000; 10]);
    assert_eq!(set.train.shape(), [1, 28, 28]);
    assert_eq!(set.train.classes()[9], "Ankle boot");
    assert_eq!(set.test.name(), "fashion-sample/test");
    // The files must not change unnoticed: results of the demo are quoted for them.
    let sum: u64 = read(&set.train, 5999).iter().map(|&level| u64::from(level)).sum();
    assert_eq!((sum, set.train.label(5999)), (89_530, 0));
}

#[test]
fn mnist_compressed_or_not_gives_the_same() {
    for compressed in [true, false] {
        let root = folder();
        mnist(&root.path().join("mnist"), compressed);
        let set = datasets::open("mnist", Some(root.path())).expect("all files are there");
        assert_eq!((set.train.len(), set.test.len(), set.train.shape()), (20, 10, [1, 28, 28]));
        assert_eq!(read(&set.train, 13), image(13, 784));
        assert_eq!(read(&set.test, 9), image(29, 784));
        assert_eq!(set.train.label(13), 3);
    }
}

#[test]
fn cifar10_binary_from_folder_parent_or_itself() {
    let root = folder();
    let below = root.path().join("cifar-10-batches-bin");
    write_all(&below, &cifar10_binary());
    for place in [root.path(), &below] {
        let set = datasets::open("cifar", Some(place)).expect("all files are there");
        assert_eq!(set.name, "cifar10");
        assert_eq!((set.train.len(), set.test.len(), set.train.shape()), (20, 4, [3, 32, 32]));
        assert_eq!(read(&set.train, 17), image(17, 3072));
        assert_eq!(read(&set.test, 2), image(22, 3072));
        assert_eq!(labels(&set.test), [0, 1, 2, 3]);
        assert_eq!(set.train.classes()[3], "cat");
        assert_eq!(set.normalisation(), ChannelStatistics::published("cifar10"));
    }
}

#[test]
fn cifar10_python() {
    let root = folder();
    let below = root.path().join("cifar-10-batches-py");
    for batch in 0..5 {
        let name = format!("data_batch_{}", batch + 1);
        write(below.join(name), cifar_pickle(batch * 2, "labels", &[9, 8]));
    }
    write(below.join("test_batch"), cifar_pickle(10, "labels", &[7]));
    let set = datasets::open("cifar10", Some(root.path())).expect("all files are there");
    assert_eq!(read(&set.train, 7), image(7, 3072));
    assert_eq!(read(&set.test, 0), image(10, 3072));
    assert_eq!(labels(&set.train), [9, 8, 9, 8, 9, 8, 9, 8, 9, 8]);
}

#[test]
fn cifar100_takes_the_fine_labels_of_both_versions() {
    let binary = folder();
    let below = binary.path().join("cifar-100-binary");
    write(below.join("train.bin"), cifar_records(0, &[&[19, 99], &[3, 50]]));
    write(below.join("test.bin"), cifar_records(2, &[&[0, 1]]));
    let python = folder();
    let below = python.path().join("cifar-100-python");
    write(below.join("train"), cifar_pickle(0, "fine_labels", &[99, 50]));
    write(below.join("test"), cifar_pickle(2, "fine_labels", &[1]));
    for root in [binary, python] {
        let set = datasets::open("cifar100", Some(root.path())).expect("all files are there");
        assert_eq!(labels(&set.train), [99, 50]);
        assert_eq!(labels(&set.test), [1]);
        assert_eq!(read(&set.train, 1), image(1, 3072));
        assert_eq!(set.train.classes()[99], "worm");
    }
}

/// JPEG does not keep levels exactly.
fn assert_colour(levels: &[u8], colour: [u8; 3]) {
    for (plane, colour) in levels.chunks_exact(levels.len() / 3).zip(colour) {
        assert!(plane.iter().all(|&level| level.abs_diff(colour) <= 3), "{} is not {colour}", plane[0]);
    }
}

#[test]
fn tiny_imagenet_sorts_classes_and_reads_grey_as_rgb() {
    let root = folder();
    write_all(&root.path().join("tiny-imagenet-200"), &tiny());
    let set = datasets::open("tiny", Some(root.path())).expect("all files are there");
    assert_eq!(set.train.classes(), ["n01", "n02"]);
    assert_eq!(set.train.shape(), [3, 64, 64]);
    assert_eq!(labels(&set.train), [0, 0, 1, 1]);
    assert_eq!(labels(&set.test), [1, 0, 0]);
    assert_colour(&read(&set.train, 0), [10, 200, 10]);
    assert_colour(&read(&set.train, 3), [90, 90, 90]);
    assert_colour(&read(&set.test, 2), [128, 128, 128]);
}

fn images(root: &Path, files: &[(&str, [u8; 3], bool, u32, u32)]) {
    for &(name, colour, grey, width, height) in files {
        write(root.join(name), encoded(name, colour, grey, width, height));
    }
}

#[test]
fn a_folder_takes_the_first_shape_and_colour_if_any_class_has_it() {
    let root = folder();
    images(
        root.path(),
        &[
            ("train/ant/b.png", [9, 9, 9], true, 30, 20),
            ("train/ant/a.jpg", [50, 50, 50], true, 24, 20),
            ("train/bee/1.PNG", [1, 2, 3], false, 100, 100),
            ("val/bee/2.png", [4, 5, 6], false, 24, 20),
        ],
    );
    write(root.path().join("train/ant/notes.txt"), "not an image");
    write(root.path().join("train/.cache/x.png"), "hidden");
    let set = datasets::open("folder", Some(root.path())).expect("well-formed");
    assert_eq!(set.train.classes(), ["ant", "bee"]);
    assert_eq!(set.train.shape(), [3, 20, 24]);
    assert_eq!(labels(&set.train), [0, 0, 1]);
    assert_eq!(labels(&set.test), [1]);
    assert_colour(&read(&set.train, 1), [9, 9, 9]);
    assert_colour(&read(&set.train, 2), [1, 2, 3]);
    let small = set.train.fit([3, 8, 8]).expect("images are resized");
    assert_colour(&read(&small, 2), [1, 2, 3]);
}

#[test]
fn a_grey_folder_without_test_images() {
    let root = folder();
    images(
        root.path(),
        &[("train/a/1.png", [9, 9, 9], true, 28, 28), ("train/a/2.png", [1, 2, 3], false, 28, 28)],
    );
    let set = datasets::open("folder", Some(root.path())).expect("well-formed");
    assert_eq!(set.train.shape(), [1, 28, 28]);
    assert!(set.test.is_empty());
    let error = set.train.read(1, &mut [0; 784]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: it is a colour image; expected a grey one, like the others of this data set; --colour grey makes all grey, and --colour rgb all RGB",
            root.path().join("train/a/2.png").display()
        )
    );
    let colour = set.train.fit([3, 28, 28]).expect("grey becomes RGB");
    assert_colour(&read(&colour, 1), [1, 2, 3]);
}
