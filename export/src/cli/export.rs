//! `ddae-export CHECKPOINT`.

use std::cell::RefCell;
use std::fs;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clap::{ArgAction, Args};
use ddae_base::arguments::values::whole;
use ddae_base::{detail, ending, is_quiet, is_verbose, json, note, plain, shell, stop, tell};
use ddae_checkpoint::WeightChoice;
use ddae_export::export::{ExportPlan, Exported, PUBLISHING};
use ddae_export::inspect::short;
use ddae_export::request::GraphRequest;
use ddae_export::source::{WeightOptions, WeightSource};
use ddae_export::staging::{Staging, in_the_way};
use ddae_export::{ExportError, refuse_given};
use ddae_model::config::{AnyConfig, Override, ProcessConfig};
use ddae_model::diffusion::{Pixels, feature_layers, feature_timesteps};
use ddae_model::graph::Graph;
use ddae_model::networks::{Architecture, Role};
use ddae_onnx::metadata::{GraphDescription, GraphKind, Precision};
use serde_json::json;

use super::named::named;
use super::precision::{FileArguments, calibration_line, error_lines};
use super::recognition::RecognitionArguments;

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
    #[arg(short, long, value_parser = named(&GraphKind::ALL.map(|kind| (kind, kind.name(), kind.about()))))]
    #[arg(default_value = "network")]
    graph: GraphKind,
    /// Layers, separated by commas, or all [default for features: that of the configuration's linear probe; Inception's
    /// pool]
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',')]
    taps: Vec<String>,
    /// Give the layers of a features graph as maps [D,H,W] or tokens [N,D], for `ddae-probe attention`, and not their means
    #[arg(long)]
    unpooled: bool,
    /// Fix the timestep of a features or classifier graph, which then runs faster
    #[arg(long, value_name = "N", value_parser = whole::<i64>(..))]
    timestep: Option<i64>,
    /// Take labels: in a network graph the augmentation's and the class, in a features graph the class
    #[arg(long)]
    label: bool,
    /// Divide an encoder's output by its length
    #[arg(long)]
    normalise: bool,
    /// Weights of a file that has several sets: ema, the moving average; model, those in training; or what their names begin
    /// with, as 'inspect' lists it [default: ema]
    #[arg(short, long, value_name = "NAME")]
    weights: Option<WeightChoice>,
    /// Type of images in 0..1: f32 [B,C,H,W], or u8 [B,H,W,C]
    #[arg(long = "input", value_name = "INPUT", default_value = "f32")]
    #[arg(value_parser = named(&[(false, "f32", ""), (true, "u8", "")]), action = ArgAction::Set)]
    input_u8: bool,
    /// The file to write [default: a name made of run, graph and layers, in this folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    file: FileArguments,
    /// List the layers that --taps takes, and do nothing
    #[arg(long)]
    list_taps: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    // Last, as it has a heading of its own.
    #[command(flatten)]
    recognition: RecognitionArguments,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    if arguments.list_taps {
        return list_taps(arguments, &mut out);
    }
    let source = source(arguments)?;
    for file in &source.passed_over {
        note(format_args!("warning: passed over: {file}"));
    }
    let request = GraphRequest {
        kind: arguments.graph,
        taps: arguments.taps.clone(),
        timestep: arguments.timestep,
        input_u8: arguments.input_u8,
        label: arguments.label,
        unit_length: arguments.normalise,
        unpooled: arguments.unpooled,
    };
    let plan = ExportPlan::new(source, request, arguments.file.options())?;
    detail(|| {
        let description = &plan.description;
        let network = description.network.as_deref().unwrap_or_else(|| description.kind.name());
        let weights = description.weights_line().map_or(String::new(), |line| format!("; weights: {line}"));
        format!("opened {}: {}{weights}", plain(&description.checkpoint), plain(network))
    });
    let target = arguments.output.clone().unwrap_or_else(|| plan.file_name());
    if target.is_dir() {
        let message = format!("-o {}: this is a folder; give the name of a file", target.display());
        return Err(ExportError::Argument(message).into());
    }
    refuse_existing(&target, arguments.force)?;
    if arguments.dry_run {
        if arguments.json {
            let object = as_json(&plan.description, &[target], None);
            return Ok(json::print("ddae.export/1", &object)?);
        }
        print_graph(&mut out, plan.graph(), &plan.description)?;
        let width = match plan.description.precision {
            Precision::F32 => 4,
            Precision::F16 | Precision::Bf16 => 2,
            Precision::Int8 => 1,
        };
        let bytes = short(width * plan.description.parameters);
        if let Err(error) = plan.check_memory() {
            writeln!(out, "note: {error}")?;
        }
        writeln!(out, "would write {} (about {bytes}B)", plain(target.display()))?;
        return Ok(());
    }
    plan.check_memory().map_err(ExportError::from)?;
    let (staging, leftovers) = removed_on_signal(&target, arguments.force)?;
    let is_shown = !is_quiet() && (is_verbose() || std::io::stderr().is_terminal());
    // Held while files are put in their place: a signal waits for the end of that.
    let held = RefCell::new(None);
    let progress = |what: &str| {
        if what == PUBLISHING {
            *held.borrow_mut() = Some(leftovers.lock().unwrap_or_else(PoisonError::into_inner));
        }
        if is_shown {
            tell(format_args!("{what} …"));
        }
    };
    let needs = Needs::of(&plan);
    let exported = plan.export(staging, progress);
    // The lock may be another's from now on.
    match held.take() {
        Some(mut held) => held.take(),
        None => leftovers.lock().unwrap_or_else(PoisonError::into_inner).take(),
    };
    let exported = exported?;
    if arguments.json {
        let object = as_json(&exported.description, &exported.files, Some(exported.bytes));
        return Ok(json::print("ddae.export/1", &object)?);
    }
    print_graph(&mut out, &exported.graph, &exported.description)?;
    print_result(&mut out, &exported)?;
    if !is_quiet() {
        writeln!(out, "\nnext: {}", next_command(&exported, &target, &needs))?;
    }
    Ok(())
}

/// Refuses to replace what is there, unless `force` is set.
fn refuse_existing(target: &Path, force: bool) -> Result<(), ExportError> {
    match in_the_way(target).filter(|_| !force) {
        Some(path) => {
            let message = "it exists already; replace it with --force, or choose another name with -o";
            Err(ExportError::unusable(&path, message))
        }
        None => Ok(()),
    }
}

/// What is to be removed when the process ends before its work is done: a folder, and the lock.
type Leftovers = Arc<Mutex<Option<[PathBuf; 2]>>>;

/// The folder in which the file is made. Ctrl-C, SIGTERM and SIGHUP remove it and its lock, and end the process at once:
/// much of an export is a single call of ONNX Runtime, which nothing interrupts.
fn removed_on_signal(target: &Path, force: bool) -> Result<(Staging, Leftovers), ExportError> {
    let leftovers = Leftovers::default();
    let shared = Arc::clone(&leftovers);
    stop::at_signal(move |code| {
        if let Some([folder, lock]) = &*shared.lock().unwrap_or_else(PoisonError::into_inner) {
            // The process ends either way; what cannot be removed is removed by the next export to the same file.
            let _ = fs::remove_dir_all(folder);
            let _ = fs::remove_file(lock);
        }
        let line = "interrupted; no file was written, and the same command begins again";
        ending::interrupted(line, code);
    });
    // A signal that comes meanwhile waits until it is known what there is to remove.
    let mut made = leftovers.lock().unwrap_or_else(PoisonError::into_inner);
    let staging = Staging::beside(target)?;
    // What another process made meanwhile.
    refuse_existing(target, force)?;
    *made = Some(staging.leftovers());
    drop(made);
    Ok((staging, leftovers))
}

fn source(arguments: &Arguments) -> Result<WeightSource, ExportError> {
    let wanted = || ExportError::argument("give the checkpoint, run folder or file of weights to export");
    let checkpoint = arguments.checkpoint.as_ref().ok_or_else(wanted)?;
    WeightSource::open(checkpoint, &weight_options(arguments))
}

fn weight_options(arguments: &Arguments) -> WeightOptions {
    WeightOptions {
        config: arguments.config.clone(),
        overrides: arguments.set.clone(),
        weights: arguments.weights.clone(),
        kind: arguments.graph,
        ..arguments.recognition.options()
    }
}

fn list_taps(arguments: &Arguments, out: &mut impl Write) -> anyhow::Result<()> {
    let architecture = match (&arguments.checkpoint, &arguments.config) {
        (None, Some(path)) => configured(path, &weight_options(arguments))?,
        _ => source(arguments)?.model.architecture,
    };
    detail(|| format!("listing the layers of {}", architecture.name()));
    let taps = feature_layers(&architecture).map_err(ExportError::from)?;
    if arguments.json {
        let list: Vec<_> = taps.iter().map(|(name, shape)| json!({ "name": name, "shape": shape })).collect();
        return Ok(json::print("ddae.taps/1", &json!({ "taps": list }))?);
    }
    for (name, shape) in taps {
        let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
        writeln!(out, "{name:8} {}", sizes.join("x"))?;
    }
    Ok(())
}

/// The network of a configuration without weights.
fn configured(path: &Path, options: &WeightOptions) -> Result<Architecture, ExportError> {
    let of_weights = [
        ("--weights", options.weights.is_some()),
        ("--heads", options.heads.is_some()),
        ("--head-channels", options.head_channels.is_some()),
        ("--classes", options.classes.is_some()),
        ("--process", options.process.is_some()),
        ("--statistics", options.normalisation.is_some()),
    ];
    refuse_given(&of_weights, |option| format!("{option} is for weights; here is a configuration alone"))?;
    let config = options.resized(AnyConfig::read(path, &options.overrides)?)?;
    Ok(config.model_for(options.kind).architecture)
}

fn print_graph(out: &mut impl Write, graph: &Graph, description: &GraphDescription) -> std::io::Result<()> {
    let GraphDescription { kind, parameters, flops, .. } = description;
    if let Some(network) = &description.network {
        writeln!(out, "{network}")?;
    }
    if let Some(line) = description.weights_line() {
        writeln!(out, "weights: {line}")?;
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
    if let Some(target) = exported.description.target {
        let (target, precision) = (target.name(), exported.description.precision.name());
        writeln!(out, "for --device {target} alone, in {precision}; checked by its twin on the CPU")?;
    }
    if let [first, others @ ..] = &exported.portable[..] {
        let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
        writeln!(
            out,
            "note: the target has no way of its own for {first}{more}: images are transposed there"
        )?;
    }
    if let Some(calibration) = &exported.description.calibration {
        writeln!(out, "{}", calibration_line(calibration))?;
    }
    if let Some(errors) = &exported.description.errors {
        for line in error_lines(errors, exported.description.precision) {
            writeln!(out, "{line}")?;
        }
    }
    let names: Vec<String> = exported.files.iter().map(|file| plain(file.display())).collect();
    writeln!(out, "wrote {} ({}B)", names.join(" and "), short(exported.bytes))
}

/// What the file says of itself but for its configuration, and the files.
fn as_json(description: &GraphDescription, files: &[PathBuf], bytes: Option<u64>) -> serde_json::Value {
    let mut report = json!(description);
    if let Some(report) = report.as_object_mut() {
        report.remove("config");
        report.extend([("files".to_string(), json!(files)), ("bytes".to_string(), json!(bytes))]);
    }
    report
}

/// What `ddae-infer features` must be told of a graph, since the graph does not say it.
#[derive(Default)]
struct Needs {
    /// The images: it is not known what the network was trained on.
    data: bool,
    /// A timestep.
    timestep: Option<i64>,
    /// A graph that makes latents of images.
    latents: bool,
}

/// The timesteps at which the published DDPMs and EDMs have their best features, roughly (DDAE, table 1).
const USUAL_OF_DDPM: i64 = 11;
const USUAL_OF_EDM: i64 = 4;

impl Needs {
    fn of(plan: &ExportPlan) -> Needs {
        let (config, model) = plan.configuration();
        let is_features = plan.description.kind == GraphKind::Features;
        let linear = config.training().and_then(|config| config.linear.as_ref());
        let network = model.architecture.network();
        let timestep = match (&model.process, network.role()) {
            (Some(process), Role::Denoiser(_)) if is_features => {
                let range = feature_timesteps(process);
                let usual = match process {
                    ProcessConfig::Ddpm(_) => USUAL_OF_DDPM,
                    ProcessConfig::Edm(_) => USUAL_OF_EDM,
                };
                Some(usual.clamp(*range.start(), *range.end()))
            }
            _ => None,
        };
        Needs {
            data: matches!(config, AnyConfig::Model(_)),
            timestep: timestep.filter(|_| linear.is_none() && plan.description.timestep.is_none()),
            latents: is_features && network.pixels() == Pixels::Latent,
        }
    }
}

/// The command that uses the file, ready to be pasted into a shell; what only the user knows is in capitals.
fn next_command(exported: &Exported, file: &Path, needs: &Needs) -> String {
    let (stem, file) = (shell::word(file.with_extension("")), shell::word(file));
    let device =
        exported.description.target.map_or(String::new(), |target| format!(" --device {}", target.name()));
    let is_guided = exported.graph.inputs().any(|(_, node)| node.name == "guidance");
    // Features that are told the class are not for probes.
    let is_told = exported.graph.inputs().any(|(_, node)| node.name == "label");
    match exported.description.kind {
        GraphKind::Network | GraphKind::Classifier | GraphKind::Loss => {
            format!("ddae-export inspect {file}")
        }
        GraphKind::Features if is_told => format!("ddae-export inspect {file}"),
        GraphKind::Features | GraphKind::Encoder | GraphKind::Latent => {
            let latents = if needs.latents { " --latents LATENTS.onnx" } else { "" };
            let timestep =
                needs.timestep.map_or(String::new(), |timestep| format!(" --timesteps {timestep}"));
            let data = if needs.data { " --data DATASET" } else { "" };
            format!("ddae-infer features {file}{latents}{timestep}{data} -o {stem}{device}")
        }
        GraphKind::Sampler if is_guided => {
            format!(
                "ddae-infer reconstruct IMAGE --encoder ENCODER.onnx --sampler {file} -o {stem}.png{device}"
            )
        }
        GraphKind::Sampler => format!("ddae-infer sample {file} -o {stem}{device}"),
    }
}
