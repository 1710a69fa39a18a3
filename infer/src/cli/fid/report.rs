//! What is said at the end.

use std::io::Write;

use ddae_base::shell;
use ddae_infer::fid::{Distance, KernelOptions, Layer, Statistics};
use ddae_onnx::metadata::Precision;
use serde_json::{Map, Value, json};

use super::graph::Opened;
use super::metrics::{Measured, is_published, name_of_fid};
use super::{Arguments, Side};
use crate::cli::summary::Summary;

/// The numbers, and what they are of.
pub struct Report<'a> {
    pub arguments: &'a Arguments,
    pub sides: &'a [Side<'a>; 2],
    pub measured: Measured,
    pub layer: Layer,
    pub real: &'a Statistics,
    pub fake: &'a Statistics,
    pub summary: Option<Summary>,
    pub opened: Option<&'a Opened>,
    /// What is to be said of the sources.
    pub notes: &'a [String],
}

impl Report<'_> {
    pub fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Measured { distance, kernel, manifold, score } = &self.measured;
        if let Some(distance) = distance {
            let Distance { of_means, of_covariances } = distance;
            writeln!(out, "{:<9} {:.4}", self.name(), distance.total())?;
            writeln!(out, "parts     {of_means:.4} of the means, {of_covariances:.4} of the covariances")?;
        }
        if let Some((kernel, KernelOptions { subsets, subset_size, .. })) = kernel {
            let name = if self.is_of_inception() { "KID" } else { "KD" };
            let (mean, deviation) = (kernel.mean, kernel.deviation);
            writeln!(out, "{name:<9} {mean:.6} ± {deviation:.6} ({subsets} subsets of {subset_size})")?;
        }
        if let Some((found, neighbours)) = manifold {
            writeln!(out, "precision {:.4}", found.precision)?;
            writeln!(out, "recall    {:.4} (nearest neighbours: {neighbours})", found.recall)?;
        }
        if let Some((score, splits)) = score {
            writeln!(out, "IS        {:.4} ± {:.4} ({splits} splits)", score.mean, score.deviation)?;
        }
        for (side, statistics) in self.sides.iter().zip([self.real, self.fake]) {
            let count = match statistics.count {
                Some(count) => format!("{count} images"),
                None => "it does not say of how many images".to_string(),
            };
            writeln!(out, "{}      {} ({count})", side.role, side.text)?;
        }
        writeln!(out, "features  {}", self.features())?;
        writeln!(out, "weights   {}", self.weights())?;
        if let Some(summary) = &self.summary {
            writeln!(out, "computed  {}", summary.line())?;
        }
        for warning in self.warnings() {
            writeln!(out, "warning: {warning}")?;
        }
        if let Some(next) = self.next().filter(|_| !ddae_base::is_quiet()) {
            writeln!(out, "next: {next}")?;
        }
        Ok(())
    }

    /// The command that takes the real images' statistics from where they were kept.
    fn next(&self) -> Option<String> {
        let Arguments { save_real, inception, encoder, .. } = self.arguments;
        let (option, graph) = match (inception, encoder) {
            (Some(path), _) => ("--inception", path),
            (None, path) => ("--encoder", path.as_ref()?),
        };
        let mut next = format!(
            "ddae-infer fid {} IMAGES {option} {}",
            shell::word(save_real.as_ref()?),
            shell::word(graph)
        );
        if let Some(layer) = &self.arguments.layer {
            next += &format!(" --layer {}", shell::word(layer));
        }
        if let Some([height, width]) = self.arguments.encoder_size {
            next += &format!(" --encoder-size {height}x{width}");
        }
        if let Some(values) = self.arguments.encoder_values {
            next += &format!(" --encoder-values {}", values.name());
        }
        if let Some(like) = self.arguments.like {
            next += &format!(" --like {like}");
        }
        Some(next)
    }

    /// Whether the features are those that inception distances are of.
    fn is_of_inception(&self) -> bool {
        self.layer.is_of_inception() && self.opened.is_none_or(|opened| opened.is_inception)
    }

    /// What the Fréchet distance may be called.
    fn name(&self) -> String {
        match self.is_of_inception() {
            true => name_of_fid(self.fake.count),
            false => "FD".to_string(),
        }
    }

    /// What the features are, and how images came to the network.
    fn features(&self) -> String {
        let dim = self.real.dim();
        let of = match self.opened {
            Some(opened) if !opened.is_inception => {
                format!("the output {} of {}", opened.graph.layer(), opened.graph.path.display())
            }
            _ if self.layer.is_of_inception() => "Inception's last layer".to_string(),
            _ => format!("the layer {}", self.layer),
        };
        let [height, width] =
            self.opened.map_or([0; 2], |opened| [opened.graph.shape[1], opened.graph.shape[2]]);
        let images = match self.opened.map(|opened| (opened.like, opened.graph.resizes())) {
            Some((Some(like), true)) => format!("; images resized to {height}x{width} like {like}"),
            Some((Some(like), false)) => format!("; images of {height}x{width}, resized within like {like}"),
            _ => String::new(),
        };
        format!("{dim}, of {of}{images}")
    }

    /// What tells the network, where it is known.
    fn network(&self) -> Option<&str> {
        self.real.network.as_deref().or(self.fake.network.as_deref())
    }

    fn weights(&self) -> String {
        let Some(network) = self.network() else { return "neither file says of which network".to_string() };
        let digest = network.split('/').next().unwrap_or(network);
        let checkpoint =
            self.opened.and_then(|opened| opened.model.as_ref()).map(|model| &model.description.checkpoint);
        let named = checkpoint.map_or(String::new(), |name| format!(", {}", ddae_base::plain(name)));
        let published = if self.is_of_inception() && is_published(network) { ", as published" } else { "" };
        format!("SHA-256 {digest}{named}{published}")
    }

    pub fn json(&self) -> Map<String, Value> {
        let mut object = self.summary.as_ref().map(Summary::json).unwrap_or_default();
        let side = |side: &Side, statistics: &Statistics| {
            json!({
                "source": side.text,
                "pictures": statistics.count,
                "network": statistics.network,
                "saved": side.save,
            })
        };
        let Measured { distance, kernel, manifold, score } = &self.measured;
        let mut put = |name: &str, value: Value| object.insert(name.to_string(), value);
        if let Some(distance) = distance {
            let name = if self.is_of_inception() { "fid" } else { "fd" };
            put(name, json!(distance.total()));
            put("of_means", json!(distance.of_means));
            put("of_covariances", json!(distance.of_covariances));
            put("name", json!(self.name()));
        }
        if let Some((found, KernelOptions { subsets, subset_size, seed })) = kernel {
            let (mean, deviation) = (found.mean, found.deviation);
            let value = json!({
                "mean": mean, "deviation": deviation, "subsets": subsets, "subset_size": subset_size, "seed": seed,
            });
            put(if self.is_of_inception() { "kid" } else { "kd" }, value);
        }
        if let Some((found, neighbours)) = manifold {
            let value = json!({
                "precision": found.precision,
                "recall": found.recall,
                "f_score": found.f_score(),
                "neighbours": neighbours,
            });
            put("prc", value);
        }
        if let Some((found, splits)) = score {
            let seed = self.arguments.measures.seed();
            let value = json!({
                "mean": found.mean, "deviation": found.deviation, "splits": splits, "seed": seed,
            });
            put("inception_score", value);
        }
        let model = self.opened.and_then(|opened| opened.model.as_ref());
        let network = self.network();
        for (name, value) in [
            ("features", json!(self.real.dim())),
            (
                "layer",
                json!(
                    self.opened
                        .filter(|opened| !opened.is_inception)
                        .map_or(self.layer.to_string(), |opened| opened.graph.layer().to_string())
                ),
            ),
            ("like", json!(self.opened.and_then(|opened| opened.like).map(|like| like.to_string()))),
            ("real", side(&self.sides[0], self.real)),
            ("fake", side(&self.sides[1], self.fake)),
            ("precision", json!(model.map(|model| model.description.precision))),
            (
                "weights",
                json!({
                    "digest": network.and_then(|network| network.split('/').next()),
                    "checkpoint": model.map(|model| &model.description.checkpoint),
                    "published": network.map(|network| self.is_of_inception() && is_published(network)),
                }),
            ),
            ("warnings", json!(self.warnings())),
        ] {
            put(name, value);
        }
        object
    }

    /// What the reader should know before trusting the numbers.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let model = self.opened.and_then(|opened| opened.model.as_ref());
        if let Some(precision) = model.map(|model| model.description.precision)
            && precision != Precision::F32
        {
            let seer = if self.is_of_inception() { "Inception" } else { "the encoder" };
            warnings.push(format!(
                "{seer} was computed in {}: as published, it is in f32 (ddae-export without --dtype or --quantize)",
                precision.name()
            ));
        }
        warnings.extend_from_slice(self.notes);
        let sets = if self.measured.distance.is_some() { &self.sides[..] } else { &[] };
        for (side, statistics) in sets.iter().zip([self.real, self.fake]) {
            let dim = statistics.dim();
            if let Some(count) = statistics.count.filter(|count| *count <= dim as u64) {
                warnings.push(format!(
                    "{} has {count} images, not more than the {dim} features: the distance is far too large, and only \
                     good to compare sets of the same size",
                    side.text
                ));
            }
        }
        if let Some(network) =
            self.network().filter(|network| self.is_of_inception() && !is_published(network))
        {
            let digest: String = network.chars().take(12).collect();
            warnings.push(format!(
                "the weights ({digest}) are not the file that pytorch-fid and torch-fidelity publish, whose SHA-256 begins \
                 with 6726825d: numbers of other weights are not to be compared with published ones"
            ));
        }
        warnings
    }
}
