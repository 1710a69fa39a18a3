//! What is read.

use super::*;

pub const NOTHING: &str = "";

/// A case: what it is, its files, the source (below their folder), what it is read to, and what is said of it, at least.
pub type Case<'a> = (&'a str, Files<'a>, &'a str, &'a str, &'a str);

#[track_caller]
pub fn check(cases: &[Case]) {
    for (what, files, source, wanted, note) in cases {
        let folder = made(files);
        let set = open(&folder, source).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = dump(&set).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(&found, wanted, "{what}");
        let notes = set.notes.join("; ");
        match note.is_empty() {
            true => assert_eq!(notes, "", "{what}"),
            false => assert!(notes.contains(note), "{what}: {notes:?}"),
        }
    }
}

#[test]
fn folders() {
    check(&[
        (
            "class folders",
            &[("b/ant/0.png", Image(0)), ("b/bee/1.png", Image(1)), ("b/bee/2.png", Image(2))],
            "b",
            "train: ant/0.png=0:ant bee/1.png=1:bee bee/2.png=2:bee",
            NOTHING,
        ),
        (
            "class folders of splits",
            &[
                ("b/train/ant/0.png", Image(0)),
                ("b/train/bee/1.png", Image(1)),
                ("b/val/bee/2.png", Image(2)),
                ("b/test/ant/3.png", Image(3)),
            ],
            "b",
            "train: train/ant/0.png=0:ant train/bee/1.png=1:bee\ntest: test/ant/3.png=3:ant\nval: val/bee/2.png=2:bee",
            NOTHING,
        ),
        (
            "other names of splits",
            &[
                ("b/Training/ant/0.png", Image(0)),
                ("b/validation/ant/1.png", Image(1)),
                ("b/testing/ant/2.png", Image(2)),
                ("b/README.md", Text("birds")),
            ],
            "b",
            "Training: Training/ant/0.png=0:ant\ntesting: testing/ant/2.png=2:ant\n\
             validation: validation/ant/1.png=1:ant",
            "1 file that is no image is left out: README.md",
        ),
        (
            "the class is the first level",
            &[
                ("b/ant/x/y/0.png", Image(0)),
                ("b/ant/1.png", Image(1)),
                ("b/bee/z/2.png", Image(2)),
                ("b/3.png", Image(3)),
                ("b/ant/x/notes.txt", Text("-")),
                ("b/.cache/4.png", Image(4)),
                ("b/__MACOSX/5.png", Image(5)),
            ],
            "b",
            "train: ant/1.png=1:ant ant/x/y/0.png=0:ant bee/z/2.png=2:bee",
            "1 image beside folders of classes is left out: 3.png; 1 file that is no image is left out: ant/x/notes.txt",
        ),
        (
            "images by themselves, also without an ending",
            &[("b/1.PNG", Image(1)), ("b/0", Image(0)), ("b/2.dat", Image(2)), ("b/3.dat", Text("no image"))],
            "b",
            "train: 0=0:- 1.PNG=1:- 2.dat=2:-",
            "1 file that is no image is left out: 3.dat; b has no labels: its images count as one class",
        ),
        (
            "splits without classes",
            &[("b/train/0.png", Image(0)), ("b/valid/1.png", Image(1))],
            "b",
            "train: train/0.png=0:-\nvalid: valid/1.png=1:-",
            "b has no labels",
        ),
        (
            "classes for training, none for tests",
            &[("b/train/ant/0.png", Image(0)), ("b/test/1.png", Image(1))],
            "b",
            "train: train/ant/0.png=0:ant\ntest: test/1.png=1:-",
            "b has no labels in test",
        ),
        (
            "tests alone",
            &[("b/test/ant/0.png", Image(0)), ("b/test/bee/1.png", Image(1))],
            "b",
            "test: test/ant/0.png=0:ant test/bee/1.png=1:bee",
            NOTHING,
        ),
        (
            "a class that is called train",
            &[("b/bus/0.png", Image(0)), ("b/train/1.png", Image(1))],
            "b",
            "train: bus/0.png=0:bus train/1.png=1:train",
            "train are taken for classes, since they lie beside bus and hold images only",
        ),
        (
            "splits beside another folder",
            &[("b/extra/0.png", Image(0)), ("b/train/ant/1.png", Image(1))],
            "b",
            "train: train/ant/1.png=1:ant",
            "train are taken for splits, and other folders left out: extra",
        ),
        ("one image", &[("b/0.png", Image(0))], "b/0.png", "train: 0.png=0:-", "b/0.png has no labels"),
        (
            "the data set 'folder', by its name",
            &[("train/ant/0.png", Image(0)), ("val/ant/1.png", Image(1)), ("notes.txt", Text("-"))],
            "folder",
            "train: train/ant/0.png=0:ant\nval: val/ant/1.png=1:ant",
            NOTHING,
        ),
    ]);
}

#[test]
fn tables() {
    let three: [(&str, Content); 4] =
        [("i/0.png", Image(0)), ("i/1.png", Image(1)), ("i/2.png", Image(2)), ("BMW/0.png", Image(0))];
    let labelled = "train: i/0.png=0:ant i/1.png=1:bee i/2.png=2:ant";
    let numbered = "train: i/0.png=0:10 i/1.png=1:2 i/2.png=2:0";
    for (what, name, text, wanted, note) in [
        ("paths", "l.txt", "i/2.png\n\ni/0.png\r\n", "train: i/2.png=2:- i/0.png=0:-", "l.txt has no labels"),
        ("a list that begins like a bitmap", "l.txt", "BMW/0.png 0\n", "train: BMW/0.png=0:0", ""),
        ("paths and labels after tabs", "l.txt", "i/0.png\tant\ni/1.png\tbee\ni/2.png\tant\n", labelled, ""),
        (
            "paths and labels after blanks",
            "l.txt",
            "i/0.png 10\ni/1.png 2\ni/2.png 0",
            numbered,
            "8 of 11 classes have no image",
        ),
        ("CSV", "l.csv", "path,label\ni/0.png,ant\ni/1.png,bee\ni/2.png,ant\n", labelled, ""),
        (
            "CSV of numbers",
            "l.csv",
            "filename,class\ni/0.png,10\ni/1.png,2\ni/2.png,0\n",
            numbered,
            "8 of 11 classes have no image",
        ),
        (
            "whole numbers with a point",
            "l.csv",
            "filename,class\ni/0.png,10.0\ni/1.png,2.0\ni/2.png,0.0\n",
            numbered,
            "labels such as 10.0 are read as whole numbers",
        ),
        (
            "numbers with zeros before them are names",
            "l.csv",
            "path,label\ni/0.png,01\ni/1.png,1\ni/2.png,0042\n",
            "train: i/0.png=0:01 i/1.png=1:1 i/2.png=2:0042",
            "",
        ),
        ("CSV with semicolons", "l.csv", "class;file\nant;i/0.png\nbee;i/1.png\nant;i/2.png\n", labelled, ""),
        (
            "CSV with other columns and a byte-order mark",
            "l.csv",
            "\u{feff}w,Image,target\n1,i/0.png,ant\n2,\"i/1.png\",bee\n3,i/2.png,ant\n",
            labelled,
            "",
        ),
        ("CSV without a header", "l.csv", "i/0.png,ant\ni/1.png,bee\ni/2.png,ant\n", labelled, ""),
        ("TSV", "l.tsv", "file_name\tlabel\ni/0.png\tant\ni/1.png\tbee\ni/2.png\tant\n", labelled, ""),
        (
            "JSON lines",
            "l.jsonl",
            "{\"file_name\": \"i/0.png\", \"label\": \"ant\"}\n{\"label\": \"bee\", \"file_name\": \"i/1.png\"}\n",
            "train: i/0.png=0:ant i/1.png=1:bee",
            "",
        ),
        (
            "JSON lines of numbers",
            "l.jsonl",
            "{\"image\": \"i/0.png\", \"label\": 1}\n{\"image\": \"i/1.png\", \"label\": 0}\n",
            "train: i/0.png=0:1 i/1.png=1:0",
            "",
        ),
        (
            "a column of splits",
            "l.csv",
            "path,label,split\ni/0.png,ant,train\ni/1.png,ant,val\ni/2.png,,test\n",
            "train: i/0.png=0:ant\ntest: i/2.png=2:-\nval: i/1.png=1:ant",
            "l.csv has no labels in test",
        ),
    ] {
        let files: Vec<(&str, Content)> = three.iter().copied().chain([(name, Text(text))]).collect();
        check(&[(what, &files, name, wanted, note)]);
    }
}

/// Names with accents are the same in one character and in two, in lists, labels and folders.
#[test]
fn names_with_accents() {
    check(&[
        (
            "a list in NFC of files in NFD",
            &[("caf\u{65}\u{301}/0.png", Image(0)), ("l.csv", Text("path,label\ncaf\u{e9}/0.png,\u{e9}\n"))],
            "l.csv",
            "train: caf\u{e9}/0.png=0:\u{e9}",
            "1 path was found under names whose accents",
        ),
        (
            "classes in both",
            &[("b/train/\u{e9}/0.png", Image(0)), ("b/val/e\u{301}/1.png", Image(1))],
            "b",
            "train: train/\u{e9}/0.png=0:\u{e9}\nval: val/e\u{301}/1.png=1:\u{e9}",
            NOTHING,
        ),
        (
            "labels in both",
            &[("b/e\u{301}.png", Image(0)), ("l.csv", Text("path,label\n\u{e9}.png,ant\n"))],
            "b --labels l.csv",
            "train: e\u{301}.png=0:ant",
            "are taken paths of '",
        ),
    ]);
}

#[test]
fn labels_beside_images() {
    let flat: [(&str, Content); 3] = [("b/0.png", Image(0)), ("b/1.png", Image(1)), ("b/x/2.png", Image(2))];
    let with = |name: &'static str, text: &'static str| -> Vec<(&str, Content)> {
        flat.iter().copied().chain([(name, Text(text))]).collect()
    };
    check(&[
        (
            "metadata.csv",
            &with("b/metadata.csv", "file_name,label\nx/2.png,ant\n0.png,bee\n1.png,ant\n"),
            "b",
            "train: 0.png=0:bee 1.png=1:ant x/2.png=2:ant",
            "are taken paths of '",
        ),
        (
            "metadata.jsonl, of which one image is not",
            &with(
                "b/metadata.jsonl",
                "{\"file_name\":\"0.png\",\"label\":1}\n{\"file_name\":\"1.png\",\"label\":0}\n",
            ),
            "b",
            "train: 0.png=0:1 1.png=1:0",
            "1 image is left out, which ",
        ),
        (
            "metadata.csv of each split",
            &[
                ("b/train/0.png", Image(0)),
                ("b/train/metadata.csv", Text("file_name,label\n0.png,ant\n")),
                ("b/test/1.png", Image(1)),
                ("b/test/metadata.csv", Text("file_name,label\n1.png,ant\n")),
            ],
            "b",
            "train: train/0.png=0:ant\ntest: test/1.png=1:ant",
            "are taken paths of '",
        ),
        (
            "metadata.csv without labels",
            &[("b/ant/0.png", Image(0)), ("b/metadata.csv", Text("file_name,caption\nant/0.png,an ant\n"))],
            "b",
            "train: ant/0.png=0:ant",
            "it has no labels",
        ),
        (
            "metadata.csv of something else",
            &[("b/ant/0.png", Image(0)), ("b/metadata.csv", Text("licence,year\nCC,2020\n"))],
            "b",
            "train: ant/0.png=0:ant",
            "metadata.csv: it names no images",
        ),
        (
            "--labels by whole keys before names without endings",
            &[
                ("b/0.png", Image(0)),
                ("b/x/0.png", Image(1)),
                ("l.csv", Text("path,label\nx/0.png,bee\n0.png,ant\n")),
            ],
            "b/x --labels l.csv",
            "train: 0.png=1:ant",
            "1 row of ",
        ),
        (
            "--labels by paths",
            &[
                ("b/0.png", Image(0)),
                ("b/1.png", Image(1)),
                ("l.csv", Text("path,label\n0.png,ant\n./1.png,bee\n")),
            ],
            "b --labels l.csv",
            "train: 0.png=0:ant 1.png=1:bee",
            "are taken paths of '",
        ),
        (
            "--labels by names without endings, of splits, with a row too many",
            &[
                ("b/train/0.png", Image(0)),
                ("b/test/1.png", Image(1)),
                ("l.csv", Text("id,label\n0,3\n1,1\n2,0\n")),
            ],
            "b --labels l.csv",
            "train: train/0.png=0:3\ntest: test/1.png=1:1",
            "1 row of ",
        ),
        (
            "--labels in place of folders",
            &[
                ("b/2021/0.png", Image(0)),
                ("b/2022/1.png", Image(1)),
                ("l.csv", Text("path,label\n2021/0.png,ant\n1.png,bee\n")),
            ],
            "b --labels l.csv",
            "train: 2021/0.png=0:ant 2022/1.png=1:bee",
            "not the folders' names",
        ),
        (
            "--labels of a list",
            &[
                ("i/0.png", Image(0)),
                ("p.txt", Text("i/0.png\n")),
                ("l.csv", Text("path,label\ni/0.png,ant\n")),
            ],
            "p.txt --labels l.csv",
            "train: i/0.png=0:ant",
            "are taken paths of '",
        ),
        (
            "--labels of a tar file, by webdataset's keys",
            &[
                ("000.tar", Fixture("webdataset-unlabelled/000.tar")),
                ("l.csv", Text("__key__,label\nsample000,bee\nsample001,ant\n")),
            ],
            "000.tar --labels l.csv",
            "train: 000.tar/sample000.png=0:bee 000.tar/sample001.png=1:ant",
            "are taken paths of '",
        ),
        (
            "--labels of a tar file, by our keys",
            &[
                ("000.tar", Fixture("webdataset-unlabelled/000.tar")),
                ("l.csv", Text("path,label\n000.tar/sample001.png,ant\n")),
            ],
            "000.tar --labels l.csv",
            "train: 000.tar/sample001.png=1:ant",
            "1 image is left out, which ",
        ),
    ]);
}

/// The published data sets are known by their folders, too.
#[test]
fn published_data_sets_by_their_path() {
    let records = [[3; 3073], [5; 3073]].concat();
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("c");
    fs::create_dir(&below).expect("a folder");
    for batch in 1..=5 {
        fs::write(below.join(format!("data_batch_{batch}.bin")), &records).expect("written");
    }
    fs::write(below.join("test_batch.bin"), &records).expect("written");
    let set = open(&folder, "c/").expect("CIFAR-10");
    assert_eq!((set.name.as_str(), set.train.len(), set.train.label(1)), ("cifar10", 10, 5));
    assert_eq!(set.notes, ["c/ is cifar10, as published"]);
}
