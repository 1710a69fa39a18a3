//! Tables on standard output.

use std::io::{self, Write};

use ddae_base::plain;

/// Writes rows of cells with columns aligned to the left, two blanks apart; the last column ends where its text does.
pub fn write(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(plain).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<String>>().join("  ").trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows =
            [["run", "epoch"], ["größer", "1"], ["a\u{1b}b", ""]].map(|row| row.map(String::from).to_vec());
        let mut out = Vec::new();
        write(&mut out, &rows).expect("written");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text, "run       epoch\ngrößer    1\na\\u{1b}b\n");
    }
}
