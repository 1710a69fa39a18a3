//! Tables of text: values separated by commas, tabs, semicolons or spaces, and lists of labels, one a line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};

use csv::{ErrorKind, Reader, ReaderBuilder, StringRecord};
use ndarray::Array2;

use super::labels::RawLabels;
use super::matrix::{Matrix, check_memory};
use super::table::{Column, Kind, Table, are_numbered};
use super::{LABELS, Opened, is_usual};

/// The longest first line, from which the separator is told.
const LONGEST_LINE: u64 = 16 << 20;

/// What numbers that are written as text are called, and what becomes of them.
const STORED_AS: &str = "decimal text";
const READ_AS: &str = "f32, each number rounded to the nearest";

/// What the table is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Features,
    /// A list of labels may hold texts with spaces.
    Labels,
}

/// A table of text. Its types are those of its cells: a column in which each is a number holds numbers.
pub(super) struct TextTable {
    file: File,
    separator: u8,
    columns: Vec<Column>,
    has_names: bool,
    rows: usize,
    /// The first data row is on this line.
    first_line: u64,
}

impl TextTable {
    /// Reads a table once, to know its columns. `label` is the name of the label column, where one was given: a first
    /// line with it holds names.
    ///
    /// # Errors
    /// When it is no table: lines of different lengths, no UTF-8, or nothing at all.
    pub(super) fn open(file: File, label: Option<&str>, purpose: Purpose) -> Opened<Self> {
        let separator = separator(&file, purpose)?;
        let mut reader = reader(&file, separator)?;
        let mut record = StringRecord::new();
        if !next(&mut reader, &mut record)? {
            return Err("it is an empty table".to_string());
        }
        let first = record.clone();
        let first_line = record.position().map_or(1, csv::Position::line);
        let width = first.len();
        let (mut is_number, mut rows) = (vec![true; width], 0);
        while next(&mut reader, &mut record)? {
            rows += 1;
            for (is_number, cell) in is_number.iter_mut().zip(&record) {
                *is_number = *is_number && (cell.trim().is_empty() || number(cell).is_some());
            }
        }
        // A number may be that of a column as well as its name: only a text is known to be a name.
        let is_named = |cell: &str| number(cell).is_none() && label == Some(name_of(cell));
        let names_label = first.iter().any(|cell| is_usual(cell, &LABELS) || is_named(cell));
        let numbers_columns = rows > 0 && are_numbered(first.iter());
        let titles_numbers = first.iter().zip(&is_number).any(|(cell, &is_number)| {
            is_number && rows > 0 && !cell.trim().is_empty() && number(cell).is_none()
        });
        let has_names = names_label || titles_numbers || numbers_columns;
        let columns = first.iter().enumerate().map(|(place, cell)| {
            let is_number = is_number[place] && (has_names || number(cell).is_some());
            let kind = if is_number { Kind::Numbers } else { Kind::Texts };
            let name = if has_names { name_of(cell).to_string() } else { place.to_string() };
            Column { name, kind }
        });
        let columns = columns.collect();
        let rows = if has_names { rows } else { rows + 1 };
        let first_line = if has_names { first_line + 1 } else { first_line };
        match rows {
            0 => Err("it has one line, with names of columns, and no rows".to_string()),
            _ => Ok(Self { file, separator, columns, has_names, rows, first_line }),
        }
    }

    /// The only column, where there is one.
    pub(super) fn only_column(&self) -> Option<usize> {
        (self.columns.len() == 1).then_some(0)
    }

    /// Calls `row` with each row and its number.
    fn each(&self, mut row: impl FnMut(usize, &StringRecord) -> Opened<()>) -> Opened<()> {
        let mut reader = reader(&self.file, self.separator)?;
        let mut record = StringRecord::new();
        if self.has_names {
            next(&mut reader, &mut record)?;
        }
        for number in 0..self.rows {
            if !next(&mut reader, &mut record)? {
                return Err("it became shorter while it was read".to_string());
            }
            row(number, &record)?;
        }
        Ok(())
    }

    fn place(&self, row: usize, record: &StringRecord) -> String {
        let line = record.position().map_or(self.first_line + row as u64, csv::Position::line);
        format!("row {row} (line {line})")
    }
}

impl Table for TextTable {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn has_names(&self) -> bool {
        self.has_names
    }

    fn numbers(&mut self, columns: &[usize]) -> Opened<Matrix> {
        let shape = (self.rows, columns.len());
        check_memory(shape, shape.0 as u64 * shape.1 as u64 * 4)?;
        let mut values = Vec::new();
        self.each(|row, record| {
            for &column in columns {
                let cell = record.get(column).unwrap_or("");
                let wrong = |what: &str| {
                    let name = ddae_base::text::excerpt(&self.columns[column].name, 40);
                    Err(format!("{}, column '{name}' {what}", self.place(row, record)))
                };
                match number(cell) {
                    None => return wrong("is empty; a number is wanted in every cell"),
                    Some(value) if value.is_infinite() && !cell.to_ascii_lowercase().contains("inf") => {
                        return wrong("is beyond what float32 can hold (3.4e38 at most); scale the features");
                    }
                    Some(value) => values.push(value),
                }
            }
            Ok(())
        })?;
        let values = Array2::from_shape_vec(shape, values).map_err(|error| error.to_string())?;
        Ok(Matrix::in_memory(values, STORED_AS, READ_AS))
    }

    fn lists(&mut self, _column: usize) -> Opened<Matrix> {
        Err("a table of text has no lists".to_string())
    }

    fn labels(&mut self, column: usize) -> Opened<RawLabels> {
        let mut words = Vec::new();
        self.each(|_, record| {
            words.push(record.get(column).unwrap_or("").trim().to_string());
            Ok(())
        })?;
        RawLabels::of_words(words)
    }
}

/// What a cell of the first line calls its column: `np.savetxt` writes a mark of comments before the first.
fn name_of(cell: &str) -> &str {
    cell.trim_start_matches('#').trim()
}

fn number(cell: &str) -> Option<f32> {
    cell.trim().parse().ok()
}

fn reader(file: &File, separator: u8) -> Opened<Reader<BufReader<File>>> {
    let mut file = file.try_clone().map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    Ok(ReaderBuilder::new().has_headers(false).delimiter(separator).from_reader(BufReader::new(file)))
}

/// Reads the next row; false where there is none.
fn next(reader: &mut Reader<BufReader<File>>, record: &mut StringRecord) -> Opened<bool> {
    reader.read_record(record).map_err(|error| match error.kind() {
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line} has {len} columns, and the lines before it {expected_len}")
        }
        ErrorKind::Utf8 { pos, .. } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("line {line} is not text in UTF-8")
        }
        _ => error.to_string(),
    })
}

/// What separates the cells of the first line: the first of tabs, semicolons, commas and, between numbers, spaces.
fn separator(file: &File, purpose: Purpose) -> Opened<u8> {
    let mut file = file.try_clone().map_err(|error| error.to_string())?;
    file.rewind().map_err(|error| error.to_string())?;
    let mut line = Vec::new();
    let read = BufReader::new(file).take(LONGEST_LINE).read_until(b'\n', &mut line);
    read.map_err(|error| error.to_string())?;
    if line.len() as u64 == LONGEST_LINE {
        return Err(format!("its first line has more than {LONGEST_LINE} bytes: it is no table"));
    }
    let text = String::from_utf8_lossy(&line);
    let found = [b'\t', b';', b','].into_iter().find(|separator| line.contains(separator));
    let are_numbers =
        || text.trim().contains(' ') && text.split_whitespace().all(|word| number(word).is_some());
    Ok(match found {
        Some(separator) => separator,
        None if purpose == Purpose::Features && are_numbers() => b' ',
        None => b',',
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::table::label_column;
    use super::*;

    fn opened(text: &str, label: Option<&str>) -> TextTable {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        TextTable::open(file, label, Purpose::Features).expect("a table")
    }

    /// The table, the label column that is asked for, whether the first line holds names, and the labels.
    #[test]
    fn a_first_line_of_numbers_is_a_row_unless_it_numbers_the_columns() {
        let rows = |labels: &[i64]| RawLabels::Integers(labels.to_vec());
        for (text, label, has_names, labels) in [
            // The label is in the first column, and a cell of the first line is a 0 too.
            ("5,0,0,0\n6,1,2,3\n", "0", false, rows(&[5, 6])),
            ("1.2,3.4,4,7,1\n2.2,0.4,5,8,2\n", "4", false, rows(&[1, 2])),
            ("1.2,3.4,4,7,1\n2.2,0.4,5,8,2\n", "-1", false, rows(&[1, 2])),
            // The names that pandas gives columns without any.
            ("0,1,2,3\n0.5,0.25,1.5,7\n0.5,0.25,1.5,8\n", "-1", true, rows(&[7, 8])),
            ("0,1,2,3\n0.5,0.25,1.5,7\n0.5,0.25,1.5,8\n", "3", true, rows(&[7, 8])),
            (",0,1,2\n0,0.5,0.25,7\n1,0.5,0.25,8\n", "2", true, rows(&[7, 8])),
            // Two numbers are too few to be told from a row.
            ("0,1\n1,3\n", "1", false, rows(&[1, 3])),
            ("# a,cls\n1,3\n2,4\n", "cls", true, rows(&[3, 4])),
            ("# cls,a\n3,1\n4,2\n", "cls", true, rows(&[3, 4])),
        ] {
            let mut table = opened(text, Some(label));
            assert_eq!(table.has_names(), has_names, "{text:?} {label}");
            let column = label_column(&table, Some(label)).expect("a column").expect("a column");
            assert_eq!(table.labels(column), Ok(labels), "{text:?} {label}");
        }
    }
}
