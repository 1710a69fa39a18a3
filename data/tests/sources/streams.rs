//! Tar shards and parquet files that are read.

use super::layouts::{NOTHING, check};
use super::*;

#[test]
fn tar_shards() {
    let shards: [(&str, Content); 3] = [
        ("s/birds-train-000000.tar", Fixture("webdataset/birds-train-000000.tar")),
        ("s/birds-train-000001.tar", Fixture("webdataset/birds-train-000001.tar")),
        ("s/birds-val-000000.tar", Fixture("webdataset/birds-val-000000.tar")),
    ];
    let (one, two, three) = (
        "birds-train-000000.tar/sample000.png=0:0 birds-train-000000.tar/sample001.png=1:1 \
         birds-train-000000.tar/sample002.png=2:2",
        "birds-train-000001.tar/sample003.png=3:0 birds-train-000001.tar/sample004.png=4:1",
        "birds-val-000000.tar/sample005.png=5:2 birds-val-000000.tar/sample006.png=6:0",
    );
    check(&[
        ("a folder of shards", &shards, "s", &format!("train: {one} {two}\nval: {three}"), NOTHING),
        (
            "shards by a pattern",
            &shards,
            "s/birds-train-{000000..000001}.tar",
            &format!("train: {one} {two}"),
            NOTHING,
        ),
        (
            "shards by a list",
            &shards,
            "s/birds-{train,val}-000000.tar",
            &format!("train: {one}\nval: {three}"),
            NOTHING,
        ),
        (
            "one shard",
            &shards,
            "s/birds-val-000000.tar",
            &format!("val: {three}"),
            "1 of 3 classes have no image",
        ),
        (
            "a folder of shards for each split",
            &[
                ("s/train/0.tar", Fixture("webdataset/birds-val-000000.tar")),
                ("s/test/0.tar", Fixture("webdataset/birds-val-000000.tar")),
            ],
            "s",
            "train: train/0.tar/sample005.png=5:2 train/0.tar/sample006.png=6:0\n\
             test: test/0.tar/sample005.png=5:2 test/0.tar/sample006.png=6:0",
            "1 of 3 classes have no image",
        ),
        (
            "classes in JSON, captions left out",
            &[("s/000.tar", Fixture("webdataset-json/000.tar"))],
            "s",
            "train: 000.tar/sample000.png=0:ant 000.tar/sample001.png=1:bee 000.tar/sample002.png=2:cat",
            "3 files that are neither images nor labels are left out, such as",
        ),
        (
            "no labels",
            &[("s/000.tar", Fixture("webdataset-unlabelled/000.tar"))],
            "s/000.tar",
            "train: 000.tar/sample000.png=0:- 000.tar/sample001.png=1:-",
            "s/000.tar has no labels",
        ),
    ]);
    let name = |n: u8| format!("{}/{}/{n}", "folder".repeat(12), "naïve".repeat(20));
    let wanted = format!("train: long.tar/{}.png=0:0 long.tar/{}.png=1:1", name(0), name(1));
    for fixture in ["tar-pax/long.tar", "tar-gnu/long.tar"] {
        check(&[(fixture, &[("long.tar", Fixture(fixture))], "long.tar", &wanted, NOTHING)]);
    }
}

#[test]
fn parquet_files() {
    let hub: [(&str, Content); 4] = [
        ("h/data/train-00000-of-00002.parquet", Fixture("hub/data/train-00000-of-00002.parquet")),
        ("h/data/train-00001-of-00002.parquet", Fixture("hub/data/train-00001-of-00002.parquet")),
        ("h/data/validation-00000-of-00001.parquet", Fixture("hub/data/validation-00000-of-00001.parquet")),
        ("h/README.md", Text("birds")),
    ];
    check(&[
        (
            "a data set of Hugging Face's hub",
            &hub,
            "h",
            "train: data/train-00000-of-00002.parquet/0=0:ant data/train-00000-of-00002.parquet/1=1:bee \
             data/train-00000-of-00002.parquet/2=2:cat data/train-00001-of-00002.parquet/0=3:ant \
             data/train-00001-of-00002.parquet/1=4:bee\n\
             validation: data/validation-00000-of-00001.parquet/0=5:cat data/validation-00000-of-00001.parquet/1=6:ant",
            NOTHING,
        ),
        (
            "one file of it",
            &hub,
            "h/data/train-00001-of-00002.parquet",
            "train: train-00001-of-00002.parquet/0=3:ant train-00001-of-00002.parquet/1=4:bee",
            NOTHING,
        ),
        (
            "CIFAR-100's columns",
            &[
                (
                    "h/c/train-00000-of-00001.parquet",
                    Fixture("hub-cifar100/data/train-00000-of-00001.parquet"),
                ),
                ("h/c/test-00000-of-00001.parquet", Fixture("hub-cifar100/data/test-00000-of-00001.parquet")),
            ],
            "h",
            "train: c/train-00000-of-00001.parquet/0=0:ant c/train-00000-of-00001.parquet/1=1:bee \
             c/train-00000-of-00001.parquet/2=2:cat\ntest: c/test-00000-of-00001.parquet/0=3:ant",
            "labels are those of the column fine_label; coarse_label is left out",
        ),
        (
            "test labels that are kept secret",
            &[
                ("h/train-00000-of-00001.parquet", Fixture("hub-secret/data/train-00000-of-00001.parquet")),
                ("h/test-00000-of-00001.parquet", Fixture("hub-secret/data/test-00000-of-00001.parquet")),
            ],
            "h",
            "train: train-00000-of-00001.parquet/0=0:ant train-00000-of-00001.parquet/1=1:bee \
             train-00000-of-00001.parquet/2=2:cat\n\
             test: test-00000-of-00001.parquet/0=3:- test-00000-of-00001.parquet/1=4:-",
            "h has no labels in test",
        ),
        (
            "a folder for each split, as the hub converts them",
            &[
                ("h/default/train/0000.parquet", Fixture("plain/zstd-v1.parquet")),
                ("h/default/test/0000.parquet", Fixture("odd/number.parquet")),
            ],
            "h/default/train/0000.parquet",
            "train: 0000.parquet/0=0:ant 0000.parquet/1=1:bee 0000.parquet/2=2:cat 0000.parquet/3=3:ant 0000.parquet/4=4:bee",
            NOTHING,
        ),
        (
            "labels as numbers without names",
            &[("n.parquet", Fixture("odd/number.parquet"))],
            "n.parquet",
            "train: n.parquet/0=0:7",
            "7 of 8 classes have no image",
        ),
    ]);
    for codec in ["none", "snappy", "gzip", "zstd", "lz4"] {
        for version in ["v1", "v2"] {
            let fixture: &'static str =
                Box::leak(format!("plain/{codec}-{version}.parquet").into_boxed_str());
            let wanted = "train: p.parquet/0=0:ant p.parquet/1=1:bee p.parquet/2=2:cat p.parquet/3=3:ant p.parquet/4=4:bee";
            check(&[(fixture, &[("p.parquet", Fixture(fixture))], "p.parquet", wanted, NOTHING)]);
        }
    }
}

/// Batches of several threads in any order are what one thread reads in order.
#[test]
fn streams_are_read_in_any_order_by_many() {
    let folder = made(&[
        ("p.parquet", Fixture("plain/snappy-v1.parquet")),
        ("t/birds-train-000000.tar", Fixture("webdataset/birds-train-000000.tar")),
        ("t/birds-train-000001.tar", Fixture("webdataset/birds-train-000001.tar")),
    ]);
    for source in ["p.parquet", "t"] {
        let train = open(&folder, source).expect("images").train;
        assert_eq!(train.len(), 5);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let train = &train;
                scope.spawn(move || {
                    for step in 0..200 {
                        let index = (step * 3 + thread) % 5;
                        assert_eq!(number(train, index).expect("an image") as usize, index);
                    }
                });
            }
        });
        let small = train.fit([3, 2, 2]).expect("decoded to another size");
        let some = small.subset(&[4, 1]).expect("a part");
        assert_eq!(some.key(0), train.key(4));
        let mut levels = [0; 12];
        some.read(0, &mut levels).expect("an image");
        assert_eq!(levels[0], colour(4)[0]);
    }
}
