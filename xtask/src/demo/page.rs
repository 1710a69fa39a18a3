//! The page at the end of the demo: scores, images, the loss, and the commands that made them.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use super::Step;
use super::scores::{ROWS, Scores};

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #1d1d1f }
h1 { font-size: 1.7rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse } td, th { padding: .35rem 1.2rem .35rem 0; text-align: left; border-bottom: 1px solid #ddd }
td.n { text-align: right; font-variant-numeric: tabular-nums } td.n, td:first-child { white-space: nowrap }
.quiet { overflow-wrap: anywhere } tr.ours { font-weight: 600 }
img { max-width: 100%; image-rendering: pixelated } img.plot { image-rendering: auto }
.side { display: flex; flex-wrap: wrap; gap: 1.5rem } .side > * { flex: 1 1 26rem; margin: 0 }
pre { background: #f5f5f7; padding: .8rem; overflow-x: auto; font-size: .85rem } .quiet { color: #6e6e73 }
";

/// Writes `index.html` into the run folder.
pub fn write(folder: &Path, scores: &Scores, steps: &[Step]) -> Result<PathBuf> {
    let stats = folder.join("stats.jsonl");
    let losses = losses(&std::fs::read_to_string(&stats).with_context(|| stats.display().to_string())?);
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>ddae demo</title><style>{STYLE}</style>\n\
         <h1>A denoising diffusion autoencoder on Fashion-MNIST</h1>\n\
         <p>Trained only to remove noise from 6,000 images, without labels. Its middle layers then classify 1,000 \
         others, next to two baselines on the same images.</p>\n{}\n\
         <h2>Images drawn from noise</h2>\n<img src=\"images.png\" width=\"696\" alt=\"64 generated images\">\n\
         <h2>Which classes are mistaken for which</h2>\n<div class=\"side\">{}</div>\n\
         <h2>Training loss</h2>\n{}\n\
         <h2>What was run</h2>\n<pre>{}</pre>\n</html>\n",
        table(scores),
        confusions(folder),
        curve(&losses),
        commands(steps),
    );
    let path = folder.join("index.html");
    write_whole(&path, folder, page.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Writes a file under a name that nobody can foretell, which is made new, and gives it its own then.
fn write_whole(path: &Path, folder: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("index.html.").suffix(".partial").permissions(Permissions::from_mode(0o666));
    let mut partial = builder.tempfile_in(folder)?;
    partial.write_all(text)?;
    partial.as_file().sync_all()?;
    partial.persist(path)?;
    Ok(())
}

fn table(scores: &Scores) -> String {
    let cell = |method: &str, features: &str| match scores.get(method, features) {
        Some(score) if score.features.is_empty() => {
            format!("<td class=\"n\">{:.1} %</td><td></td>", score.accuracy * 100.0)
        }
        Some(score) => format!(
            "<td class=\"n\">{:.1} %</td><td class=\"quiet\">{}</td>",
            score.accuracy * 100.0,
            escape(&score.features)
        ),
        None => "<td></td><td></td>".to_string(),
    };
    let rows: String = ROWS
        .iter()
        .map(|(features, label)| {
            let class = if *features == "trained" { " class=\"ours\"" } else { "" };
            format!(
                "<tr{class}><td>{label}</td>{}{}</tr>\n",
                cell("logistic", features),
                cell("knn", features)
            )
        })
        .collect();
    format!(
        "<table><tr><th>test accuracy</th><th>logistic</th><th></th><th>k-NN</th><th></th></tr>\n{rows}</table>\n\
         <p class=\"quiet\">In grey the timestep and layer, chosen on a held-out part of the training images.</p>"
    )
}

fn confusions(folder: &Path) -> String {
    [("logistic", "logistic regression"), ("knn", "k-nearest neighbours")]
        .iter()
        .filter(|(method, _)| folder.join(format!("confusion_{method}.png")).is_file())
        .map(|(method, label)| {
            format!("<figure><img class=\"plot\" src=\"confusion_{method}.png\" alt=\"{label}\"><figcaption>{label}</figcaption></figure>")
        })
        .collect()
}

/// Images seen (thousands) and loss, from the lines of `stats.jsonl`.
fn losses(stats: &str) -> Vec<(f64, f64)> {
    stats
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|entry| Some((entry["step"].as_f64()?, entry["loss"].as_f64()?)))
        .collect()
}

/// A line chart, logarithmic in the loss.
fn curve(losses: &[(f64, f64)]) -> String {
    let points: Vec<(f64, f64)> =
        losses.iter().filter(|(_, y)| *y > 0.0).map(|(x, y)| (*x, y.log10())).collect();
    let Some(last) = points.last() else { return String::new() };
    let (low, high) =
        points.iter().fold((f64::MAX, f64::MIN), |(low, high), (_, y)| (low.min(*y), high.max(*y)));
    let (width, height, margin) = (880.0, 240.0, 46.0);
    let x = |step: f64| margin + (width - margin - 8.0) * step / last.0.max(1.0);
    let y = |value: f64| 8.0 + (height - 36.0) * (high - value) / (high - low).max(1e-9);
    let line: Vec<String> =
        points.iter().map(|(step, value)| format!("{:.1},{:.1}", x(*step), y(*value))).collect();
    let mark = |value: f64| {
        let at = y(value);
        format!(
            "<text x=\"0\" y=\"{:.1}\">{:.4}</text><line x1=\"{margin}\" x2=\"{width}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>",
            at + 4.0,
            10f64.powf(value)
        )
    };
    format!(
        "<svg viewBox=\"0 0 {width} {height}\" font-size=\"12\" fill=\"#6e6e73\">{}{}{}\
         <polyline points=\"{}\" fill=\"none\" stroke=\"#0066cc\" stroke-width=\"1.5\"/>\
         <text x=\"{margin}\" y=\"{}\">step 0</text><text x=\"{width}\" y=\"{}\" text-anchor=\"end\">step {}</text></svg>",
        mark(high),
        mark((high + low) / 2.0),
        mark(low),
        line.join(" "),
        height - 4.0,
        height - 4.0,
        last.0
    )
}

fn commands(steps: &[Step]) -> String {
    steps
        .iter()
        .map(|step| {
            let seconds = step.elapsed.as_secs_f64();
            format!("# {} ({seconds:.0} s)\n{}\n\n", escape(step.title), escape(&step.command))
        })
        .collect()
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::scores::Score;
    use std::time::Duration;

    #[test]
    fn the_page_holds_scores_loss_and_commands() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("stats.jsonl"),
            "{\"step\":50,\"loss\":0.5}\n{\"step\":100,\"loss\":0.1}\nnot json\n",
        )
        .unwrap();
        let mut scores = Scores::default();
        scores.add("knn", "trained", Score { accuracy: 0.812, features: "t11/<out>".into() });
        let step = Step { title: "Train", command: "a < b".into(), elapsed: Duration::from_secs(61) };
        let path = write(folder.path(), &scores, &[step]).unwrap();
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains("81.2 %") && page.contains("t11/&lt;out&gt;"), "{page}");
        assert!(page.contains("# Train (61 s)\na &lt; b"), "{page}");
        assert!(page.contains("step 100"), "{page}");
        assert!(!page.contains("confusion_knn.png"), "an image that is not there is not shown");
    }
}
