//! What ranks cost: the exchange of gradients during the backward pass, after it and not at all, and checkpoints beside the
//! training.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::Measure;
use super::figures::parse;
use crate::cargo::run;
use crate::interrupt;
use crate::repository;

/// The longest that a checkpoint may keep the training waiting.
pub const BOUND: f64 = 50.0;

/// A network of this speed between the ranks, both directions together: loopback under traffic control, so that it is waited for
/// without computing.
const SLOW: &str = "4gbit";
/// Runs "$@" with such a loopback of its own.
const LIMITED: &str =
    "ip link set lo up && tc qdisc add dev lo root tbf rate \"$RATE\" burst 512k latency 500ms || exit 99
    [ $# -eq 0 ] || exec \"$@\"";

/// Steps of two ranks in one way of exchanging gradients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Steps {
    /// `never`, `during` or `after` the backward pass.
    pub way: String,
    /// Images of each rank.
    pub batch: usize,
    /// Threads of each rank.
    pub threads: usize,
    /// Of a step, the median.
    pub seconds: f64,
    /// Those after the backward pass in which gradients were waited for, the median.
    pub waited: f64,
    /// Buckets a step that were on their way before the backward pass was over, ...
    pub early: f64,
    /// ... of so many.
    pub buckets: f64,
}

/// What was measured.
#[derive(Debug)]
pub struct Ranks {
    /// On loopback.
    fast: Vec<Steps>,
    /// On a slower network, where this system lets one be made.
    slow: Option<Vec<Steps>>,
    /// Milliseconds that the training waited for each checkpoint.
    checkpoints: Vec<f64>,
}

/// Measures all of it.
pub fn measure(measure: &Measure) -> Result<Ranks> {
    let fast = measure.with("ranks_speed", &[], "two ranks", |steps: &Steps| steps.seconds)?;
    let mut probe = limited();
    let can_limit =
        probe.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    let slow = match can_limit {
        true => {
            eprintln!("# Measuring two ranks on a network of {SLOW}");
            let mut command = limited();
            command.arg(measure.programs.path("ranks_speed")?);
            command.args(["--json", "--rounds", &measure.rounds.to_string()]).current_dir(repository());
            Some(parse(&run(&mut command)?, |steps: &Steps| steps.seconds)?)
        }
        false => None,
    };
    Ok(Ranks { fast, slow, checkpoints: checkpoints(measure)? })
}

fn limited() -> Command {
    let mut command = Command::new("unshare");
    command.args(["-rn", "sh", "-c", LIMITED, "limited"]).env("RATE", SLOW);
    command
}

/// Trains the published network, which writes a checkpoint after every step.
fn checkpoints(measure: &Measure) -> Result<Vec<f64>> {
    // So that the temporary folder, of gigabytes, goes away on Ctrl-C.
    interrupt::listen();
    eprintln!("# Measuring checkpoints of the published network");
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let (data, run_folder) = (folder.path().join("data"), folder.path().join("run"));
    write_images(&data)?;
    let mut train = Command::new(measure.programs.path("ddae-train")?);
    train.current_dir(repository()).args([
        "diffusion",
        "--config",
        "configs/DDPM_ddpm.yaml",
        "--device",
        "cpu",
        "-q",
    ]);
    for key in ["dataset=folder", "classes=1", "n_sample=0", "batch_size=8", "validate_every=0"] {
        train.args(["--set", key]);
    }
    train
        .args(["--epochs", "2", "--save-minutes", "0"])
        .arg("--data-root")
        .arg(&data)
        .arg("--run")
        .arg(&run_folder);
    run(&mut train)?;
    let path = run_folder.join("log.txt");
    let waits = waits(&fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    ensure!(!waits.is_empty(), "the log names no checkpoint");
    Ok(waits)
}

/// How long the training waited for each checkpoint that a log tells of.
fn waits(log: &str) -> Vec<f64> {
    let of = |line: &str| line.rsplit_once("(the training waited ")?.1.split(' ').next()?.parse().ok();
    log.lines().filter_map(of).collect()
}

/// 32 images: four steps an epoch.
fn write_images(root: &Path) -> Result<()> {
    let folder = root.join("train/grey");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for number in 0..32u8 {
        let path = folder.join(format!("{number:02}.png"));
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        let mut encoder = png::Encoder::new(file, 32, 32);
        encoder.set_color(png::ColorType::Rgb);
        let levels: Vec<u8> =
            (0..32 * 32 * 3usize).map(|at| ((at * usize::from(number + 1)) % 251) as u8).collect();
        encoder.write_header()?.write_image_data(&levels)?;
    }
    Ok(())
}

/// The figures as text.
pub fn table(ranks: &Ranks) -> String {
    let Ranks { fast, slow, checkpoints } = ranks;
    let mut text =
        String::from("Two ranks of the published 35.7 M network, fp32, gradients of 143 MB summed by Gloo");
    if let Some(Steps { batch, threads, .. }) = fast.first() {
        text += &format!(", {batch} images and {threads} thread(s) each");
    }
    text += "\n";
    text += &ways("loopback", fast);
    match slow {
        Some(slow) => text += &ways(&format!("a network of {SLOW}, both directions together"), slow),
        None => {
            text +=
                "  a slower network: not measured, since this system lets no namespace limit its loopback\n"
        }
    }
    let most = checkpoints.iter().copied().fold(0.0, f64::max);
    let mut sorted = checkpoints.clone();
    sorted.sort_by(f64::total_cmp);
    let met = if most < BOUND { "met" } else { "not met" };
    text + &format!(
        "Checkpoints of it (571 MB), beside the training: {} of them kept it waiting for {:.0} ms (median) and {most:.0} ms at most \
         (below {BOUND:.0}: {met}); not in it: the wait for one before it that is still being written",
        checkpoints.len(),
        sorted[sorted.len() / 2],
    )
}

fn ways(network: &str, steps: &[Steps]) -> String {
    let named = |way: &str| steps.iter().find(|of| of.way == way);
    let mut text = format!("  {network}\n");
    for Steps { way, seconds, waited, early, buckets, .. } in steps {
        let what = match way.as_str() {
            "never" => "without communication".to_string(),
            way => format!("summed {way} the backward pass"),
        };
        text += &format!("    {what:34}{seconds:8.3} s a step");
        if *buckets > 0.0 {
            text += &format!(
                ", {waited:.3} s waited after it, {early:.1} of {buckets:.1} buckets on their way before its end"
            );
        }
        text += "\n";
    }
    if let (Some(never), Some(during), Some(after)) = (named("never"), named("during"), named("after")) {
        // Where sums add nothing, there is nothing to hide.
        let hidden = |left: f64, whole: f64| if whole > 0.0 { 100.0 * (1.0 - left / whole) } else { 0.0 };
        text += &format!(
            "    hidden: {:.0} % of the {:.3} s that the sums are waited for after it; {:.0} % of what they add to a step\n",
            hidden(during.waited, after.waited),
            after.waited,
            hidden(during.seconds - never.seconds, after.seconds - never.seconds)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(way: &str, waited: f64, early: f64) -> Steps {
        let buckets = if way == "never" { 0.0 } else { 8.0 };
        // The pass itself is slower while sums are on their way.
        let seconds = if way == "during" { 2.1 + waited } else { 2.0 + waited };
        Steps { way: way.to_string(), batch: 8, threads: 1, seconds, waited, early, buckets }
    }

    #[test]
    fn what_is_hidden_is_a_share_of_what_sums_take() {
        let all = vec![steps("never", 0.0, 0.0), steps("during", 0.1, 7.5), steps("after", 0.4, 0.0)];
        let found = Ranks { fast: all.clone(), slow: None, checkpoints: vec![3.0, 60.0, 4.0] };
        let text = table(&found);
        assert!(text.contains("8 images and 1 thread(s) each\n"), "{text}");
        let hidden = "hidden: 75 % of the 0.400 s that the sums are waited for after it; 50 % of what they add to a step\n";
        assert!(text.contains(hidden), "{text}");
        assert!(text.contains("7.5 of 8.0 buckets on their way before its end\n"), "{text}");
        assert!(text.contains("a slower network: not measured"), "{text}");
        assert!(
            text.contains("for 4 ms (median) and 60 ms at most (below 50: not met); not in it: "),
            "{text}"
        );
        let text = table(&Ranks { fast: all.clone(), slow: Some(all), checkpoints: vec![3.0] });
        assert!(text.contains("a network of 4gbit, ") && text.contains("(below 50: met);"), "{text}");
    }

    #[test]
    fn waits_are_read_from_the_log() {
        let log = "2026-11-28 wrote run/checkpoints/epoch_0000.safetensors at step 0 (the training waited 12 ms for it)\n\
                   epoch 1/2: loss 0.9\nwrote latest.safetensors at step 3 (the training waited 7 ms for it)\n";
        assert_eq!(waits(log), [12.0, 7.0]);
    }
}
