//! Zip archives with numbers of 64 bits (as `torch.save` writes them where a file is beyond 4 GB), and with promises.

use std::path::Path;

use ddae_checkpoint::Checkpoint;
use ddae_model::tensor::Tensor;

use crate::memory::peak_of;
use crate::torch_save::*;

/// A tensor `w` of four values after a megabyte that nothing looks at.
fn whole() -> Vec<u8> {
    let value = dict(&[("w", tensor(storage("FloatStorage", "1", 4), 0, &[4], &[1]))]);
    archive(&value, &[("0", &[7; 1 << 20]), ("1", &floats(&[1.0, 2.0, 3.0, 4.0]))])
}

fn read(bytes: Vec<u8>) -> Result<Tensor, String> {
    let file = Checkpoint::from_bytes(Path::new("w.pth"), bytes).map_err(|e| e.to_string())?;
    file.read("w").map_err(|e| e.to_string())
}

fn values() -> Result<Tensor, String> {
    Ok(Tensor::f32(&[4], vec![1.0, 2.0, 3.0, 4.0]))
}

fn place(bytes: &[u8], signature: &[u8]) -> usize {
    bytes.windows(4).rposition(|window| window == signature).expect("a record")
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")).into()
}

/// The archive with a second end record, of 64-bit numbers, and one that leads to it; `count`, `length` and `start` of the
/// directory as they are unless given.
fn with_wide_end(count: Option<u64>, length: Option<u64>, start: Option<u64>) -> Vec<u8> {
    let whole = whole();
    let end = place(&whole, b"PK\x05\x06");
    let count = count.unwrap_or(u64::from(whole[end + 10]));
    let length = length.unwrap_or(word(&whole, end + 12));
    let start = start.unwrap_or(word(&whole, end + 16));
    let record = [
        &b"PK\x06\x06"[..],
        &44u64.to_le_bytes(),
        &[45, 0, 45, 0],
        &[0; 8],
        &count.to_le_bytes(),
        &count.to_le_bytes(),
        &length.to_le_bytes(),
        &start.to_le_bytes(),
    ];
    let locator = [&b"PK\x06\x07"[..], &[0; 4], &(end as u64).to_le_bytes(), &[1, 0, 0, 0]];
    let mut last = whole[end..].to_vec();
    last[8..20].fill(0xff);
    [&whole[..end], &record.concat(), &locator.concat(), &last].concat()
}

#[test]
fn ends_of_64_bits() {
    assert_eq!(read(whole()), values());
    assert_eq!(read(with_wide_end(None, None, None)), values());
}

/// Places and sizes of every member in 64 bits.
#[test]
fn members_of_64_bits() {
    let whole = whole();
    let end = place(&whole, b"PK\x05\x06");
    let start = word(&whole, end + 16) as usize;
    let (mut directory, mut at) = (Vec::new(), start);
    while at < end {
        let [name, extra, comment] = [28, 30, 32].map(|field| usize::from(whole[at + field]));
        let mut entry = whole[at..at + 46 + name].to_vec();
        let numbers = [24, 20, 42].map(|field| word(&whole, at + field).to_le_bytes());
        [20, 24, 42].into_iter().for_each(|field| entry[field..field + 4].fill(0xff));
        // A field of another kind stands before.
        let fields = [&[9, 9, 2, 0, 5, 5, 1, 0, 24, 0][..], &numbers.concat()].concat();
        entry[30..34].copy_from_slice(&[fields.len() as u8, 0, 0, 0]);
        directory.extend([entry, fields].concat());
        at += 46 + name + extra + comment;
    }
    let mut last = whole[end..].to_vec();
    last[12..16].copy_from_slice(&(directory.len() as u32).to_le_bytes());
    let wide = [&whole[..start], &directory, &last].concat();
    assert_eq!(read(wide.clone()), values());

    // Without the field the numbers are what they say: outside the file.
    let mut lost = wide;
    lost[start + 46 + "archive/data.pkl".len() + 6] = 2;
    assert!(read(lost).expect_err("no numbers").contains("a member lies outside the file"));
}

#[test]
fn a_comment_may_look_like_an_end() {
    let mut bytes = whole();
    let comment = [&b"PK\x05\x06"[..], &[0; 30]].concat();
    let end = place(&bytes, b"PK\x05\x06");
    bytes[end + 20..end + 22].copy_from_slice(&(comment.len() as u16).to_le_bytes());
    assert_eq!(read([bytes, comment].concat()), values());
}

#[test]
fn promises_of_64_bits_take_no_memory() {
    let outside = "its directory lies outside the file";
    for (count, length, start, message) in [
        (Some(u64::MAX), None, None, "its directory ends too soon"),
        (Some(1 << 20), None, None, "its directory ends too soon"),
        (Some(1 << 20), Some(u64::MAX), None, outside),
        (Some(1 << 20), Some(1 << 40), Some(0), outside),
        (None, None, Some(u64::MAX), outside),
    ] {
        let bytes = with_wide_end(count, length, start);
        let limit = bytes.len();
        let (found, peak) = peak_of(|| read(bytes));
        let found = found.expect_err("a promise");
        assert!(found.contains("is not a complete PyTorch file") && found.contains(message), "{found}");
        assert!(peak <= limit / 4, "{peak} bytes for a file of {limit}");
    }
}
