//! How fast SODA's training pairs are made.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// What a core has to make in a second, of pictures of [`SHAPE`].
const TARGET: f64 = 4000.0;
const SHAPE: [usize; 3] = [3, 32, 32];

/// One line of the measuring program.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pairs {
    /// Where they were made.
    measure: String,
    /// Of the pictures, [C, H, W].
    shape: [usize; 3],
    /// Threads that made them.
    threads: usize,
    pairs_per_second: f64,
}

/// Reads the lines that the program printed.
///
/// # Errors
/// Names the first line that is not a measurement; and fails when there is none.
pub fn parse(printed: &str) -> Result<Vec<Pairs>> {
    let lines = printed.lines().filter(|line| !line.trim().is_empty());
    let measured = lines
        .map(|line| {
            let pairs: Pairs =
                serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))?;
            let speed = pairs.pairs_per_second;
            ensure!(speed.is_finite() && speed > 0.0 && pairs.threads > 0, "not a speed: {line}");
            Ok(pairs)
        })
        .collect::<Result<Vec<_>>>()?;
    ensure!(!measured.is_empty(), "it measured nothing");
    Ok(measured)
}

/// The measurements as text.
pub fn table(measured: &[Pairs]) -> String {
    let mut text = "SODA's training pairs, both views augmented\n".to_string();
    let line = |cells: [&str; 6]| {
        let [what, shape, threads, pairs, per_core, target] = cells;
        let line = format!("  {what:24}{shape:>9}{threads:>9}{pairs:>10}{per_core:>10}   {target}");
        line.trim_end().to_string()
    };
    text += &line(["", "pictures", "threads", "pairs/s", "per core", "target per core"]);
    for pairs in measured {
        let per_core = pairs.pairs_per_second / pairs.threads as f64;
        let [channels, height, width] = pairs.shape;
        let outcome = if per_core >= TARGET { "met" } else { "missed" };
        let target = if pairs.shape == SHAPE { format!("{TARGET}: {outcome}") } else { String::new() };
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            "\n{}",
            line([
                &pairs.measure,
                &format!("{channels}x{height}x{width}"),
                &pairs.threads.to_string(),
                &format!("{:.0}", pairs.pairs_per_second),
                &format!("{per_core:.0}"),
                &target,
            ])
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::message_of;

    const PRINTED: &str = concat!(
        r#"{"measure":"in the calling thread","shape":[3,32,32],"threads":1,"pairs_per_second":9000.4}"#,
        "\n",
        r#"{"measure":"by a loader's workers","shape":[3,32,32],"threads":4,"pairs_per_second":12000.0}"#,
        "\n",
        r#"{"measure":"in the calling thread","shape":[1,28,28],"threads":1,"pairs_per_second":100}"#,
    );

    #[test]
    fn rows_show_the_share_of_a_core() -> Result<()> {
        let table = table(&parse(PRINTED)?);
        let spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().skip(1).map(spaced).collect();
        assert_eq!(
            lines,
            [
                "pictures threads pairs/s per core target per core",
                "in the calling thread 3x32x32 1 9000 9000 4000: met",
                "by a loader's workers 3x32x32 4 12000 3000 4000: missed",
                "in the calling thread 1x28x28 1 100 100",
            ]
        );
        Ok(())
    }

    #[test]
    fn what_is_no_measurement_is_refused_with_its_line() {
        assert!(message_of(parse("fast")).starts_with("not a measurement: fast"));
        assert_eq!(message_of(parse("\n")), "it measured nothing");
        let line = r#"{"measure":"x","shape":[1,2,3],"threads":0,"pairs_per_second":1}"#;
        assert!(message_of(parse(line)).starts_with("not a speed: {"));
    }
}
