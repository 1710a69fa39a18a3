//! What the measuring programs print: a JSON object a line.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The yardstick among the measures.
pub const PRODUCT: &str = "matrix product";

/// One measurement.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Figure {
    /// `libtorch` or `ONNX Runtime`.
    pub library: String,
    /// `matrix product`, `forward`, `train`, `sampler step`, `features out_6`, ...
    pub measure: String,
    /// `fp32`, `bf16` or `int8`.
    pub precision: String,
    /// How images lie in memory, where that was chosen.
    #[serde(default)]
    pub layout: Option<String>,
    /// Images per call; none for a matrix product.
    pub batch: Option<usize>,
    /// Threads that computed.
    pub threads: usize,
    /// Images per second; none for a matrix product.
    pub images_per_second: Option<f64>,
    /// Nominal 10^9 floating-point operations per second: those of the graph as published.
    pub gflops_per_second: f64,
}

/// Reads the lines that a program printed, of which each has a positive `speed`. Fails with the first line that is not
/// a measurement, and when there is none.
pub fn parse<T: DeserializeOwned>(printed: &str, speed: fn(&T) -> f64) -> Result<Vec<T>> {
    let lines = printed.lines().filter(|line| !line.trim().is_empty());
    let measured = lines.map(|line| {
        let measured: T = serde_json::from_str(line).with_context(|| format!("not a measurement: {line}"))?;
        let speed = speed(&measured);
        ensure!(speed.is_finite() && speed > 0.0, "not a speed: {line}");
        Ok(measured)
    });
    let measured = measured.collect::<Result<Vec<T>>>()?;
    ensure!(!measured.is_empty(), "it measured nothing");
    Ok(measured)
}

/// Share of the matrix-product peak of the same precision, measured in the same run: that of the faster library.
pub fn share_of_peak(figure: &Figure, all: &[Figure]) -> Option<f64> {
    let products = all.iter().filter(|f| f.measure == PRODUCT && f.precision == figure.precision);
    let peak = products.map(|product| product.gflops_per_second).reduce(f64::max)?;
    Some(figure.gflops_per_second / peak)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::testing::message_of;

    /// A figure as the programs would report it.
    pub fn figure(library: &str, measure: &str, precision: &str, images: Option<f64>, gflops: f64) -> Figure {
        Figure {
            library: library.to_string(),
            measure: measure.to_string(),
            precision: precision.to_string(),
            layout: None,
            batch: images.map(|_| 32),
            threads: 2,
            images_per_second: images,
            gflops_per_second: gflops,
        }
    }

    #[test]
    fn lines_of_json_are_read() -> Result<()> {
        let printed = concat!(
            r#"{"library":"libtorch","measure":"matrix product","precision":"fp32","layout":null,"batch":null,"#,
            r#""threads":2,"images_per_second":null,"gflops_per_second":162.5}"#,
            "\n\n",
            r#"{"library":"libtorch","measure":"forward","precision":"fp32","layout":"channels-last","batch":32,"#,
            r#""threads":2,"images_per_second":10.5,"gflops_per_second":130.0}"#,
            "\n"
        );
        let figures = parse(printed, |figure: &Figure| figure.gflops_per_second)?;
        assert_eq!(
            figures,
            [
                figure("libtorch", "matrix product", "fp32", None, 162.5),
                Figure {
                    layout: Some("channels-last".to_string()),
                    ..figure("libtorch", "forward", "fp32", Some(10.5), 130.0)
                },
            ]
        );
        assert_eq!(share_of_peak(&figures[1], &figures), Some(0.8));
        Ok(())
    }

    #[test]
    fn what_is_no_measurement_is_refused_with_its_line() {
        let parse = |printed| message_of(parse(printed, |figure: &Figure| figure.gflops_per_second));
        assert!(parse("batch 8, 2 threads").starts_with("not a measurement: batch 8, 2 threads"));
        assert_eq!(parse("\n"), "it measured nothing");
        let line = r#"{"library":"x","measure":"y","precision":"fp32","threads":2,"gflops_per_second":0}"#;
        assert!(parse(line).starts_with("not a speed: {"));
    }

    #[test]
    fn the_peak_is_that_of_the_same_precision_and_the_faster_library() {
        let all = [
            figure("libtorch", "matrix product", "fp32", None, 100.0),
            figure("ONNX Runtime", "matrix product", "fp32", None, 80.0),
            figure("libtorch", "train", "bf16", Some(1.0), 50.0),
            figure("ONNX Runtime", "forward", "fp32", Some(1.0), 50.0),
        ];
        let shares: Vec<_> = all.iter().map(|figure| share_of_peak(figure, &all)).collect();
        assert_eq!(shares, [Some(1.0), Some(0.8), None, Some(0.5)]);
    }
}
