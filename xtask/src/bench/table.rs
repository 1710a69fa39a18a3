//! The figures as text.

use super::figures::{Figure, PRODUCT, share_of_peak};
use super::memory::Peak;

/// Images per second to reach.
#[derive(Clone, Copy)]
struct Target {
    images_per_second: f64,
    /// On other machines, this share of the matrix-product peak does, too.
    share: Option<f64>,
}

const TORCH: &str = "libtorch";
const ORT: &str = "ONNX Runtime";

/// What is known and wanted of a measure: library, measure and precision; what people call it; images per second of the
/// published code in PyTorch on two cores with AMX.
type Row = ([&'static str; 3], &'static str, Option<f64>, Option<Target>);

const fn at_least(images_per_second: f64) -> Option<Target> {
    Some(Target { images_per_second, share: None })
}

const fn or_85_percent(images_per_second: f64) -> Option<Target> {
    Some(Target { images_per_second, share: Some(0.85) })
}

/// In order.
const ROWS: [Row; 11] = [
    ([TORCH, PRODUCT, "fp32"], "matrix product", None, None),
    ([TORCH, PRODUCT, "bf16"], "matrix product", None, None),
    ([TORCH, "train", "fp32"], "training step", Some(5.8), at_least(5.8)),
    ([TORCH, "train", "bf16"], "training step", Some(13.5), at_least(13.5)),
    ([TORCH, "forward", "fp32"], "forward", Some(15.0), None),
    ([TORCH, "forward", "bf16"], "forward", Some(47.0), None),
    ([ORT, PRODUCT, "fp32"], "matrix product", None, None),
    ([ORT, "forward", "fp32"], "forward", Some(15.0), or_85_percent(30.0)),
    ([ORT, "sampler step", "fp32"], "one sampler step", None, None),
    ([ORT, "features out_6", "fp32"], "features at out_6", None, or_85_percent(80.0)),
    (
        [ORT, "features out_6, fixed timestep", "fp32"],
        "features at out_6, --timestep",
        None,
        or_85_percent(80.0),
    ),
];

const HEADER: [[&str; 5]; 2] = [
    ["images/s", "GFLOP/s", "of peak", "published code", "target"],
    ["", "", "", "on 2 such cores", "images/s"],
];

/// Stands under the table.
pub const NOTES: &str = "\
GFLOP/s are nominal: those of the graph as published (a training step as 3 forward passes). Graphs are lowered to
fewer operations, so that a share above 100 % is possible. The peak is the product of square matrices at the same
precision in this run, in whichever library is faster. Best round of each; docs/performance.md says more.";

/// The table of speeds.
pub fn speed(figures: &[Figure]) -> String {
    let mut table = "The published 35.7 M network (configs/DDPM_ddpm.yaml) at 32x32\n".to_string();
    for [images, gflops, share, published, target] in HEADER {
        table += &columns("", "", [images, gflops, share, published], target);
        table.push('\n');
    }
    let mut section = "";
    for (key, label, published, target) in ROWS {
        let [library, _, precision] = key;
        if library != section {
            section = library;
            table += library;
            if let Some(Figure { batch: Some(batch), threads, .. }) =
                figures.iter().find(|f| f.library == library && f.batch.is_some())
            {
                table += &format!(", batch {batch}, {threads} threads");
            }
            table.push('\n');
        }
        let figure = figures.iter().find(|f| [&f.library, &f.measure, &f.precision] == key);
        let images = figure.and_then(|f| f.images_per_second);
        let share = figure.and_then(|f| share_of_peak(f, figures));
        let absent = || "-".to_string();
        let cells = [
            images.map_or_else(absent, |x| format!("{x:.1}")),
            figure.map_or_else(|| "not measured".to_string(), |f| format!("{:.0}", f.gflops_per_second)),
            share.map_or_else(absent, |x| format!("{:.0} %", 100.0 * x)),
            published.map_or_else(String::new, |x| format!("{x:.1}")),
        ];
        let target = target.map_or_else(String::new, |target| target.text(images, share));
        table += &columns(label, precision, cells.each_ref().map(String::as_str), &target);
        table.push('\n');
    }
    table
}

/// A line of the table: what, at which precision, and the columns.
fn columns(
    label: &str,
    precision: &str,
    [images, gflops, share, published]: [&str; 4],
    target: &str,
) -> String {
    let line =
        format!("  {label:32}{precision:6}{images:>10}{gflops:>14}{share:>9}{published:>17}   {target}");
    line.trim_end().to_string()
}

impl Target {
    /// "80 or 85 % of peak: met".
    fn text(self, images: Option<f64>, share: Option<f64>) -> String {
        let wanted = match self.share {
            Some(share) => format!("{} or {:.0} % of peak", self.images_per_second, 100.0 * share),
            None => format!("{}", self.images_per_second),
        };
        let Some(images) = images else { return wanted };
        let is_fast = images >= self.images_per_second;
        let is_near_peak = self.share.zip(share).is_some_and(|(wanted, share)| share >= wanted);
        let outcome = if is_fast || is_near_peak { "met" } else { "missed" };
        format!("{wanted}: {outcome}")
    }
}

/// Peak memory for both data sets, and the ratio.
pub fn memory(peaks: &[Peak; 2]) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let mut text = "Peak memory of `ddae-infer features`, 28x28 grey images, demo network\n".to_string();
    for peak in peaks {
        let seconds = peak.elapsed.as_secs_f64();
        let rate = peak.images as f64 / seconds.max(f64::MIN_POSITIVE);
        text += &format!(
            "  {:>6} images{:>10.1} MiB{:>10.1} s{:>10.0} images/s\n",
            peak.images,
            mib(peak.bytes),
            seconds,
            rate
        );
    }
    let [small, large] = peaks;
    text + &format!(
        "  {:.0} times the images, {:.2} times the memory",
        large.images as f64 / small.images.max(1) as f64,
        large.bytes as f64 / small.bytes.max(1) as f64
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::figures::tests::figure;

    fn rows(table: &str, label: &str) -> Vec<String> {
        let spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        table.lines().map(spaced).filter(|line| line.starts_with(label)).collect()
    }

    #[test]
    fn a_row_shows_speed_share_reference_and_target() {
        let table = speed(&[
            figure(TORCH, PRODUCT, "fp32", None, 200.0),
            figure(TORCH, "train", "fp32", Some(6.0), 180.0),
            figure(ORT, PRODUCT, "fp32", None, 400.0),
            figure(ORT, "forward", "fp32", Some(28.0), 348.0),
            figure(ORT, "features out_6", "fp32", Some(70.0), 300.0),
        ]);
        assert_eq!(rows(&table, "matrix product")[0], "matrix product fp32 - 200 50 %");
        assert_eq!(rows(&table, "training step")[0], "training step fp32 6.0 180 45 % 5.8 5.8: met");
        let forward = "forward fp32 28.0 348 87 % 15.0 30 or 85 % of peak: met";
        assert_eq!(rows(&table, "forward")[2], forward);
        assert_eq!(
            rows(&table, "features at out_6 fp32"),
            ["features at out_6 fp32 70.0 300 75 % 80 or 85 % of peak: missed"]
        );
        assert!(table.contains("libtorch, batch 32, 2 threads\n"), "{table}");
    }

    #[test]
    fn columns_line_up_and_what_was_not_measured_says_so() {
        let table = speed(&[figure(TORCH, "forward", "bf16", Some(123.42), 9876.0)]);
        let end = |word: &str| {
            let line = table.lines().find(|line| line.contains(word));
            line.and_then(|line| line.find(word)).map(|at| at + word.len())
        };
        assert!(end("123.4").is_some() && end("9876").is_some(), "{table}");
        assert_eq!(end("images/s"), end("123.4"));
        assert_eq!(end("GFLOP/s"), end("9876"));
        assert_eq!(rows(&table, "one sampler step"), ["one sampler step fp32 - not measured -"]);
    }

    #[test]
    fn memory_is_shown_in_mebibytes_with_the_ratio() {
        let peak = |images, bytes, seconds| Peak { images, bytes, elapsed: Duration::from_secs(seconds) };
        let text = memory(&[peak(2_000, 100 << 20, 4), peak(60_000, 105 << 20, 100)]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "    2000 images     100.0 MiB       4.0 s       500 images/s");
        assert_eq!(lines[2], "   60000 images     105.0 MiB     100.0 s       600 images/s");
        assert_eq!(lines[3], "  30 times the images, 1.05 times the memory");
    }
}
