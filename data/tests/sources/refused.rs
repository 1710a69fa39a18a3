//! What is not read, and what is said of it.

use super::*;

/// A case: its files, the source, and what the message says.
type Case<'a> = (Files<'a>, &'a str, &'a str);

#[track_caller]
fn check(cases: &[Case]) {
    for (files, source, wanted) in cases {
        let folder = made(files);
        let error = match open(&folder, source).and_then(|set| dump(&set)) {
            Ok(read) => panic!("{source} was read: {read}"),
            Err(error) => error.to_string(),
        };
        assert!(!error.contains('\n'), "{error}");
        assert!(error.contains(wanted), "{source}: {error}");
    }
}

#[test]
fn paths_and_files() {
    check(&[
        (&[], "birds", "there is no data set named 'birds'; known names: fashion-sample, "),
        (&[], "birds/", "birds/: there is no such file or folder, nor below "),
        (
            &[],
            "https://example.com/a.tar",
            "images are read from files, not from the network (https); fetch them first",
        ),
        (&[("a.png", Bytes(b""))], "a.png", "the file is empty"),
        (
            &[("a.bin", Bytes(b"\0\x01\x02"))],
            "a.bin",
            "it is nothing that images are read from; expected a folder of",
        ),
        (&[("a.zip", Bytes(b"PK\x03\x04...."))], "a.zip", "it is a zip archive; expected"),
        (
            &[("a.tar.gz", Bytes(b"\x1f\x8b\x08...."))],
            "a.tar.gz",
            "it is compressed with gzip, and cannot be read by position; expected the unpacked file (gzip -dk unpacks it)",
        ),
        (&[("a.tar.zst", Bytes(b"\x28\xb5\x2f\xfd..."))], "a.tar.zst", "it is compressed with zstd"),
        (
            &[("a.parquet", Text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"))],
            "a.parquet",
            "it is a pointer of Git LFS, not the file it stands for (fetch that with 'git lfs pull')",
        ),
        (&[("a.h5", Bytes(b"\x89HDF\r\n\x1a\n"))], "a.h5", "it is an HDF5 file; expected"),
        (
            &[("b/\u{e9}/0.png", Image(0)), ("b/e\u{301}/1.png", Image(1))],
            "b",
            "its name reads as that of another folder beside it",
        ),
        (&[("b/.hidden.png", Image(0))], "b", "it has no images; expected at least one image file"),
        (&[("b/ant/0.png", Image(0)), ("b/bee/notes.txt", Text("-"))], "b", "/bee: it has no images"),
        (
            &[("b/train/ant/0.png", Image(0)), ("b/val/bee/1.png", Image(1))],
            "b",
            "/b/val/bee: there is no such class in train/; expected one of its 1 classes",
        ),
        (
            &[
                ("b/train/0.png", Image(0)),
                ("b/test/1.png", Image(1)),
                ("b/metadata.csv", Text("file_name,label\ntrain/0.png,ant\ntest/1.png,ant\n")),
            ],
            "b",
            "metadata.csv: it has labels, and lies beside the folders of splits, where it is not read",
        ),
        (
            &[],
            "s/{0..1}.tar",
            "s/{0..1}.tar: 2 of its 2 files are not there, s/0.tar first; name those that are",
        ),
        (&[("s/0.png", Image(0)), ("s/1.png", Image(1))], "s/{0..1}.png", "it is one of several files"),
    ]);
}

#[test]
fn tables() {
    let image = ("0.png", Image(0));
    check(&[
        (&[("l.txt", Text(""))], "l.txt", "it has no rows; expected a row for each image"),
        (
            &[image, ("l.txt", Text("0.png\n1.png\n"))],
            "l.txt",
            "line 2 names 1.png, which is not there; expected paths",
        ),
        (
            &[("l.txt", Text("a.png\nb.png\n"))],
            "l.txt",
            "line 1 names a.png, which is not there, one of 2 at most; expected",
        ),
        (
            &[image, ("l.txt", Text("0.png\thttp\nhttp://x/1.png\ty\n"))],
            "l.txt",
            "line 2 names an address, http://x/1.png",
        ),
        (&[image, ("l.txt", Text("0.png\tant\n0.png\n"))], "l.txt", "line 2 has no label after its path"),
        (
            &[image, ("l.csv", Text("a,b\n0.png,1\n"))],
            "l.csv",
            "line 1 names no column of paths, but a, b; expected columns",
        ),
        (&[image, ("l.csv", Text("path,label\n0.png\n"))], "l.csv", "line 2 has no column of labels"),
        (&[image, ("l.csv", Bytes(b"path\n\xff.png\n"))], "l.csv", "line 2 is not in UTF-8"),
        (
            &[image, ("1.png", Image(1)), ("l.csv", Text("path,label\n0.png,ant\n1.png,\n"))],
            "l.csv",
            "1.png: it has no label, unlike others of 'train'; expected labels of all images",
        ),
        (
            &[image, ("l.csv", Text("path,label\n0.png,-2\n"))],
            "l.csv",
            "its label is -2, and numbered classes are 0 to",
        ),
        (&[image, ("l.csv", Text("path,label\n0.png,4000000000\n"))], "l.csv", "its label is 4000000000"),
        (
            &[
                image,
                ("1.png", Image(1)),
                ("l.csv", Text("path,label,split\n0.png,ant,train\n1.png,bee,test\n")),
            ],
            "l.csv",
            "1.png: its class is 'bee'; expected one of the classes of the training images",
        ),
        (
            &[image, ("l.csv", Text("path,label\n0.png,ant\n./0.png,bee\n"))],
            "l.csv",
            "lines 2 and 3 both name ./0.png; expected each image once in a split",
        ),
        (&[image, ("l.jsonl", Text("{\"a\": 1}\n"))], "l.jsonl", "line 1 has no path"),
        (&[image, ("l.jsonl", Text("[]\n"))], "l.jsonl", "line 1 is no JSON object"),
        (
            &[image, ("l.jsonl", Text("{\"path\": \"0.png\", \"label\": [1]}\n"))],
            "l.jsonl",
            "has a 'label' that is neither text",
        ),
    ]);
}

#[test]
fn labels() {
    let two: [(&str, Content); 2] = [("b/x/0.png", Image(0)), ("b/y/0.png", Image(1))];
    let with = |text: &'static str| -> Vec<(&str, Content)> {
        two.iter().copied().chain([("l.csv", Text(text))]).collect()
    };
    check(&[
        (&with("path,label\n0.png,ant\n"), "b --labels l.csv", "line 2 names both x/0.png and y/0.png"),
        (
            &with("path,label\n7.png,ant\n"),
            "b --labels l.csv",
            "none of its rows names an image (line 2: 7.png); expected keys such as x/0.png",
        ),
        (&with("path\nx/0.png\n"), "b --labels l.csv", "it has no labels; expected a path and a label"),
        (
            &with("path,label,split\nx/0.png,a,train\ny/0.png,b,test\n"),
            "b --labels l.csv",
            "l.csv: it has a column of splits, which is not read of a table of labels",
        ),
        (
            &with("path,label\nx/0.png,a\n./x/0.png,b\n"),
            "b --labels l.csv",
            "lines 2 and 3 both name ./x/0.png",
        ),
        (
            &[("t.tar", Fixture("webdataset/birds-val-000000.tar")), ("l.csv", Text("path,label\na,b\n"))],
            "t.tar --labels l.csv",
            "has labels already",
        ),
        (
            &[("l.csv", Text("path,label\na,b\n"))],
            "fashion-sample --labels l.csv",
            "fashion-sample has labels already",
        ),
    ]);
}

#[test]
fn streams() {
    check(&[
        (
            &[
                ("s/a.tar", Fixture("webdataset-unlabelled/000.tar")),
                ("s/b.parquet", Fixture("plain/none-v1.parquet")),
            ],
            "s",
            "it holds tar files (",
        ),
        (
            &[
                ("h/a/train.parquet", Fixture("plain/none-v1.parquet")),
                ("h/b/train.parquet", Fixture("plain/none-v1.parquet")),
            ],
            "h",
            "it holds parquet files of 2 configurations; expected one of their folders: ",
        ),
        (
            &[
                ("b/train/ant/0.png", Image(0)),
                ("b/val/ant/1.png", Image(1)),
                ("b/birds.tar", Fixture("webdataset-unlabelled/000.tar")),
            ],
            "b",
            "it holds birds.tar and images in folders (train/ant/0.png); expected one or the other",
        ),
        (
            &[("b/ant/0.png", Image(0)), ("b/backup/old.tar", Fixture("webdataset-unlabelled/000.tar"))],
            "b",
            "it holds backup/old.tar and images in folders (ant/0.png)",
        ),
        (
            &[("b/train/ant/0.png", Image(0)), ("b/train/all.parquet", Fixture("plain/none-v1.parquet"))],
            "b",
            "it holds train/all.parquet and images in folders (train/ant/0.png)",
        ),
        (
            &[
                ("s/birds/train/0.tar", Fixture("webdataset-unlabelled/000.tar")),
                ("s/cars/train/0.tar", Fixture("webdataset-unlabelled/000.tar")),
            ],
            "s",
            "it holds tar files of 2 configurations",
        ),
        (
            &[
                ("s/train_test_00.tar", Fixture("webdataset-unlabelled/000.tar")),
                ("s/train_01.tar", Fixture("webdataset-unlabelled/000.tar")),
            ],
            "s",
            "train_test_00.tar: its name says two splits, train and test",
        ),
        (
            &[
                ("h/clean-train-00000-of-00001.parquet", Fixture("plain/none-v1.parquet")),
                ("h/noisy-train-00000-of-00001.parquet", Fixture("plain/none-v1.parquet")),
            ],
            "h",
            "split train has files of two names, clean-train-* and noisy-train-*",
        ),
        (
            &[
                ("h/train-00000-of-00001.parquet", Fixture("plain/none-v1.parquet")),
                ("h/train-00000-of-00002.parquet", Fixture("plain/none-v1.parquet")),
            ],
            "h",
            "split train has files of 1 and of 2",
        ),
        (
            &[
                ("h/train-00000-of-00003.parquet", Fixture("plain/none-v1.parquet")),
                ("h/train-00002-of-00003.parquet", Fixture("plain/none-v1.parquet")),
            ],
            "h",
            "split train has 2 of 3 files; expected train-00001-of-00003.parquet too",
        ),
        (
            &[
                ("h/train.parquet", Fixture("plain/none-v1.parquet")),
                ("h/test.parquet", Fixture("hub-cifar100/data/test-00000-of-00001.parquet")),
            ],
            "h",
            "its columns are img and fine_label; expected image and label, as in the first file",
        ),
        (
            &[("p.parquet", Fixture("plain/brotli-v1.parquet"))],
            "p.parquet",
            "its images are compressed with BROTLI",
        ),
        (
            &[("p.parquet", Fixture("odd/paths.parquet"))],
            "p.parquet",
            "p.parquet/1: the row has no bytes of an image; expected the image itself in the file, not the path of one",
        ),
        (
            &[("p.parquet", Fixture("odd/numbers.parquet"))],
            "p.parquet",
            "it has no column of encoded images, but image.list.element, label; expected a column 'image' of bytes",
        ),
        (
            &[("p.parquet", Fixture("odd/two.parquet"))],
            "p.parquet",
            "it has several columns of bytes (left, right), none of which is called image",
        ),
    ]);
}

#[test]
fn splits_are_named_where_there_is_none() {
    let folder = made(&[("b/train/ant/0.png", Image(0)), ("b/val/ant/1.png", Image(1))]);
    let set = open(&folder, "b").expect("images");
    let error = set.split(Some("holdout"), "train").expect_err("no such split").to_string();
    assert_eq!(error, "--split holdout: b has no such split; it has train, val");
    let chosen = set.split(Some("test"), "train").expect("validation images");
    assert_eq!(chosen.note.as_deref(), Some("b has no split 'test': its 'val' is taken"));
    assert_eq!((chosen.split.name(), set.test.name()), ("b/val", "b/val"));
    // The oldest kind of source keeps the names that feature files of the last release have.
    let set = datasets::open("folder", Some(&folder.path().join("b"))).expect("images");
    assert_eq!((set.train.name(), set.test.name()), ("folder/train", "folder/test"));
    let flat = made(&[("b/0.png", Image(0))]);
    let train = open(&flat, "b").expect("images").train;
    let error = train.check_labels("a probe").expect_err("no labels").to_string();
    assert!(
        error.starts_with(
            "b/train has no labels, which a probe needs: give images in class folders or a CSV list"
        ),
        "{error}"
    );
}
