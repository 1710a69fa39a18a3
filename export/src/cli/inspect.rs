//! `ddae-export inspect`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ddae_export::ExportError;
use ddae_export::inspect::{CheckpointReport, NodeReport, OnnxReport, Report, ValueReport, inspect, short};

use super::precision::{calibration_line, error_lines};

/// Say what an ONNX file or a checkpoint (safetensors, PyTorch) holds
#[derive(Args, Debug)]
pub struct Arguments {
    /// The file
    file: PathBuf,
    /// List the operations of an ONNX file, too
    #[arg(long)]
    nodes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let report = inspect(&arguments.file)?;
    ddae_base::detail(|| {
        let kind = if matches!(report, Report::Onnx(_)) { "an ONNX file" } else { "a checkpoint" };
        format!("opened {}: {kind}", ddae_base::plain(arguments.file.display()))
    });
    if arguments.nodes && matches!(report, Report::Checkpoint(_)) {
        let message = format!("--nodes is for ONNX files; {} is a checkpoint", arguments.file.display());
        return Err(ExportError::Argument(message).into());
    }
    let mut out = ddae_base::stdout();
    if arguments.json {
        return Ok(ddae_base::json::print("ddae.inspect/1", &report)?);
    }
    let mut text = Vec::new();
    match &report {
        Report::Onnx(report) => {
            print_onnx(&mut text, report)?;
            if arguments.nodes {
                print_nodes(&mut text, &report.nodes)?;
            }
        }
        Report::Checkpoint(report) => print_checkpoint(&mut text, report)?,
    }
    for line in String::from_utf8_lossy(&text).split_terminator('\n') {
        writeln!(out, "{}", plain(line))?;
    }
    Ok(())
}

fn print_onnx(out: &mut impl Write, report: &OnnxReport) -> std::io::Result<()> {
    let opsets: Vec<String> =
        report.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    let (ir, producer) = (report.ir_version, &report.producer);
    writeln!(
        out,
        "ONNX, IR {ir}, operators of {}, written by {producer}, {}B",
        opsets.join(", "),
        short(report.bytes)
    )?;
    print_values(out, "inputs", &report.inputs)?;
    print_values(out, "outputs", &report.outputs)?;
    let flops = report
        .flops
        .map_or("unknown (shapes are missing)".to_string(), |flops| format!("{}FLOP", short(flops)));
    writeln!(out, "work      {flops} per image, as the file computes it")?;
    writeln!(out, "constants {} in {} tensors", short(report.elements), report.constants)?;
    if let Some(own) = &report.description {
        writeln!(out, "kind      {}, pixels {}", own.kind.name(), own.pixels.name())?;
        if let Some(network) = &own.network {
            writeln!(out, "network   {network}")?;
        }
        if own.unit_length {
            writeln!(out, "output    of length 1")?;
        }
        for tap in &own.taps {
            writeln!(out, "layer     {} {:?}", tap.name, tap.shape)?;
        }
        if let Some(timestep) = own.timestep {
            writeln!(out, "timestep  {timestep}, fixed")?;
        }
        writeln!(out, "network   {} parameters, {}FLOP per image", short(own.parameters), short(own.flops))?;
        let name = own.weights_name.as_ref().map_or(String::new(), |name| format!(" '{name}'"));
        let weights = match own.weights {
            Some(set) => Some(format!(", {} weights{name}", set.name())),
            None if name.is_empty() => None,
            None => Some(format!(", weights{name}")),
        };
        let epoch = own.epoch.map(|epoch| format!(", epoch {epoch}"));
        let step = own.step.map(|step| format!(", step {step}"));
        let details: String = [weights, epoch, step].into_iter().flatten().collect();
        writeln!(out, "from      {}{details}", own.checkpoint)?;
        writeln!(out, "sha256    {}", own.digest)?;
        writeln!(out, "precision {}", own.precision.name())?;
        if let Some(calibration) = &own.calibration {
            writeln!(out, "{}", calibration_line(calibration))?;
        }
        for line in own.errors.iter().flat_map(|errors| error_lines(errors, own.precision)) {
            writeln!(out, "{line}")?;
        }
        if let Some(verified) = own.verification {
            write!(out, "verified  {:.1e} from the reference interpreter", verified.reference)?;
            if let Some(record) = verified.record {
                write!(out, ", {record:.1e} from training's own outputs")?;
            }
            writeln!(out)?;
        }
    }
    let operators: Vec<String> =
        report.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
    writeln!(out, "operators {}", operators.join(", "))?;
    for (key, value) in &report.metadata {
        let described = report.description.is_some() && key.starts_with("ddae.") && key != "ddae.config";
        if !described {
            writeln!(out, "{key}:\n  {}", value.trim_end().replace('\n', "\n  "))?;
        }
    }
    Ok(())
}

/// An operation a line: its results, operator and operands.
fn print_nodes(out: &mut impl Write, nodes: &[NodeReport]) -> std::io::Result<()> {
    writeln!(out, "graph:")?;
    for node in nodes {
        writeln!(out, "  {} = {}({})", node.outputs.join(", "), node.operator, node.inputs.join(", "))?;
    }
    Ok(())
}

fn print_values(out: &mut impl Write, title: &str, values: &[ValueReport]) -> std::io::Result<()> {
    for (i, value) in values.iter().enumerate() {
        let title = if i == 0 { title } else { "" };
        writeln!(out, "{title:9} {} {} [{}]", value.name, value.dtype, value.shape.join(", "))?;
    }
    Ok(())
}

fn print_checkpoint(out: &mut impl Write, report: &CheckpointReport) -> std::io::Result<()> {
    match &report.state {
        Some(state) => {
            writeln!(out, "training checkpoint, epoch {}, step {}", state.epoch, state.step)?;
            for part in ["model.", "ema.", "optimizer."] {
                let (name, count) = (part.trim_end_matches('.'), report.elements(part));
                writeln!(out, "{name:9} {}", short(count))?;
            }
        }
        None => {
            let count = short(report.elements(""));
            writeln!(out, "{}, {}, {count} values", report.format, report.layout)?;
        }
    }
    if !report.networks.is_empty() {
        writeln!(out, "networks  {}", report.networks.join(", "))?;
    }
    for set in &report.sets {
        let name = match &*set.prefix {
            "" => "'' (names without a prefix)".to_string(),
            prefix => format!("'{}'", plain(prefix.trim_end_matches('.'))),
        };
        let role = set.role.map_or(String::new(), |role| format!(", {role}"));
        let (networks, elements) = (set.networks.join(" and "), short(set.elements));
        writeln!(out, "weights   {name}: {networks}, {elements} values{role}")?;
    }
    for list in &report.nameless_averages {
        writeln!(out, "weights   '{}': a moving average without names", plain(list))?;
    }
    writeln!(out, "sha256    {}", report.digest)?;
    let names: Vec<String> = report.tensors.iter().map(|tensor| plain(&tensor.name)).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (name, tensor) in names.iter().zip(&report.tensors) {
        writeln!(out, "{name:width$}  {:4} {:?}", tensor.dtype, tensor.shape)?;
    }
    if !report.values.is_empty() {
        writeln!(out, "other values:")?;
        for entry in &report.values {
            writeln!(out, "  {} = {}", plain(&entry.name), entry.value)?;
        }
        if report.values_left_out > 0 {
            writeln!(out, "  … and {} more", report.values_left_out)?;
        }
    }
    if !report.foreign_objects.is_empty() {
        let names = report.foreign_objects.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", ");
        writeln!(out, "Python objects that it refers to (nothing was run): {names}")?;
    }
    if let Some(config) = &report.config {
        writeln!(out, "configuration:\n  {}", config.trim_end().replace('\n', "\n  "))?;
    }
    Ok(())
}

/// Text in one line, without what would steer a terminal: names come from files that anybody may have made.
fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { String::from(c) };
    text.chars().map(shown).collect()
}
