//! The members of a zip archive, as far as they are stored and not compressed: names and places, found without reserving
//! memory for what a file only promises.
//!
//! Source: the ZIP specification (APPNOTE.TXT 6.3.10), sections 4.3.7 (a member's own header), 4.3.12 (its entry in the
//! directory), 4.3.14 to 4.3.16 (the records at the end) and 4.5.3 (sizes of 64 bits).

use std::ops::Range;

const END: &[u8] = b"PK\x05\x06";
const END_LENGTH: usize = 22;
const LONGEST_COMMENT: usize = 0xffff;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_LENGTH: usize = 20;
const WIDE_END: &[u8] = b"PK\x06\x06";
const WIDE_END_LENGTH: usize = 56;
const ENTRY: &[u8] = b"PK\x01\x02";
const ENTRY_LENGTH: usize = 46;
const HEADER: &[u8] = b"PK\x03\x04";
const HEADER_LENGTH: usize = 30;
/// The kind of an extra field with numbers of 64 bits.
const WIDE: u16 = 1;
/// What a number says that stands elsewhere, in 64 bits.
const ELSEWHERE: u64 = 0xffff_ffff;

/// A member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name as it is written.
    pub name: &'a [u8],
    /// Where its bytes are in the archive; none where they are compressed or encrypted.
    pub bytes: Option<Range<usize>>,
}

/// The members of an archive, in the order of its directory.
///
/// # Errors
/// A phrase that says what is wrong, when it is no whole archive.
pub fn members(archive: &[u8]) -> Result<Vec<Member<'_>>, &'static str> {
    let (count, directory) = directory(archive)?;
    let mut rest = archive.get(directory).ok_or("its directory lies outside the file")?;
    let mut members = Vec::new();
    for _ in 0..count {
        let (member, length) = member(archive, rest)?;
        members.push(member);
        rest = rest.get(length..).ok_or("its directory ends too soon")?;
    }
    Ok(members)
}

/// The number of members and the place of the directory, from the record at the end.
fn directory(archive: &[u8]) -> Result<(u64, Range<usize>), &'static str> {
    let missing = "its end is missing";
    let last = archive.len().checked_sub(END_LENGTH).ok_or(missing)?;
    let first = last.saturating_sub(LONGEST_COMMENT);
    // A comment stands after the record and may hold anything: the record is the one whose comment ends the file.
    let is_end = |at: &usize| {
        let record = &archive[*at..];
        record.starts_with(END)
            && short(record, 20)
                .is_some_and(|comment| at + END_LENGTH + usize::from(comment) == archive.len())
    };
    let at = (first..=last).rev().find(is_end).ok_or(missing)?;
    let record = &archive[at..];
    let wide = at
        .checked_sub(LOCATOR_LENGTH)
        .map(|at| &archive[at..])
        .filter(|locator| locator.starts_with(LOCATOR));
    let (count, length, start) = match wide {
        None => (short(record, 10).map(u64::from), word(record, 12), word(record, 16)),
        Some(locator) => {
            let at = place(long(locator, 8)).ok_or(missing)?;
            let record = archive
                .get(at..)
                .filter(|record| record.len() >= WIDE_END_LENGTH && record.starts_with(WIDE_END));
            let record = record.ok_or("the place of its directory is missing")?;
            (long(record, 32), long(record, 40), long(record, 48))
        }
    };
    let range =
        place(start).zip(place(length)).and_then(|(start, length)| Some(start..start.checked_add(length)?));
    let range = range.filter(|range| range.end <= at).ok_or("its directory lies outside the file")?;
    Ok((count.ok_or(missing)?, range))
}

/// The member that an entry of the directory describes, and the entry's length.
fn member<'a>(archive: &'a [u8], entry: &'a [u8]) -> Result<(Member<'a>, usize), &'static str> {
    let cut = "its directory ends too soon";
    if entry.len() < ENTRY_LENGTH || !entry.starts_with(ENTRY) {
        return Err(cut);
    }
    let [name, extra, comment] = [28, 30, 32].map(|at| short(entry, at).map_or(0, usize::from));
    let extra_start = ENTRY_LENGTH + name;
    let name = entry.get(ENTRY_LENGTH..extra_start).ok_or(cut)?;
    let extra = entry.get(extra_start..extra_start + extra).ok_or(cut)?;
    let (flags, method) = (short(entry, 8).unwrap_or(0), short(entry, 10).unwrap_or(0));
    let length = extra_start + extra.len() + comment;
    if flags & 1 != 0 || method != 0 {
        return Ok((Member { name, bytes: None }, length));
    }
    // Those that are elsewhere are there in this order.
    let mut wide = wide_numbers(extra);
    let mut number = |at: usize| match word(entry, at) {
        Some(ELSEWHERE) => wide.next(),
        number => number,
    };
    let [_plain, stored, header] = [24, 20, 42].map(&mut number);
    let bytes = place(header).zip(place(stored)).and_then(|(header, stored)| {
        let own = archive.get(header..).filter(|own| own.starts_with(HEADER))?;
        let [name, extra] = [26, 28].map(|at| short(own, at).map(usize::from));
        let start = header + HEADER_LENGTH + name? + extra?;
        Some(start..start.checked_add(stored)?).filter(|bytes| bytes.end <= archive.len())
    });
    Ok((Member { name, bytes: Some(bytes.ok_or("a member lies outside the file")?) }, length))
}

/// The numbers of the extra field that has those of 64 bits.
fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut numbers: &[u8] = &[];
    while let (Some(kind), Some(length)) = (short(extra, 0), short(extra, 2)) {
        let Some((field, rest)) = extra[4..].split_at_checked(length.into()) else { break };
        if kind == WIDE {
            numbers = field;
            break;
        }
        extra = rest;
    }
    numbers.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes))
}

fn place(number: Option<u64>) -> Option<usize> {
    usize::try_from(number?).ok()
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}
