//! `ddae-export CHECKPOINT`.

use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use clap::{Args, ValueEnum};
use ddae_base::{shell, stop, tell};
use ddae_checkpoint::WeightSet;
use ddae_export::ExportError;
use ddae_export::export::{Exported, Plan};
use ddae_export::inspect::short;
use ddae_export::request::Request;
use ddae_export::source::{Source, SourceOptions};
use ddae_export::staging::Staging;
use ddae_model::config::{AnyConfig, Override};
use ddae_model::diffusion::feature_layers;
use ddae_model::graph::Graph;
use ddae_model::networks::Architecture;
use ddae_onnx::metadata::{GraphDescription, GraphKind, Precision};
use ddae_onnx::write::data_file;
use serde_json::json;

use super::numbers::{NumberArguments, calibration_line, error_lines};
use super::untold::UntoldArguments;

#[derive(Args, Debug)]
pub struct Arguments {
    /// A checkpoint, a run folder (its furthest checkpoint), a folder of diffusers, or a file of published weights
    #[arg(required_unless_present = "config")]
    checkpoint: Option<PathBuf>,
    /// Configuration (YAML) [default: that of the checkpoint or its run folder, or what the weights tell]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set a key of the configuration, as in network.dropout=0.2; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Override>,
    /// What the file computes
    #[arg(short, long, value_enum, default_value = "network")]
    graph: Kind,
    /// Layers, separated by commas, or all [default for features: that of the configuration's linear probe; Inception's
    /// pool]
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    taps: Vec<String>,
    /// Fix the timestep of a features graph, which then runs faster
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    timestep: Option<i64>,
    /// Take a label in a network graph: the augmentation's, or a class
    #[arg(long)]
    label: bool,
    /// Divide an encoder's output by its length
    #[arg(long)]
    normalise: bool,
    /// Weights of a checkpoint that has several sets [default: ema]
    #[arg(short, long, value_enum)]
    weights: Option<Weights>,
    /// Type of images in 0..1: f32 [B,C,H,W], or u8 [B,H,W,C]
    #[arg(long, value_enum, default_value = "f32")]
    input: Input,
    /// The file to write [default: a name made of run, graph and layers, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    numbers: NumberArguments,
    /// List the layers that --taps takes, and do nothing
    #[arg(long)]
    list_taps: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write nothing but errors to stderr
    #[arg(short, long)]
    quiet: bool,
    // Last, as it has a heading of its own.
    #[command(flatten)]
    untold: UntoldArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// The bare network
    Network,
    /// Images to pooled features of layers
    Features,
    /// One step of the sampler
    Sampler,
    /// Images to the codes of an encoder
    Encoder,
    /// Images to the latents of a latent encoder
    Latent,
}

impl Kind {
    fn graph(self) -> GraphKind {
        match self {
            Kind::Network => GraphKind::Network,
            Kind::Features => GraphKind::Features,
            Kind::Sampler => GraphKind::Sampler,
            Kind::Encoder => GraphKind::Encoder,
            Kind::Latent => GraphKind::Latent,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Weights {
    /// The moving average
    Ema,
    /// The weights in training
    Model,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Input {
    F32,
    U8,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if arguments.list_taps {
        return list_taps(arguments, &mut out);
    }
    let source = source(arguments)?;
    for file in source.passed_over.iter().filter(|_| !arguments.quiet) {
        let _ = writeln!(std::io::stderr(), "warning: passed over: {file}");
    }
    let plan = Plan::new(source, request(arguments), arguments.numbers.output())?;
    let target = arguments.output.clone().unwrap_or_else(|| plan.file_name());
    if target.is_dir() {
        let message = format!("-o {}: this is a folder; give the name of a file", target.display());
        return Err(ExportError::Argument(message).into());
    }
    let existing = [target.clone(), data_file(&target)].into_iter().find(|path| path.exists());
    if let Some(path) = existing.filter(|_| !arguments.force) {
        let message =
            "it exists already; replace it with --force, or choose another name with -o".to_string();
        return Err(ExportError::Source { path, message }.into());
    }
    if arguments.dry_run {
        if arguments.json {
            writeln!(out, "{}", as_json(&plan.description, &[target], None))?;
            return Ok(());
        }
        print_graph(&mut out, plan.graph(), &plan.description)?;
        let width = match plan.description.precision {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
            Precision::Int8 => 1,
        };
        let bytes = short(width * plan.description.parameters);
        writeln!(out, "would write {} (about {bytes}B)", target.display())?;
        return Ok(());
    }
    let staging = removed_on_signal(&target)?;
    let is_shown = !arguments.quiet && std::io::stderr().is_terminal();
    let progress = |what: &str| {
        if is_shown {
            let _ = writeln!(std::io::stderr(), "{what} …");
        }
    };
    let exported = plan.export(staging, progress)?;
    if arguments.json {
        writeln!(out, "{}", as_json(&exported.description, &exported.files, Some(exported.bytes)))?;
        return Ok(());
    }
    print_graph(&mut out, &exported.graph, &exported.description)?;
    print_result(&mut out, &exported)?;
    writeln!(out, "\nnext: {}", next_command(&exported, &target))?;
    Ok(())
}

/// The folder in which the file is made. Ctrl-C, SIGTERM and SIGHUP remove it and end the process at once: much of an
/// export is a single call of ONNX Runtime, which nothing interrupts.
fn removed_on_signal(target: &Path) -> Result<Staging, ExportError> {
    let made: Arc<OnceLock<PathBuf>> = Arc::default();
    let folder = Arc::clone(&made);
    let handler = move || {
        if let Some(folder) = folder.get() {
            // The process ends either way; a folder that cannot be removed has a name that says whose it is.
            let _ = fs::remove_dir_all(folder);
        }
        tell("error: interrupted; no file was written, and the same command begins again");
        std::process::exit(1);
    };
    if let Err(error) = stop::at_signal(handler) {
        tell(format_args!("warning: Ctrl-C will leave a folder .ddae-export-… behind ({error})"));
    }
    let staging = Staging::beside(target)?;
    let _ = made.set(staging.folder().to_path_buf());
    Ok(staging)
}

fn source(arguments: &Arguments) -> Result<Source, ExportError> {
    let Some(checkpoint) = &arguments.checkpoint else {
        return Err(ExportError::Argument(
            "give the checkpoint, run folder or file of weights to export".to_string(),
        ));
    };
    Source::open(checkpoint, &source_options(arguments))
}

fn source_options(arguments: &Arguments) -> SourceOptions {
    SourceOptions {
        config: arguments.config.clone(),
        overrides: arguments.set.clone(),
        weights: arguments.weights.map(weight_set),
        kind: arguments.graph.graph(),
        ..arguments.untold.options()
    }
}

fn request(arguments: &Arguments) -> Request {
    Request {
        kind: arguments.graph.graph(),
        taps: arguments.taps.clone(),
        timestep: arguments.timestep,
        input_u8: arguments.input == Input::U8,
        label: arguments.label,
        unit_length: arguments.normalise,
    }
}

fn weight_set(weights: Weights) -> WeightSet {
    match weights {
        Weights::Ema => WeightSet::Ema,
        Weights::Model => WeightSet::Model,
    }
}

fn list_taps(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let architecture = match (&arguments.checkpoint, &arguments.config) {
        (None, Some(path)) => configured(path, &source_options(arguments))?,
        _ => source(arguments)?.model.architecture,
    };
    let taps = feature_layers(&architecture).map_err(ExportError::from)?;
    if arguments.json {
        let list: Vec<_> = taps.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&list)?)?;
        return Ok(());
    }
    for (name, shape) in taps {
        let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
        writeln!(out, "{name:8} {}", sizes.join("x"))?;
    }
    Ok(())
}

/// The network of a configuration without weights.
fn configured(path: &Path, options: &SourceOptions) -> Result<Architecture, ExportError> {
    for (option, is_given) in [
        ("--weights", options.weights.is_some()),
        ("--heads", options.heads.is_some()),
        ("--head-channels", options.head_channels.is_some()),
        ("--process", options.process.is_some()),
        ("--statistics", options.normalisation.is_some()),
    ] {
        if is_given {
            return Err(ExportError::Argument(format!(
                "{option} is for weights; here is a configuration alone"
            )));
        }
    }
    let config = AnyConfig::read(path, &options.overrides)?;
    let config = match options.image_size {
        Some(size) => config
            .resized(size)
            .map_err(|message| ExportError::Argument(format!("--image-size: {message}")))?,
        None => config,
    };
    Ok(config.model_for(options.kind).architecture)
}

fn print_graph(out: &mut impl Write, graph: &Graph, description: &GraphDescription) -> std::io::Result<()> {
    let GraphDescription { kind, parameters, flops, .. } = description;
    if let Some(network) = &description.network {
        writeln!(out, "{network}")?;
    }
    let (parameters, flops) = (short(*parameters), short(*flops));
    writeln!(out, "{}: {parameters} parameters, {flops}FLOP per image", kind.name())?;
    let inputs = graph.inputs().map(|(_, node)| ("in ", &node.name, node));
    let outputs = graph.outputs().iter().map(|(name, value)| ("out", name, graph.node(*value)));
    for (direction, name, node) in inputs.chain(outputs) {
        writeln!(out, "  {direction} {name} {} {}", node.dtype, node.shape)?;
    }
    Ok(())
}

fn print_result(out: &mut impl Write, exported: &Exported) -> std::io::Result<()> {
    if let Some(verified) = exported.description.verification {
        writeln!(out, "verified: ONNX Runtime is {:.1e} from the reference interpreter", verified.reference)?;
        if let Some(record) = verified.record {
            writeln!(out, "verified: the weights give what training recorded, to {record:.1e}")?;
        }
    }
    if let Some(calibration) = &exported.description.calibration {
        writeln!(out, "{}", calibration_line(calibration))?;
    }
    if let Some(errors) = &exported.description.errors {
        for line in error_lines(errors, exported.description.precision) {
            writeln!(out, "{line}")?;
        }
    }
    let names: Vec<String> = exported.files.iter().map(|file| file.display().to_string()).collect();
    writeln!(out, "wrote {} ({}B)", names.join(" and "), short(exported.bytes))
}

fn as_json(description: &GraphDescription, files: &[PathBuf], bytes: Option<u64>) -> serde_json::Value {
    json!({
        "files": files,
        "bytes": bytes,
        "kind": description.kind,
        "network": description.network,
        "weights": description.weights,
        "epoch": description.epoch,
        "step": description.step,
        "taps": description.taps,
        "pixels": description.pixels,
        "unit_length": description.unit_length,
        "timestep": description.timestep,
        "parameters": description.parameters,
        "flops": description.flops,
        "digest": description.digest,
        "precision": description.precision,
        "calibration": description.calibration,
        "verification": description.verification,
        "errors": description.errors,
    })
}

/// The command that uses the file, ready to be pasted into a shell.
fn next_command(exported: &Exported, file: &Path) -> String {
    let (stem, file) = (shell::word(file.with_extension("")), shell::word(file));
    let is_guided = exported.graph.inputs().any(|(_, node)| node.name == "guidance");
    match exported.description.kind {
        GraphKind::Network | GraphKind::Latent => format!("ddae-export inspect {file}"),
        GraphKind::Features | GraphKind::Encoder => format!("ddae-infer features {file} -o {stem}"),
        GraphKind::Sampler if is_guided => {
            format!("ddae-infer reconstruct IMAGE --encoder ENCODER.onnx --sampler {file} -o {stem}.png")
        }
        GraphKind::Sampler => format!("ddae-infer sample {file} -o {stem}"),
    }
}
