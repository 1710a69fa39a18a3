//! Tar and parquet files that are cut short, or whose headers lie: errors, never panics, nothing allocated that is not there.

use super::*;

/// Opens a file of these bytes and reads all of it.
fn read(folder: &Path, name: &str, bytes: &[u8]) -> Result<String, DataError> {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("written");
    let set = datasets::open(path.to_str().expect("a plain name"), None)?;
    let mut read = String::new();
    for (_, split) in set.splits() {
        for index in 0..split.len() {
            let mut levels = vec![0; split.image_len()];
            split.read(index, &mut levels)?;
            read.push_str(&format!("{}{:?}", split.label(index), &levels[..3]));
        }
    }
    Ok(read)
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(fixtures().join(name)).expect("a fixture")
}

#[test]
fn a_tar_file_cut_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fixture("webdataset/birds-train-000000.tar");
    let wanted = read(folder.path(), "a.tar", &whole).expect("whole");
    let mut refused = 0;
    for length in (1..whole.len()).step_by(97) {
        match read(folder.path(), "a.tar", &whole[..length]) {
            Ok(found) => assert!(wanted.starts_with(&found) || found == wanted, "{length}"),
            Err(error) => {
                assert!(error.to_string().contains("a.tar"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 10, "{refused}");
    // An end that is not marked is pointed out.
    let set = |bytes: &[u8]| {
        let path = folder.path().join("b.tar");
        fs::write(&path, bytes).expect("written");
        datasets::open(path.to_str().expect("a plain name"), None).expect("images")
    };
    let end = whole.chunks(512).rposition(|block| block.iter().any(|&byte| byte != 0)).expect("files") + 1;
    assert!(set(&whole).notes.is_empty());
    let notes = set(&whole[..end * 512]).notes;
    assert!(notes[0].ends_with("b.tar: the mark of its end is missing; it may be cut short"), "{notes:?}");
}

/// Sets the size in the header at `at`, and the header's sum.
fn with_size(tar: &[u8], at: usize, size: &str) -> Vec<u8> {
    let mut bytes = tar.to_vec();
    bytes[at + 124..at + 124 + size.len()].copy_from_slice(size.as_bytes());
    bytes[at + 148..at + 156].fill(b' ');
    let sum: u32 = bytes[at..at + 512].iter().map(|&byte| u32::from(byte)).sum();
    bytes[at + 148..at + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

#[test]
fn sizes_in_tar_headers_are_not_believed() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = fixture("webdataset-unlabelled/000.tar");
    for (size, wanted) in [
        ("77777777777", "it ends within sample000.png"),
        // The second sample's image is then taken for a header.
        ("00000001750", "its headers cannot be read ("),
        ("99999999999", "its headers cannot be read ("),
    ] {
        let error = read(folder.path(), "a.tar", &with_size(&whole, 0, size)).expect_err(size).to_string();
        assert!(error.contains(wanted), "{size}: {error}");
    }
    // A name that is longer than any is.
    let long = tempfile::tempdir().expect("a folder");
    let mut bytes = fixture("tar-gnu/long.tar");
    let tail = bytes.split_off(512);
    bytes = with_size(&bytes, 0, "00010000000");
    bytes.extend(std::iter::repeat_n(b'x', 4 << 20));
    bytes.extend(tail);
    let error = read(long.path(), "a.tar", &bytes).expect_err("a name of 2 MiB").to_string();
    assert!(error.contains("the names of a file take more than 1 MiB"), "{error}");
}

#[test]
fn odd_samples_in_tar_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let tar = |files: &[(&str, &[u8])]| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, *bytes).expect("in memory");
        }
        builder.into_inner().expect("in memory")
    };
    let image = png(1);
    let huge = vec![b'1'; (1 << 20) + 1];
    for (files, wanted) in [
        (
            &[("a.jpg", &image[..]), ("a.left.png", &image)][..],
            "sample a has two images, a.jpg and a.left.png",
        ),
        (&[("a.png", &image), ("b.png", &image), ("a.png", &image)], "it holds a.png twice"),
        (&[("a.png", &image), ("a.cls", &huge)], "a.cls has 1048577 bytes; expected the class as text"),
        (&[("a.png", &image), ("a.cls", b"\xff")], "a.cls is no text"),
        (&[("a.txt", b"x")], "it has no images; expected a tar file of samples"),
        (&[("a.png", b"x")], "a.tar/a.png: "),
        (
            &[("a.cls", b"1"), ("b.cls", b"0"), ("a.png", &image), ("b.png", &image)],
            "the files of sample a do not lie together",
        ),
        (&[("a.png", &image), ("b.png", &image), ("b.cls", b"1"), ("a.cls", b"0")], "of sample a do not lie"),
        (
            &[("a.png", &image), ("a.cls", b"1"), ("a.json", b"{\"label\": 2}")],
            "the label of sample a is 1 in .cls and 2 in .json",
        ),
        (&[("a.png", &image), ("a.cls", b"1"), ("b.png", &image)], "b.png: it has no label, unlike others"),
    ] {
        let error = read(folder.path(), "a.tar", &tar(files)).expect_err(wanted).to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let path = folder.path().join("b.tar");
    fs::write(&path, tar(&[("a.png", &image), ("a.json", b"{")])).expect("written");
    let notes = datasets::open(path.to_str().expect("a plain name"), None).expect("images").notes;
    assert!(notes[0].starts_with("1 .json files are no JSON and give no label, "), "{notes:?}");
    let two = [tar(&[("a.png", &image)]), tar(&[("b.png", &image)])].concat();
    let error = read(folder.path(), "a.tar", &two).expect_err("two archives").to_string();
    assert!(error.contains("after the mark of its end there is more, at byte "), "{error}");
}

#[test]
fn a_parquet_file_cut_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["hub/data/train-00000-of-00002.parquet", "plain/zstd-v2.parquet"] {
        let whole = fixture(name);
        read(folder.path(), "a.parquet", &whole).expect("whole");
        for length in (4..whole.len()).step_by(13) {
            let error = read(folder.path(), "a.parquet", &whole[..length]).expect_err("cut").to_string();
            assert!(error.contains("a.parquet"), "{error}");
        }
        // The middle is missing, and the description at the end is whole.
        let cut = [&whole[..200], &whole[400..]].concat();
        assert!(read(folder.path(), "a.parquet", &cut).is_err(), "{name}");
    }
}

#[test]
fn a_parquet_file_damaged_anywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut read_on, mut refused) = (0, 0);
    for name in ["plain/snappy-v1.parquet", "plain/gzip-v2.parquet"] {
        let whole = fixture(name);
        for at in 4..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            match read(folder.path(), "a.parquet", &bytes) {
                Ok(_) => read_on += 1,
                Err(error) => {
                    assert!(!error.to_string().contains('\n'), "{error}");
                    refused += 1;
                }
            }
        }
    }
    // Names, statistics and the like change nothing; sizes, offsets and images do.
    assert!(refused > 500);
    assert!(read_on > 100);
}

#[test]
fn a_stream_that_shrinks_while_it_is_in_use() {
    let folder = made(&[
        ("000.tar", Fixture("webdataset-unlabelled/000.tar")),
        ("p.parquet", Fixture("plain/none-v2.parquet")),
    ]);
    for (name, wanted) in
        [("000.tar", "it ends within sample001.png"), ("p.parquet", "it ends within a page")]
    {
        let train = open(&folder, name).expect("images").train;
        fs::write(folder.path().join(name), [0; 100]).expect("written");
        let error = train.read(train.len() - 1, &mut [0; 72]).expect_err(name).to_string();
        assert!(
            error.contains(wanted) && error.ends_with("expected it not to change while it is in use"),
            "{error}"
        );
    }
}
