//! Tables of paths, with labels and splits where they have them: lines of text, CSV, JSON lines.

use std::io::BufRead;
use std::path::Path;

use ddae_base::read_bounded;
use ddae_base::text::excerpt;
use serde_json::Value;

use crate::datasets::DataError;

/// Bytes of a table: some ten million paths.
const MOST_BYTES: usize = 1 << 30;

const PATHS: [&str; 16] = [
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "image_file",
    "img",
    "img_path",
    "key",
    "__key__",
    "name",
    "image_name",
    "id",
];
const LABELS: [&str; 10] = [
    "label",
    "class",
    "target",
    "labels",
    "class_name",
    "classname",
    "category",
    "fine_label",
    "label_name",
    "y",
];
/// What is said of a table that is of something else.
const NO_PATHS: &str = "names no column of paths";
const SPLITS: [&str; 4] = ["split", "subset", "partition", "set"];
const EXPECTED: &str = "columns path and label (also file, filename, file_name or image; class or target)";

/// What a table says, row by row.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Paths, or keys of images.
    pub paths: Vec<String>,
    /// Labels, where there is such a column.
    pub labels: Option<Vec<String>>,
    /// Splits, where there is such a column.
    pub splits: Option<Vec<String>>,
    /// Lines that the rows are in, counted from 1.
    pub lines: Vec<u64>,
    /// Which columns were taken, for people; none where the table does not name its columns.
    pub taken: Option<String>,
}

impl Table {
    fn push(&mut self, line: u64, path: String, label: Option<String>, split: Option<String>) {
        self.paths.push(path);
        self.lines.push(line);
        if let (Some(labels), Some(label)) = (&mut self.labels, label) {
            labels.push(label);
        }
        if let (Some(splits), Some(split)) = (&mut self.splits, split) {
            splits.push(split);
        }
    }
}

/// As [`read`]; none where the table names its columns, and none is of paths.
pub(super) fn read_any(path: &Path, is_there: &dyn Fn(&str) -> bool) -> Result<Option<Table>, DataError> {
    match read(path, is_there) {
        Err(DataError::Format { found, .. }) if found.contains(NO_PATHS) || found == "line 1 has no path" => {
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Reads the table at `path`. `is_there` says whether a text names an image; by it lines that may end in a label are
/// understood.
pub(super) fn read(path: &Path, is_there: &dyn Fn(&str) -> bool) -> Result<Table, DataError> {
    let bytes = read_bounded(path, MOST_BYTES).map_err(DataError::io("read", path))?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count() + 1;
        DataError::format(path, format!("line {line} is not in UTF-8"), "a table in UTF-8")
    })?;
    let table = match super::walk::ending(path).as_str() {
        "jsonl" | "ndjson" => json_lines(path, text)?,
        "csv" => columns(path, text, delimiter(text), is_there)?,
        "tsv" => columns(path, text, b'\t', is_there)?,
        _ => lines(path, text, is_there)?,
    };
    if table.paths.is_empty() {
        return Err(DataError::format(path, "it has no rows", "a row for each image"));
    }
    Ok(table)
}

/// What separates columns: what the first line has, commas before semicolons and tabs.
fn delimiter(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|&byte| first.as_bytes().contains(&byte)).unwrap_or(b',')
}

/// The column whose name is one of `known`, the first of them that there is.
fn column(header: &[String], known: &[&str]) -> Option<usize> {
    known.iter().find_map(|known| header.iter().position(|name| name.trim().eq_ignore_ascii_case(known)))
}

fn columns(
    path: &Path,
    text: &str,
    delimiter: u8,
    is_there: &dyn Fn(&str) -> bool,
) -> Result<Table, DataError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let wrong = |line: u64, what: String| DataError::format(path, format!("line {line} {what}"), EXPECTED);
    let mut table = Table::default();
    let mut places: Option<(usize, Option<usize>, Option<usize>)> = None;
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(table),
            Err(error) => {
                return Err(wrong(line, format!("is not CSV ({})", ddae_base::text::joined(&error))));
            }
        }
        let line = record.position().map_or(line, csv::Position::line);
        if record.iter().all(|field| field.trim().is_empty()) {
            continue;
        }
        let (path_at, label_at, split_at) = match places {
            Some(places) => places,
            None => {
                let header: Vec<String> = record.iter().map(|field| field.trim().to_string()).collect();
                let of_header = (column(&header, &PATHS), column(&header, &LABELS), column(&header, &SPLITS));
                let is_header = of_header.0.is_some() && !is_there(&header[0]);
                let found = match (is_header, header.len()) {
                    (true, _) => (of_header.0.unwrap_or(0), of_header.1, of_header.2),
                    (false, 1) if is_there(&header[0]) => (0, None, None),
                    (false, 2) if is_there(&header[0]) => (0, Some(1), None),
                    _ => {
                        let columns = excerpt(header.join(", "), 120);
                        return Err(wrong(line, format!("{NO_PATHS}, but {columns}")));
                    }
                };
                places = Some(found);
                table.labels = found.1.map(|_| Vec::new());
                table.splits = found.2.map(|_| Vec::new());
                if is_header {
                    let name = |at: usize| header[at].clone();
                    let label = found.1.map_or_else(String::new, |at| format!(", labels of '{}'", name(at)));
                    table.taken = Some(format!("paths of '{}'{label}", name(found.0)));
                    continue;
                }
                found
            }
        };
        let field = |at: usize| record.get(at).map(|text| text.trim().to_string());
        let of = |at: Option<usize>, what: &str| match at {
            Some(at) => field(at).map(Some).ok_or_else(|| wrong(line, format!("has no column of {what}"))),
            None => Ok(None),
        };
        let name = field(path_at).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| wrong(line, "has no path".to_string()))?;
        let (label, split) = (of(label_at, "labels")?, of(split_at, "splits")?);
        table.push(line, name, label, split);
    }
}

fn json_lines(path: &Path, text: &str) -> Result<Table, DataError> {
    let wrong = |line: usize, what: String| DataError::format(path, format!("line {line} {what}"), EXPECTED);
    let mut table = Table::default();
    let mut places: Option<(String, Option<String>, Option<String>)> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        if line.trim().is_empty() {
            continue;
        }
        let Ok(Value::Object(row)) = serde_json::from_str(line) else {
            return Err(wrong(number, "is no JSON object".to_string()));
        };
        let (name, label, split) = places.get_or_insert_with(|| {
            let header: Vec<String> = row.keys().cloned().collect();
            let of = |known: &[&str]| column(&header, known).map(|at| header[at].clone());
            let (name, label, split) = (of(&PATHS).unwrap_or_default(), of(&LABELS), of(&SPLITS));
            table.labels = label.as_ref().map(|_| Vec::new());
            table.splits = split.as_ref().map(|_| Vec::new());
            let labels = label.as_ref().map_or_else(String::new, |label| format!(", labels of '{label}'"));
            table.taken = Some(format!("paths of '{name}'{labels}"));
            (name, label, split)
        });
        let Some(Value::String(file)) = row.get(name.as_str()) else {
            return Err(wrong(number, "has no path".to_string()));
        };
        let of = |key: &Option<String>| match key {
            None => Ok(None),
            Some(key) => match row.get(key) {
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(Value::Number(value)) if value.is_i64() => Ok(Some(value.to_string())),
                Some(Value::Null) | None => Ok(Some(String::new())),
                Some(_) => {
                    Err(wrong(number, format!("has a '{key}' that is neither text nor a whole number")))
                }
            },
        };
        let (label, split) = (of(label)?, of(split)?);
        table.push(number as u64, file.clone(), label, split);
    }
    Ok(table)
}

/// How lines of a text are read.
#[derive(Clone, Copy)]
enum Lines {
    Paths,
    /// A tab, or the last blank, and a label after it.
    Labelled(char),
}

fn lines(path: &Path, text: &str, is_there: &dyn Fn(&str) -> bool) -> Result<Table, DataError> {
    let mut table = Table::default();
    let mut how = None;
    for (number, line) in text.as_bytes().lines().map_while(Result::ok).enumerate() {
        let (number, line) = (number as u64 + 1, line.trim_end_matches('\r'));
        if line.trim().is_empty() {
            continue;
        }
        let cut = |line: &str, at: char| {
            line.rsplit_once(at).map(|(name, label)| (name.trim_end().to_string(), label.to_string()))
        };
        let chosen = *how.get_or_insert_with(|| {
            let labelled = |at: char| cut(line, at).is_some_and(|(name, _)| is_there(&name));
            match () {
                () if is_there(line) => Lines::Paths,
                () if labelled('\t') => Lines::Labelled('\t'),
                () if labelled(' ') => Lines::Labelled(' '),
                () if line.contains('\t') => Lines::Labelled('\t'),
                () => Lines::Paths,
            }
        });
        match chosen {
            Lines::Paths => table.push(number, line.to_string(), None, None),
            Lines::Labelled(at) => {
                let Some((name, label)) = cut(line, at) else {
                    let found = format!("line {number} has no label after its path");
                    return Err(DataError::format(
                        path,
                        found,
                        "a path and a label in every line, as in the first",
                    ));
                };
                table.labels.get_or_insert_with(Vec::new);
                table.push(number, name, Some(label.trim().to_string()), None);
            }
        }
    }
    Ok(table)
}
