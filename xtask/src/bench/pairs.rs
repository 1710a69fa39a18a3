//! How fast SODA's training pairs are made.

use std::fmt::Write;

use serde::Deserialize;

/// What a core has to make in a second, of images of [`SHAPE`].
const TARGET: f64 = 4000.0;
const SHAPE: [usize; 3] = [3, 32, 32];

/// One line of the measuring program.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Pairs {
    /// Where they were made.
    measure: String,
    /// Of the images, [C, H, W].
    shape: [usize; 3],
    /// Threads that made them.
    threads: usize,
    pairs_per_second: f64,
}

impl Pairs {
    /// Pairs that one of the threads made in a second.
    pub fn speed(&self) -> f64 {
        self.pairs_per_second / self.threads as f64
    }
}

/// The measurements as text.
pub fn table(measured: &[Pairs]) -> String {
    let mut text = "SODA's training pairs, both views augmented\n".to_string();
    let line = |cells: [&str; 6]| {
        let [what, shape, threads, pairs, per_core, target] = cells;
        let line = format!("  {what:24}{shape:>9}{threads:>9}{pairs:>10}{per_core:>10}   {target}");
        line.trim_end().to_string()
    };
    text += &line(["", "images", "threads", "pairs/s", "per core", "target per core"]);
    for pairs in measured {
        let per_core = pairs.speed();
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
    use crate::bench::figures::parse;
    use crate::testing::message_of;
    use anyhow::Result;

    const PRINTED: &str = concat!(
        r#"{"measure":"in the calling thread","shape":[3,32,32],"threads":1,"pairs_per_second":9000.4}"#,
        "\n",
        r#"{"measure":"by a loader's workers","shape":[3,32,32],"threads":4,"pairs_per_second":12000.0}"#,
        "\n",
        r#"{"measure":"in the calling thread","shape":[1,28,28],"threads":1,"pairs_per_second":100}"#,
    );

    #[test]
    fn rows_show_the_share_of_a_core() -> Result<()> {
        let table = table(&parse(PRINTED, Pairs::speed)?);
        let spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().skip(1).map(spaced).collect();
        assert_eq!(
            lines,
            [
                "images threads pairs/s per core target per core",
                "in the calling thread 3x32x32 1 9000 9000 4000: met",
                "by a loader's workers 3x32x32 4 12000 3000 4000: missed",
                "in the calling thread 1x28x28 1 100 100",
            ]
        );
        Ok(())
    }

    #[test]
    fn no_threads_make_no_speed() {
        let line = r#"{"measure":"x","shape":[1,2,3],"threads":0,"pairs_per_second":1}"#;
        assert!(message_of(parse(line, Pairs::speed)).starts_with("not a speed: {"));
    }
}
