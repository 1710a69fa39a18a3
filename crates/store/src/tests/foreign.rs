//! Texts and datasets of other programs, in our files and in theirs.

use hdf5::file::File;
use hdf5::types::{FixedAscii, FixedUnicode, VarLenAscii, VarLenUnicode};

use super::*;
use crate::foreign::{Column, Content, Entry, ForeignFile, Rows};

/// Attributes that went through another program: ASCII, and of variable length.
#[test]
fn texts_of_every_kind_are_read() {
    let shard = "version1.0000-of-0002.h5";
    for kind in ["ascii", "variable", "variable ascii", "list of one"] {
        let folder = folder();
        version1::copied(folder.path(), &[shard]);
        let path = folder.path().join(shard);
        // One of the class names of `attributes` is not ASCII.
        let others: &[&str] = if kind.ends_with("ascii") { &[] } else { &["attributes"] };
        let names = ["format", "dtype", "compression", "keys", "shards"];
        let file = File::open_rw(&path).expect("HDF5");
        for &name in names.iter().chain(others) {
            let text = crate::attribute_text::attribute(&file, name).expect("a text");
            file.delete_attr(name).expect("deleted");
            match kind {
                "ascii" => {
                    let text: FixedAscii<2048> = FixedAscii::from_ascii(&text).expect("ASCII");
                    let attribute = file.new_attr::<FixedAscii<2048>>().create(name).expect("made");
                    attribute.write_scalar(&text).expect("written");
                }
                "variable ascii" => {
                    let text = VarLenAscii::from_ascii(&text).expect("ASCII");
                    file.new_attr::<VarLenAscii>()
                        .create(name)
                        .expect("made")
                        .write_scalar(&text)
                        .expect("written");
                }
                _ => {
                    let text: VarLenUnicode = text.parse().expect("a text");
                    let builder = file.new_attr::<VarLenUnicode>();
                    if kind == "variable" {
                        builder.create(name).expect("made").write_scalar(&text).expect("written");
                    } else {
                        builder.shape(1).create(name).expect("made").write(&[text]).expect("written");
                    }
                }
            }
        }
        file.close().expect("closed");
        check_content(&path, &version1::old_layout(), 0..51);
    }
}

#[test]
fn what_is_no_text_is_refused() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    let file = File::create(&path).expect("HDF5");
    file.new_attr::<i64>().create("number").expect("made").write_scalar(&3).expect("written");
    let text: VarLenUnicode = "x".repeat(crate::attribute_text::LONGEST + 1).parse().expect("a text");
    file.new_attr::<VarLenUnicode>().create("long").expect("made").write_scalar(&text).expect("written");
    for name in ["number", "long", "none"] {
        assert!(crate::attribute_text::attribute(&file, name).is_err(), "{name}");
    }
}

#[test]
fn added_datasets_are_listed_and_links_not_followed() {
    let folder = folder();
    let prefix = folder.path().join("train");
    write_job(&prefix, 1, &layout());
    let path = shard_path(&prefix, 0, 1);
    assert_eq!(FeatureFile::open(&path).expect("a file").added(), [""; 0]);
    let file = File::open_rw(&path).expect("HDF5");
    file.create_group("features/umap")
        .expect("a group")
        .new_dataset::<f32>()
        .shape(3)
        .create("xy")
        .expect("made");
    file.link_soft("/labels", "also").expect("linked");
    // A group that holds itself.
    file.link_hard("/features", "features/again").expect("linked");
    file.close().expect("closed");
    let added = FeatureFile::open(&path).expect("a file").added();
    assert_eq!(added[0], "/also");
    assert!(added.contains(&"/features/umap/xy".to_string()), "{added:?}");
    assert!(added.len() <= 1000, "{}", added.len());
}

#[test]
fn numbers_of_every_type_are_rows() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    {
        let file = File::create(&path).expect("HDF5");
        macro_rules! add {
            ($name:literal, $values:expr) => {
                file.new_dataset_builder().with_data(&$values).create($name).expect("written");
            };
        }
        add!("i8", ndarray::arr2(&[[-1i8, 2], [3, 4]]));
        add!("u16", ndarray::arr2(&[[1u16, 2], [3, 65535]]));
        add!("i64", ndarray::arr2(&[[1i64, 2], [16_777_217, 4]]));
        add!("f64", ndarray::arr2(&[[0.1f64, 2.0], [3.0, 1e300]]));
        add!("f16", ndarray::arr2(&[[half::f16::from_f32(0.5), half::f16::ONE]]));
        add!("bool", ndarray::arr1(&[true, false]));
    }
    let file = ForeignFile::open(&path).expect("a file");
    assert!(!file.is_feature_file());
    assert_eq!(file.entries()[0], Entry { name: "/bool".to_string(), shape: Some(vec![2]) });
    let rows = |name: &str| file.dataset(name).expect(name).rows(0..1).expect(name);
    assert_eq!(rows("i8"), Rows::F32(vec![-1.0, 2.0]));
    assert_eq!(rows("/f64"), Rows::F64(vec![0.1, 2.0]));
    assert_eq!(rows("f16"), Rows::F32(vec![0.5, 1.0]));
    let last = |name: &str| file.dataset(name).expect(name).rows(1..2).expect(name);
    assert_eq!(last("u16"), Rows::F32(vec![3.0, 65535.0]));
    // The nearest that there is.
    assert_eq!(last("i64"), Rows::F32(vec![16_777_216.0, 4.0]));
    let truth = file.dataset("bool").expect("a dataset");
    assert_eq!(
        (truth.content(), truth.column().expect("labels")),
        (Content::Numbers("bool"), Column::Integers(vec![1, 0]))
    );
    let error = file.dataset("none").expect_err("none").to_string();
    assert!(error.ends_with("dataset none: there is none"), "{error}");
}

/// What a foreign file cannot be read as: packed by a plug-in or in ways that multiply, in chunks that fill the memory.
#[test]
fn packing_that_is_not_read_is_named() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    {
        let file = File::create(&path).expect("HDF5");
        let values = ndarray::Array2::<i32>::zeros((64, 4));
        file.new_dataset_builder().with_data(&values).chunk((8, 4)).nbit().create("nbit").expect("written");
        let builder = file.new_dataset::<f32>().chunk((1 << 22, 4)).deflate(9).shape((64.., 4));
        builder.create("huge").expect("made");
    }
    let file = ForeignFile::open(&path).expect("a file");
    for (name, wanted) in [
        ("nbit", "nbit is packed by NBit; store it with gzip or lzf, or as it is"),
        ("huge", "huge is stored in chunks of [4194304, 4], 67108864 bytes each"),
    ] {
        let error = file.dataset(name).expect_err(name).to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// A group that holds itself six times over has six to the twelfth names for what is in it.
#[test]
fn groups_that_hold_themselves_come_to_an_end() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    {
        let file = File::create(&path).expect("HDF5");
        let group = file.create_group("loop").expect("a group");
        (0..6).for_each(|i| file.link_hard("/loop", &format!("loop/{i}")).expect("linked"));
        file.create_group("z").expect("a group").new_dataset::<f32>().shape(3).create("x").expect("made");
        drop(group);
    }
    let entries = ForeignFile::open(&path).expect("a file").entries();
    assert_eq!(entries, [Entry { name: "/z/x".to_string(), shape: Some(vec![3]) }]);
}

/// More of them than are read at a time, of each kind.
#[test]
fn texts_are_read_in_blocks() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    // One more than fit into a block by way of 1024 bytes each.
    let word = |row: usize| format!("w{}", row % 7);
    let rows = (16 << 20) / 1024 + 1;
    {
        let file = File::create(&path).expect("HDF5");
        macro_rules! add {
            ($name:literal, $text:ty, $from:expr) => {
                let from = $from;
                let texts: Vec<$text> = (0..rows).map(|row| from(&word(row))).collect();
                let builder = file.new_dataset_builder().with_data(ndarray::ArrayView1::from(&texts));
                builder.create($name).expect("written");
            };
        }
        add!("short", FixedAscii<5>, |text: &str| FixedAscii::<5>::from_ascii(text).expect("ASCII"));
        add!("long", FixedAscii<1000>, |text: &str| FixedAscii::<1000>::from_ascii(text).expect("ASCII"));
        add!("unicode", FixedUnicode<300>, |text: &str| text.parse::<FixedUnicode<300>>().expect("a text"));
        add!("variable", VarLenUnicode, |text: &str| text.parse::<VarLenUnicode>().expect("a text"));
    }
    let file = ForeignFile::open(&path).expect("a file");
    for name in ["short", "long", "unicode", "variable"] {
        let Ok(Column::Texts(texts)) = file.dataset(name).expect("texts").column() else { panic!("{name}") };
        assert_eq!(texts.len(), rows, "{name}");
        assert!(texts.iter().enumerate().all(|(row, text)| *text == word(row)), "{name}");
    }
}

/// Damage that HDF5 itself would read for ever: what is free in the heap of texts takes no bytes.
#[test]
fn texts_without_end_are_refused() {
    let folder = folder();
    let path = folder.path().join("a.h5");
    {
        let file = File::create(&path).expect("HDF5");
        let texts: Vec<VarLenUnicode> = ["ant", "bee"].map(|text| text.parse().expect("a text")).to_vec();
        file.new_dataset_builder()
            .with_data(ndarray::ArrayView1::from(&texts))
            .create("labels")
            .expect("written");
    }
    let labels = || ForeignFile::open(&path).expect("a file").dataset("labels").expect("texts").column();
    assert_eq!(labels().expect("texts"), Column::Texts(vec!["ant".to_string(), "bee".to_string()]));
    let mut bytes = std::fs::read(&path).expect("a file");
    let begin = bytes.windows(5).position(|bytes| bytes == b"GCOL\x01").expect("a heap");
    // Behind the header two objects of 16 and 8 bytes, and then what is free.
    let free = begin + 16 + 2 * 24;
    assert_eq!(bytes[free..free + 2], [0, 0]);
    bytes[free + 8..free + 16].fill(0);
    std::fs::write(&path, bytes).expect("written");
    let error = labels().expect_err("no end").to_string();
    let wanted =
        format!("labels: a list of its texts, at byte {begin}, is not what HDF5 writes; the file is damaged");
    assert!(error.contains(&wanted), "{error}");
}
