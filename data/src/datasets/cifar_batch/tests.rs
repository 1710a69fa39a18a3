use proptest::prelude::*;

use super::*;

/// A string with its opcode for short strings.
fn short(opcode: u8, text: &[u8]) -> Vec<u8> {
    [&[opcode, text.len() as u8], text].concat()
}

/// A batch as Python 2 wrote the published files: protocol 2, byte strings, everything memoized.
fn published(rows: u16, columns: u16, labels: &[u8]) -> Vec<u8> {
    let text = |text: &str| short(b'U', text.as_bytes());
    let data = vec![9; usize::from(rows) * usize::from(columns)];
    [
        b"\x80\x02}q\x01(".to_vec(),
        text("batch_label"),
        b"q\x02".to_vec(),
        text("testing batch 1 of 1"),
        b"q\x03".to_vec(),
        text("labels"),
        b"q\x04]q\x05(".to_vec(),
        labels.iter().flat_map(|&label| [b'K', label]).collect(),
        b"e".to_vec(),
        text("data"),
        b"q\x06cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85".to_vec(),
        text("b"),
        b"\x87Rq\x09(K\x01M".to_vec(),
        rows.to_le_bytes().to_vec(),
        b"M".to_vec(),
        columns.to_le_bytes().to_vec(),
        b"\x86cnumpy\ndtype\nq\x0a".to_vec(),
        text("u1"),
        b"K\x00K\x01\x87Rq\x0b(K\x03".to_vec(),
        text("|"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T".to_vec(),
        (data.len() as u32).to_le_bytes().to_vec(),
        data,
        b"tb".to_vec(),
        text("filenames"),
        b"q\x0c]q\x0d(".to_vec(),
        text("domestic_cat_s_000907.png"),
        b"eu.".to_vec(),
    ]
    .concat()
}

fn read(bytes: &[u8]) -> Result<Batch, String> {
    super::read(bytes, "labels")
}

/// `published` with one part replaced.
fn with(from: &[u8], to: &[u8]) -> Vec<u8> {
    let bytes = published(2, 3, &[4, 5]);
    let at = bytes.windows(from.len()).position(|window| window == from).expect("it is in there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn reads_the_published_form_in_place() {
    let bytes = published(2, 3, &[4, 5]);
    let batch = read(&bytes).expect("well-formed");
    assert_eq!((batch.rows, batch.columns, batch.labels), (2, 3, vec![4, 5]));
    let Levels::InPlace(at) = batch.levels else { panic!("they lie in place") };
    let at = at as usize;
    assert_eq!(bytes[at..at + 6], [9; 6]);
    assert_eq!(bytes[at - 1..at + 7], [0, 9, 9, 9, 9, 9, 9, b't']);
}

/// What `pickle.dumps(batch, protocol=4)` of Python 3 with numpy 2 gives, by its own opcodes.
#[test]
fn reads_protocol_4() {
    let text = |text: &str| [short(0x8c, text.as_bytes()), vec![0x94]].concat();
    let bytes = [
        b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00}\x94(".to_vec(),
        text("data"),
        text("numpy._core.multiarray"),
        text("_reconstruct"),
        b"\x93\x94".to_vec(),
        text("numpy"),
        text("ndarray"),
        b"\x93\x94K\x00\x85\x94".to_vec(),
        b"C\x01b\x94\x87\x94R\x94(K\x01K\x02K\x03\x86\x94h\x05".to_vec(),
        text("dtype"),
        b"\x93\x94".to_vec(),
        text("u1"),
        b"\x89\x88\x87\x94R\x94(K\x03".to_vec(),
        text("|"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b\x89C\x06abcdef\x94t\x94b".to_vec(),
        text("labels"),
        b"]\x94(K\x01K\x00eu.".to_vec(),
    ]
    .concat();
    let batch = read(&bytes).expect("well-formed");
    assert_eq!((batch.rows, batch.columns, batch.labels), (2, 3, vec![1, 0]));
    let Levels::InPlace(at) = batch.levels else { panic!("they lie in place") };
    assert_eq!(&bytes[at as usize..][..6], b"abcdef");
}

#[test]
fn the_later_of_two_entries_counts() {
    let again = [&short(b'U', b"labels"), b"](K\x07K\x07eu.".as_slice()].concat();
    assert_eq!(read(&with(b"u.", &again)).expect("well-formed").labels, [7, 7]);
}

#[test]
fn only_a_numpy_array_is_one() {
    let error = |from: &[u8], to: &[u8]| read(&with(from, to)).unwrap_err();
    for (from, to) in [
        (&b"cnumpy\nndarray\n"[..], &b"cposix\nsystem\n"[..]),
        (b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\ndtype\n"),
        (b"cnumpy.core.multiarray\n_reconstruct\n", b"cmine\n_reconstruct\n"),
    ] {
        assert_eq!(error(from, to), "its 'data' is not a numpy array");
    }
    // What is beside it does not matter, and is never called.
    let beside = read(&with(b"U\x19domestic_cat_s_000907.png", b"cposix\nsystem\nU\x05touch\x85R"));
    assert_eq!(beside.expect("well-formed").labels, [4, 5]);
}

#[test]
fn says_what_is_wrong() {
    let error = |bytes: &[u8]| read(bytes).unwrap_err();
    assert_eq!(error(b""), "it ends in the middle of its pickle");
    assert_eq!(error(b"PK\x03\x04"), "it is not a pickle of protocol 2 to 5");
    assert_eq!(error(b"\x80\x02]."), "it does not hold a dictionary");
    assert_eq!(error(b"\x80\x02}."), "it has no entry 'data'");
    assert_eq!(error(&with(b"u1", b"f4")), "its 'data' is of type f4, not uint8");
    assert_eq!(error(&with(b"\x89T", b"\x88T")), "its 'data' is stored column by column");
    assert_eq!(error(&with(b"K\x01M\x02", b"K\x01M\x03")), "its 'data' has the shape [3, 3], but 6 bytes");
    assert_eq!(error(&published(2, 3, &[1])), "it has 2 images, but 1 labels under 'labels'");
    assert_eq!(error(&with(b"K\x04K\x05", b"K\x04N")), "its 'labels' holds something that is not an integer");
    assert_eq!(
        super::read(&published(2, 3, &[4, 5]), "fine_labels").unwrap_err(),
        "it has no entry 'fine_labels'"
    );
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = published(2, 3, &[4, 5]);
    for length in 0..bytes.len() {
        assert!(read(&bytes[..length]).is_err(), "the first {length} bytes");
    }
}

proptest! {
    #[test]
    fn damage_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = published(2, 3, &[4, 5]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        if let Ok(batch) = read(&bytes) {
            if let Levels::InPlace(at) = batch.levels {
                prop_assert!(at as usize + batch.rows * batch.columns <= bytes.len());
            }
            prop_assert_eq!(batch.labels.len(), batch.rows);
        }
    }
}
