//! Tables with named columns: which are features, and which is the label.

use ddae_base::text::excerpt;

use super::labels::RawLabels;
use super::matrix::Matrix;
use super::{LABELS, Opened, is_usual};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Numbers,
    Texts,
    /// A list of numbers in each row.
    Lists,
    /// Something else, in words.
    Other(&'static str),
}

/// A column of a table.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// A file of rows with named columns.
pub(super) trait Table {
    fn columns(&self) -> &[Column];

    /// Whether names stand in the file; otherwise columns are named by their number, from 0 on.
    fn has_names(&self) -> bool;

    /// Reads columns of numbers as features.
    fn numbers(&mut self, columns: &[usize]) -> Opened<Matrix>;

    /// Reads a column of lists as features.
    fn lists(&mut self, column: usize) -> Opened<Matrix>;

    /// Reads a column as labels.
    fn labels(&mut self, column: usize) -> Opened<RawLabels>;
}

/// Names of columns that number the rows: what pandas writes for its index, and what tables of pictures have.
const ROW_NUMBERS: [&str; 7] = ["", "unnamed: 0", "__index_level_0__", "index", "indices", "id", "row"];

/// Columns that a message lists.
const LISTED: usize = 12;

/// The label column: the one that was named, or the only one with a usual name; none where there is none of those.
///
/// # Errors
/// When the named one is not there, or several have usual names.
pub(super) fn label_column(table: &dyn Table, named: Option<&str>) -> Opened<Option<usize>> {
    let columns = table.columns();
    if let Some(named) = named {
        let found = columns.iter().position(|column| column.name == named).or_else(|| {
            let number = named.parse::<isize>().ok()?;
            let is_number = !table.has_names()
                || number < 0 && are_numbered(columns.iter().map(|column| column.name.as_str()));
            let number = if number < 0 { number + columns.len() as isize } else { number };
            if !is_number {
                return None;
            }
            usize::try_from(number).ok().filter(|&number| number < columns.len())
        });
        return match found {
            Some(found) => Ok(Some(found)),
            None => Err(format!(
                "there is no column '{}'; it has {}",
                excerpt(named, 60),
                listed(table, |_| true)
            )),
        };
    }
    let usual: Vec<usize> = (0..columns.len()).filter(|&i| is_usual(&columns[i].name, &LABELS)).collect();
    match usual[..] {
        [] => Ok(None),
        [one] => Ok(Some(one)),
        _ => {
            let names: Vec<&str> = usual.iter().map(|&i| columns[i].name.as_str()).collect();
            Err(format!(
                "several columns could be the label ({}); name one with --label-column",
                names.join(", ")
            ))
        }
    }
}

/// Whether names number the columns from 0 on, as pandas names those that have no names; the rows' own may be without.
///
/// Fewer than three numbers are as likely to be a row, but for a first one without a name.
pub(super) fn are_numbered<'n>(names: impl Iterator<Item = &'n str>) -> bool {
    let mut names = names.peekable();
    let has_index = names.next_if(|name| name.trim().is_empty()).is_some();
    let mut count = 0;
    for name in names {
        if name.trim() != count.to_string() {
            return false;
        }
        count += 1;
    }
    count >= if has_index { 1 } else { 3 }
}

/// Reads the features of a table: the columns that `wanted` names, or its only column of lists, or all columns of
/// numbers but the label. Returns what was left out, in words.
///
/// # Errors
/// When there are none, or they cannot be read.
pub(super) fn features(
    table: &mut dyn Table,
    wanted: Option<&str>,
    label: Option<usize>,
) -> Opened<(Matrix, Option<String>)> {
    let columns = table.columns().to_vec();
    if let Some(wanted) = wanted {
        let chosen: Vec<usize> = (0..columns.len()).filter(|&i| matches(&columns[i].name, wanted)).collect();
        let wrong = |i: usize| {
            let what = describe(&columns[i].kind);
            format!("the column '{}' holds {what}; features are numbers", excerpt(&columns[i].name, 60))
        };
        return match chosen[..] {
            [] => Err(format!(
                "there is no column '{}'; it has {}",
                excerpt(wanted, 60),
                listed(table, |kind| matches!(kind, Kind::Numbers | Kind::Lists))
            )),
            [one] if columns[one].kind == Kind::Lists => Ok((table.lists(one)?, None)),
            _ => match chosen.iter().find(|&&i| columns[i].kind != Kind::Numbers) {
                Some(&other) => Err(wrong(other)),
                None => Ok((table.numbers(&chosen)?, None)),
            },
        };
    }
    let is_other = |i: &usize| Some(*i) != label;
    let lists: Vec<usize> =
        (0..columns.len()).filter(is_other).filter(|&i| columns[i].kind == Kind::Lists).collect();
    let chosen = match lists[..] {
        [] => {
            let is_feature = |&i: &usize| {
                let Column { name, kind } = &columns[i];
                *kind == Kind::Numbers && !ROW_NUMBERS.contains(&name.to_lowercase().as_str())
            };
            (0..columns.len()).filter(is_other).filter(is_feature).collect()
        }
        [one] => vec![one],
        _ => {
            let names: Vec<&str> = lists.iter().map(|&i| columns[i].name.as_str()).collect();
            return Err(format!(
                "several columns hold lists ({}); name the features, as in FILE:{}",
                names.join(", "),
                names[0]
            ));
        }
    };
    if chosen.is_empty() && !table.has_names() {
        let count = columns.len();
        let columns = if count == 1 { "one column".to_string() } else { format!("{count} columns") };
        return Err(format!(
            "read as a table of text it has {columns}, and none of numbers; a file of features is wanted"
        ));
    }
    if chosen.is_empty() {
        return Err(format!(
            "it has no column of numbers beside the label; it has {}",
            listed(table, |_| true)
        ));
    }
    let matrix = match lists[..] {
        [one] => table.lists(one)?,
        _ => table.numbers(&chosen)?,
    };
    let left_out: Vec<String> = (0..columns.len())
        .filter(is_other)
        .filter(|i| !chosen.contains(i))
        .map(|i| {
            let Column { name, kind } = &columns[i];
            let what = match kind {
                Kind::Numbers if lists.is_empty() => "row numbers, by its name",
                kind => describe(kind),
            };
            format!("'{}' ({what})", excerpt(name, 40))
        })
        .collect();
    let more = if left_out.len() > LISTED { ", …" } else { "" };
    let said = left_out.iter().take(LISTED).cloned().collect::<Vec<_>>().join(", ");
    Ok((matrix, (!left_out.is_empty()).then(|| format!("columns that are no features: {said}{more}"))))
}

/// Whether a column is meant: by its name, or by its beginning and a star.
fn matches(name: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == wanted,
    }
}

fn describe(kind: &Kind) -> &'static str {
    match kind {
        Kind::Numbers => "numbers",
        Kind::Texts => "texts",
        Kind::Lists => "lists of numbers",
        Kind::Other(what) => what,
    }
}

/// The columns of some kinds in a row, for a message.
pub(super) fn listed(table: &dyn Table, wanted: impl Fn(&Kind) -> bool) -> String {
    let columns: Vec<&Column> = table.columns().iter().filter(|column| wanted(&column.kind)).collect();
    let names: Vec<String> =
        columns.iter().take(LISTED).map(|column| format!("'{}'", excerpt(&column.name, 40))).collect();
    let more = columns.len().saturating_sub(LISTED);
    match (names.is_empty(), more) {
        (true, _) => "none".to_string(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}
