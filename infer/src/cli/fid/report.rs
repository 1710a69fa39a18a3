//! What is said at the end.

use std::io::Write;

use ddae_base::shell;
use ddae_infer::fid::images::{INCEPTION_FEATURES, INCEPTION_SIZE};
use ddae_infer::fid::{Distance, ImageSource, KernelOptions, Layer, Network, Seen};
use serde_json::{Map, Value, json};

use super::graph::Opened;
use super::metrics::{Measured, name_of_fid};
use super::{Arguments, Side};
use crate::cli::summary::Summary;

/// The numbers, and what they are of.
pub struct Report<'a> {
    pub arguments: &'a Arguments,
    pub sides: &'a [Side<'a>; 2],
    pub measured: Measured,
    pub layer: Layer,
    /// The real images, and the others.
    pub seen: [&'a Seen; 2],
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
        for (side, seen) in self.sides.iter().zip(self.seen) {
            let count = match seen.statistics.count {
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
        let reading = self.arguments.reading.reading().to_string();
        if !reading.is_empty() {
            next += &format!(" {reading}");
        }
        if self.arguments.running.edited {
            next += " --edited";
        }
        Some(next)
    }

    /// Whether both sets are of the features that inception distances are of. pytorch-fid's files do not say it, and have as
    /// many.
    fn is_of_inception(&self) -> bool {
        self.sides.iter().zip(self.seen).all(|(side, seen)| match &seen.statistics.network {
            Some(network) => Network::parse(network).is_inception(),
            None => {
                matches!(side.source, ImageSource::Statistics(_))
                    && seen.statistics.dim() == INCEPTION_FEATURES
            }
        })
    }

    /// What the Fréchet distance may be called.
    fn name(&self) -> String {
        match self.is_of_inception() {
            true => name_of_fid(self.seen[1].statistics.count),
            false => "FD".to_string(),
        }
    }

    /// Of how many tokens of an image the features are the first.
    fn tokens(&self) -> Option<usize> {
        self.seen.iter().find_map(|seen| seen.tokens)
    }

    /// What the features are, and how images came to the network.
    fn features(&self) -> String {
        let dim = self.seen[0].statistics.dim();
        let network = self.network();
        let tokens = self.tokens().map_or(String::new(), |count| format!(", the first of {count} tokens"));
        let of = match (self.opened, self.layer_name()) {
            (Some(opened), Some(output)) if !opened.graph.network.is_inception() => {
                format!("the output {output} of {}{tokens}", opened.graph.path.display())
            }
            _ if self.is_of_inception() => "Inception's last layer".to_string(),
            (_, Some(layer)) => format!("the layer {layer}"),
            (_, None) => "a network that neither file names".to_string(),
        };
        let way = network.map_or(String::new(), |network| self.way(&network));
        format!("{dim}, of {of}{way}")
    }

    /// How images came to the network.
    fn way(&self, network: &Network) -> String {
        let size = self.opened.map(|Opened { graph, .. }| format!("{}x{}", graph.shape[1], graph.shape[2]));
        let to = size.as_ref().map_or(String::new(), |size| format!(" to {size}"));
        let resizes = self.opened.is_none_or(|opened| opened.graph.resizes());
        match (network.convention(), network.rule(), size) {
            (Some(_), _, Some(size)) if self.opened.is_some_and(|opened| opened.graph.wants_own_size()) => {
                format!("; images of {size}")
            }
            (Some(like), _, Some(size)) if !resizes => {
                format!("; images of {size}, resized within like {like}")
            }
            (Some(like), ..) => format!("; images resized{to} like {like}"),
            (None, Some(rule), _) => format!("; images resized{to} by --resize {rule}"),
            (None, None, _) => String::new(),
        }
    }

    /// What the features are of, where a set says it.
    fn network(&self) -> Option<Network> {
        self.seen.iter().find_map(|seen| seen.statistics.network.as_deref()).map(Network::parse)
    }

    fn is_published(&self) -> bool {
        self.is_of_inception() && self.network().is_some_and(|network| network.is_published())
    }

    fn weights(&self) -> String {
        let Some(network) = self.network() else { return "neither file says of which network".to_string() };
        let checkpoint =
            self.opened.and_then(|opened| opened.model.as_ref()).map(|model| &model.description.checkpoint);
        let named = checkpoint.map_or(String::new(), |name| format!(", {}", ddae_base::plain(name)));
        let published = if self.is_published() { ", as published" } else { "" };
        let is_told = |seen: &Seen| seen.statistics.network.is_some();
        let of = match self.seen.map(is_told) {
            [true, false] => format!(" (of {})", self.sides[0].text),
            [false, true] => format!(" (of {})", self.sides[1].text),
            _ => String::new(),
        };
        format!("SHA-256 {}{named}{published}{of}", network.checkpoint)
    }

    pub fn json(&self) -> Map<String, Value> {
        let mut object = self.summary.as_ref().map(Summary::json).unwrap_or_default();
        let side = |side: &Side, Seen { statistics, .. }: &Seen| {
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
            ("features", json!(self.seen[0].statistics.dim())),
            ("layer", json!(self.layer_name())),
            ("tokens", json!(self.tokens())),
            ("like", json!(network.as_ref().and_then(Network::convention).map(|like| like.to_string()))),
            ("resize", json!(network.as_ref().and_then(Network::rule))),
            ("real", side(&self.sides[0], self.seen[0])),
            ("fake", side(&self.sides[1], self.seen[1])),
            ("precision", json!(model.map(|model| model.description.precision))),
            (
                "weights",
                json!({
                    "digest": network.as_ref().map(|network| &network.checkpoint),
                    "checkpoint": model.map(|model| &model.description.checkpoint),
                    "published": network.as_ref().map(|_| self.is_published()),
                }),
            ),
            ("warnings", json!(self.warnings())),
        ] {
            put(name, value);
        }
        object
    }

    /// The layer's name, where it is known: of an encoder that of its output.
    fn layer_name(&self) -> Option<String> {
        if let Some(opened) = self.opened.filter(|opened| !opened.graph.network.is_inception()) {
            return Some(opened.graph.layer().to_string());
        }
        let has_layers = |side: &Side| matches!(side.source, ImageSource::Features(_));
        match self.network().and_then(|network| network.layer) {
            Some(layer) => Some(layer),
            None if self.is_of_inception() => Some(Layer::default().to_string()),
            None => self.sides.iter().any(has_layers).then(|| self.layer.to_string()),
        }
    }

    /// What the reader should know before trusting the numbers.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let is_of_inception = self.is_of_inception();
        let network = self.network();
        let precision = network.as_ref().and_then(|network| network.precision.as_deref());
        if let Some(precision) = precision.filter(|_| is_of_inception || self.opened.is_some()) {
            let seer = if is_of_inception { "Inception" } else { "the encoder" };
            warnings.push(format!(
                "{seer} was computed in {precision}: as published, it is in f32 (ddae-export without --dtype or --quantize)"
            ));
        }
        warnings.extend_from_slice(self.notes);
        let sets = if self.measured.distance.is_some() { &self.sides[..] } else { &[] };
        for (side, Seen { statistics, .. }) in sets.iter().zip(self.seen) {
            let dim = statistics.dim();
            if let Some(count) = statistics.count.filter(|count| *count <= dim as u64) {
                warnings.push(format!(
                    "{} has {count} images, not more than the {dim} features: the distance is far too large, and only \
                     good to compare sets of the same size",
                    side.text
                ));
            }
        }
        for (side, seen) in self.sides.iter().zip(self.seen) {
            if seen.statistics.network.is_none() {
                warnings.push(format!(
                    "{} does not say which network or resizing made it: that it belongs to the other set is not checked",
                    side.text
                ));
            }
        }
        if let Some(network) = network.filter(|_| is_of_inception) {
            warnings.extend(unpublished(&network));
        }
        warnings
    }
}

/// Why numbers of Inception are not to be compared with published ones.
fn unpublished(network: &Network) -> Vec<String> {
    let mut warnings = Vec::new();
    if !network.has_published_checkpoint() {
        let digest: String = network.checkpoint.chars().take(12).collect();
        warnings.push(format!(
            "the weights ({digest}) are not the file that pytorch-fid and torch-fidelity publish, whose SHA-256 begins with \
             6726825d: numbers of other weights are not to be compared with published ones"
        ));
    }
    if network.edited.is_some() {
        let edited = "the graph of Inception was changed after it was exported: its numbers are not to be compared with \
                      published ones";
        warnings.push(edited.to_string());
    }
    if let Some(rule) = network.rule() {
        let [height, width] = INCEPTION_SIZE;
        warnings.push(format!(
            "images of another size than {height}x{width} were brought to it by --resize {rule}, which is no tool's way: such \
             numbers are not to be compared with published ones"
        ));
    }
    warnings
}
