//! Foreign, truncated, empty and missing files of every kind give one line that names the file and what was expected.

mod layouts;

use std::fs;
use std::path::Path;

use ddae_data::datasets;
use layouts::*;

fn error(name: &str, root: &Path) -> String {
    let error = datasets::open(name, Some(root)).expect_err("a damaged data set").to_string();
    assert!(!error.contains('\n'), "more than a line: {error}");
    error
}

/// Opens a data set that is whole but for `file`, and checks the message, which must begin with the file's path.
fn expect(name: &str, root: &Path, file: &str, bytes: &[u8], message: &str) {
    let path = root.join(file);
    let whole = fs::read(&path).expect("a whole file");
    fs::write(&path, bytes).expect("damage");
    assert_eq!(error(name, root), format!("{}: {message}", path.display()));
    fs::write(&path, whole).expect("repaired");
    datasets::open(name, Some(root)).expect("whole again");
}

#[test]
fn unknown_names_and_missing_files() {
    let root = folder();
    let here = root.path().display();
    assert_eq!(
        error("imagenet", root.path()),
        "there is no data set named 'imagenet'; known names: fashion-sample, fashion-mnist, mnist, cifar10, cifar100, \
         tiny, folder; nor is there a file or folder of that name, for which a folder of images, an image, a list of paths \
         (.txt, .csv, .jsonl), .tar or .parquet may be given"
    );
    assert_eq!(
        error("cifar", root.path()),
        format!(
            "cifar10 is not in {here}: expected the folder cifar-10-batches-bin/ or cifar-10-batches-py/ or the archive \
             cifar-10-binary.tar.gz or cifar-10-python.tar.gz; download it from \
             https://www.cs.toronto.edu/~kriz/cifar.html or say with --data-root where it is"
        )
    );
    assert!(error("tiny", root.path()).contains("tiny-imagenet-200.zip"));
    assert!(error("mnist", root.path()).contains("train-images-idx3-ubyte"));
    assert_eq!(
        error("folder", root.path()),
        format!(
            "a data set of folders is not in {here}: expected train/CLASS/*.png (or .jpg, .webp, .bmp, .gif, .tif, \
             .ppm …) and, if there is a test set, test/ or val/ likewise"
        )
    );
}

#[test]
fn idx_images() {
    const EXPECTED: &str = "expected an idx file of images (magic number 2051), gzip-compressed or not";
    let root = folder();
    mnist(root.path(), false);
    let (whole, labels) = idx_pair(0, 20);
    let check = |bytes: &[u8], found: &str| {
        expect("mnist", root.path(), "train-images-idx3-ubyte", bytes, &format!("{found}; {EXPECTED}"));
    };
    check(b"", "it ends too early");
    check(b"\x89PNG\r\n\x1a\n and so on", "its magic number is 2303741511");
    check(&labels, "its magic number is 2049");
    check(&whole[..whole.len() / 2], "its header promises 15696 bytes, but it has 7848");
    check(&[whole.as_slice(), b"x"].concat(), "its header promises 15696 bytes, but it has 15697");
    check(&idx(2051, &[1, 0, 28], &[]), "its header promises images of 0x28");
    check(&idx(2051, &[0, 28, 28], &[]), "its header promises no entries");
    check(
        &idx(2051, &[u32::MAX, 4096, 4096], &[1]),
        "its header promises 72057594021150736 bytes, but it has 17",
    );
    check(&gzip(&whole)[..400], "it ends too early");
    check(&gzip(&whole[..900]), "its header promises 15680 bytes of data, but there are 884");
}

#[test]
fn idx_labels() {
    const EXPECTED: &str = "expected an idx file of labels (magic number 2049), gzip-compressed or not";
    let root = folder();
    mnist(root.path(), true);
    let file = "t10k-labels-idx1-ubyte.gz";
    let check = |bytes: &[u8], message: &str| expect("mnist", root.path(), file, bytes, message);
    let whole = idx(2049, &[10], &[0; 10]);
    check(b"", &format!("it ends too early; {EXPECTED}"));
    check(&gzip(b""), &format!("it ends too early; {EXPECTED}"));
    check(&whole[..12], &format!("its header promises 10 bytes of data, but there are 4; {EXPECTED}"));
    check(
        &idx(2049, &[9], &[0; 9]),
        &format!(
            "it has 9 labels; expected 10, one for each image of {}",
            root.path().join("t10k-images-idx3-ubyte.gz").display()
        ),
    );
    check(
        &idx(2049, &[10], &[0, 1, 2, 3, 10, 5, 6, 7, 8, 9]),
        "image 4 has the label 10; expected labels 0 to 9",
    );
    fs::remove_file(root.path().join(file)).expect("it is there");
    assert_eq!(
        error("mnist", root.path()),
        format!(
            "mnist is not in {}: expected t10k-labels-idx1-ubyte, with .gz or without",
            root.path().join("").display()
        )
    );
}

#[test]
fn cifar_batches() {
    let root = folder();
    write_all(&root.path().join("cifar-10-batches-bin"), &cifar10_binary());
    let file = "cifar-10-batches-bin/data_batch_3.bin";
    let check = |bytes: &[u8], message: &str| expect("cifar10", root.path(), file, bytes, message);
    const EXPECTED: &str = "expected whole records of 3073 bytes, 1 of them labels";
    check(b"", &format!("the file is empty; {EXPECTED}"));
    check(&[0; 5000], &format!("it has 5000 bytes, which is not a whole number of records; {EXPECTED}"));
    check(&cifar_records(0, &[&[3], &[10]]), "image 1 has the label 10; expected labels 0 to 9");
    fs::remove_file(root.path().join(file)).expect("it is there");
    assert_eq!(
        error("cifar10", root.path()),
        format!("cannot open {}: No such file or directory (os error 2)", root.path().join(file).display())
    );
}

/// Half of a published CIFAR-10 batch is a whole number of records: the other files tell that it is not all.
#[test]
fn a_batch_truncated_between_records_is_noticed() {
    let root = folder();
    let below = root.path().join("cifar-10-batches-bin");
    let record = [0; 3073];
    for (name, _) in cifar10_binary() {
        let count = if name == "data_batch_4.bin" { 5_000 } else { 10_000 };
        write(below.join(name), record.repeat(count));
    }
    assert_eq!(
        error("cifar10", root.path()),
        format!(
            "{}: it holds 5000 images; expected 10000, as published; it seems to be truncated",
            below.join("data_batch_4.bin").display()
        )
    );
}

#[test]
fn cifar_pickles() {
    let root = folder();
    let below = root.path().join("cifar-100-python");
    write(below.join("train"), cifar_pickle(0, "fine_labels", &[1, 2]));
    write(below.join("test"), cifar_pickle(2, "fine_labels", &[1]));
    let check = |bytes: &[u8], found: &str| {
        let message = format!(
            "{found}; expected a batch of the python version of cifar100: a pickled dictionary with 'data' and \
             'fine_labels'"
        );
        expect("cifar100", root.path(), "cifar-100-python/train", bytes, &message);
    };
    let whole = cifar_pickle(0, "fine_labels", &[1, 2]);
    check(b"", "it ends in the middle of its pickle");
    check(b"\x7fELF", "it is not a pickle of protocol 2 to 5");
    check(&whole[..whole.len() / 2], "it ends in the middle of its pickle");
    check(&cifar_pickle(0, "labels", &[1, 2]), "it has no entry 'fine_labels'");
    check(b"\x80\x02cos\nsystem\nU\x04echo\x85R.", "it does not hold a dictionary");
    let malicious = fs::read(ddae_tests::fixtures().join("malicious.pth")).expect("a fixture");
    check(&malicious, "it is not a pickle of protocol 2 to 5");
    let label = cifar_pickle(0, "fine_labels", &[1, 100]);
    expect(
        "cifar100",
        root.path(),
        "cifar-100-python/train",
        &label,
        "image 1 has the label 100; expected labels 0 to 99",
    );
}

#[test]
fn tiny_imagenet() {
    let root = folder();
    let below = root.path().join("tiny-imagenet-200");
    write_all(&below, &tiny());
    let annotations = "tiny-imagenet-200/val/val_annotations.txt";
    let check = |bytes: &[u8], found: &str| {
        let message = format!(
            "{found}; expected lines of an image's name, a tab and its class (tiny-imagenet-200/val/val_annotations.txt)"
        );
        expect("tiny", root.path(), annotations, bytes, &message);
    };
    check(b"", "it is empty");
    check(b"val_0.JPEG\tn02\nval_1.JPEG", "line 2 has no tab");
    check(b"val_0.JPEG\tn03\n", "line 1 has the class 'n03', which train/ has not");
    check(b"../x.JPEG\tn02\n", "line 1 names the image '../x.JPEG'");
    check(b"\xff\xfe\x00", "it is not text");
    let path = root.path().join(annotations);
    fs::remove_file(&path).expect("it is there");
    assert_eq!(
        error("tiny", root.path()),
        format!("cannot read {}: No such file or directory (os error 2)", path.display())
    );
    fs::remove_dir_all(below.join("train/n01/images")).expect("it is there");
    fs::create_dir(below.join("train/n01/images")).expect("a new folder");
    assert_eq!(
        error("tiny", root.path()),
        format!(
            "{}: it has no images; expected at least one image file, such as .png or .jpg",
            below.join("train/n01/images").display()
        )
    );
}

#[test]
fn images_in_a_folder() {
    let root = folder();
    let first = root.path().join("train/a/0.png");
    let jpeg = encoded("x.jpg", [10, 120, 200], false, 40, 40);
    let png = encoded("x.png", [10, 120, 200], false, 40, 40);
    let check = |bytes: &[u8], found: &str| {
        write(&first, bytes);
        // Opening asks the header of the first image alone.
        let opened = datasets::open("folder", Some(root.path()));
        let read = opened.and_then(|set| set.train.read(0, &mut vec![0; set.train.image_len()]));
        let message = read.expect_err("a damaged image").to_string();
        let start = format!("{}: {found}", first.display());
        let end = "; expected a whole image (PNG, JPEG, WebP, BMP, GIF, TIFF or PNM)";
        assert!(message.starts_with(&start) && message.ends_with(end), "{message}");
    };
    check(b"", "the file is empty");
    check(b"GIF89a....", "it cannot be decoded (");
    check(b"hello", "it is text, which is not read");
    check(&png[..png.len() / 2], "it cannot be decoded (");
    check(&png[..8], "it cannot be decoded (");
    for length in [3, 20, jpeg.len() / 2, jpeg.len() - 2] {
        check(&jpeg[..length], "the JPEG ends too early");
    }
    // A header that promises an image of 4 GB.
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0, 0, 0x80, 0, 0, 0, 0x80, 0]);
    check(&huge, "it cannot be decoded (");
}

#[test]
fn folders_of_a_folder() {
    let root = folder();
    fs::create_dir_all(root.path().join("train")).expect("a new folder");
    let expected = "expected train/CLASS/*.png (or .jpg, .webp, .bmp, .gif, .tif, .ppm …) and, if there is a test set, test/ or val/ \
         likewise";
    let train = root.path().join("train");
    assert_eq!(error("folder", root.path()), format!("{}: it has no folders; {expected}", train.display()));
    write(train.join("a/1.png"), encoded("1.png", [1, 2, 3], false, 8, 8));
    let stranger = root.path().join("test/b");
    write(stranger.join("1.png"), encoded("1.png", [1, 2, 3], false, 8, 8));
    assert_eq!(
        error("folder", root.path()),
        format!("{}: there is no such class in train/; expected one of its 1 classes", stranger.display())
    );
}

/// A file that shrinks while it is in use is an error, not a crash.
#[test]
fn a_file_truncated_while_in_use() {
    let root = folder();
    let below = root.path().join("cifar-10-batches-bin");
    write_all(&below, &cifar10_binary());
    let train = datasets::open("cifar10", Some(root.path())).expect("whole").train;
    write(below.join("data_batch_1.bin"), [0; 100]);
    let error = train.read(2, &mut vec![0; 3072]).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "{}: it ends within image 2; expected it not to change while it is in use",
            below.join("data_batch_1.bin").display()
        )
    );
}
