//! How fast SODA's published encoder makes features: its exported graph, and the same network in libtorch.

use std::fmt::Write;

use super::figures::{Figure, share_of_peak};

/// What the measuring programs call the two.
const FORWARD: &str = "forward";
const ENCODER: &str = "encoder";

/// The table. `torch` are the figures of libtorch, `onnx` those of exported graphs.
///
/// libtorch computes with the kernels of PyTorch in eager mode, one operation after the other, so that its faster
/// layout at 16 bits is what an exported graph has to reach.
pub fn table(torch: &[Figure], onnx: &[Figure]) -> String {
    let all: Vec<Figure> = torch.iter().chain(onnx).cloned().collect();
    let eager = torch.iter().filter(|f| f.measure == FORWARD && f.precision == "bf16");
    let eager = eager.filter_map(|f| f.images_per_second).reduce(f64::max);
    let mut text = "SODA's encoder (configs/soda_cifar10.yaml, ResNet-18) at 32x32\n".to_string();
    text += &line(["", "", "images/s", "GFLOP/s", "of peak"], "eager bf16");
    for figure in all.iter().filter(|f| [FORWARD, ENCODER].contains(&f.measure.as_str())) {
        let images = figure.images_per_second.unwrap_or_default();
        let settings = [Some(figure.library.as_str()), figure.layout.as_deref()];
        let settings: Vec<&str> = settings.into_iter().flatten().collect();
        let share = share_of_peak(figure, &all).map_or("-".to_string(), |x| format!("{:.0} %", 100.0 * x));
        let verdict = match eager {
            Some(eager) if figure.measure == ENCODER => {
                let outcome = if images >= eager { "met" } else { "missed" };
                format!("{:.2} times: {outcome}", images / eager)
            }
            _ => String::new(),
        };
        let cells = [
            &settings.join(", "),
            &figure.precision,
            &format!("{images:.0}"),
            &format!("{:.0}", figure.gflops_per_second),
            &share,
        ];
        // Writing into a string cannot fail.
        let _ = write!(text, "\n{}", line(cells.map(String::as_str), &verdict));
    }
    text
}

fn line([what, precision, images, gflops, share]: [&str; 5], verdict: &str) -> String {
    let line = format!("  {what:32}{precision:6}{images:>10}{gflops:>14}{share:>9}   {verdict}");
    line.trim_end().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::tests::figure;

    #[test]
    fn graphs_are_held_against_the_faster_layout_of_libtorch() {
        let laid_out = |layout: &str, figure: Figure| Figure { layout: Some(layout.to_string()), ..figure };
        let torch = [
            figure("libtorch", "matrix product", "bf16", None, 2000.0),
            laid_out("contiguous", figure("libtorch", "forward", "bf16", Some(600.0), 660.0)),
            laid_out("channels-last", figure("libtorch", "forward", "bf16", Some(800.0), 1000.0)),
        ];
        let onnx = [
            figure("ONNX Runtime", "encoder", "fp32", Some(400.0), 440.0),
            figure("ONNX Runtime", "encoder", "int8", Some(1000.0), 1100.0),
        ];
        let table = table(&torch, &onnx);
        let spaced = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = table.lines().skip(2).map(spaced).collect();
        assert_eq!(
            lines,
            [
                "libtorch, contiguous bf16 600 660 33 %",
                "libtorch, channels-last bf16 800 1000 50 %",
                "ONNX Runtime fp32 400 440 - 0.50 times: missed",
                "ONNX Runtime int8 1000 1100 - 1.25 times: met",
            ]
        );
    }
}
