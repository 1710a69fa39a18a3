//! What the features of a set are of: the network, and the way that images come to it.

use std::fmt;

use clap::ValueEnum;
use ddae_onnx::metadata::Precision;

use super::convention::Convention;
use super::error::FidError;

/// What tells features from those of other networks, or of images that came to the network in another way. As text, with
/// slashes between the parts that are there, it is kept with statistics; those with the same text can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// SHA-256 of the checkpoint, or of the graph of another program.
    pub checkpoint: String,
    /// The precision of the ONNX file, `f16` and the like, unless that is float32, as of files that do not say it.
    pub precision: Option<String>,
    /// SHA-256 of the graph, where the file was edited.
    pub edited: Option<String>,
    /// The layer, unless it is the one of Inception that distances are published of; of another program's encoder the output,
    /// and size and values of its images.
    pub layer: Option<String>,
    /// How images came to it.
    pub way: Way,
}

/// How images come to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// As they are. Inception resizes them within, as pytorch-fid does.
    AsTheyAre,
    /// Brought to its size before, by the convention of a tool.
    Like(Convention),
    /// Brought to Inception's own size by a rule of `--resize`, in place of a tool's way.
    Rule(String),
}

/// The beginning of the SHA-256 of the published weights, by which pytorch-fid's and torch-fidelity's file is named.
const PUBLISHED: &str = "6726825d";

/// What stands before the name of a rule.
const RULE: &str = "resize-";

/// Digits of a SHA-256.
const DIGITS: usize = 64;

impl Way {
    /// The way of Inception's images that a tool has.
    pub fn of_inception(convention: Convention) -> Way {
        match convention {
            // Whether within the network or before it.
            Convention::PytorchFid => Way::AsTheyAre,
            Convention::TorchFidelity | Convention::CleanFid => Way::Like(convention),
        }
    }

    fn parse(text: &str) -> Option<Way> {
        let tool = Convention::value_variants().iter().find(|tool| tool.to_string() == text);
        let rule = || text.strip_prefix(RULE).map(|rule| Way::Rule(rule.to_string()));
        tool.map(|&tool| Way::Like(tool)).or_else(rule)
    }
}

impl Network {
    /// What a text says that [`Network`] gave.
    pub fn parse(text: &str) -> Network {
        let mut parts: Vec<&str> = text.split('/').collect();
        let way = parts[1..].last().and_then(|last| Way::parse(last));
        if way.is_some() {
            parts.pop();
        }
        let mut parts = parts.into_iter().peekable();
        let mut next_if =
            |is_wanted: &dyn Fn(&str) -> bool| parts.next_if(|part| is_wanted(part)).map(str::to_string);
        let checkpoint = next_if(&|_| true).unwrap_or_default();
        let precisions = [Precision::F16, Precision::Bf16, Precision::Int8].map(Precision::name);
        let precision = next_if(&|part| precisions.contains(&part));
        let is_digest =
            |part: &str| part.len() == DIGITS && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let edited = next_if(&is_digest);
        let layer: Vec<&str> = parts.collect();
        let layer = (!layer.is_empty()).then(|| layer.join("/"));
        Network { checkpoint, precision, edited, layer, way: way.unwrap_or(Way::AsTheyAre) }
    }

    /// Whether features are those that inception distances are of.
    pub fn is_inception(&self) -> bool {
        self.layer.is_none()
    }

    /// Whether the weights are from the file that pytorch-fid and torch-fidelity publish.
    pub fn has_published_checkpoint(&self) -> bool {
        self.checkpoint.starts_with(PUBLISHED)
    }

    /// Whether features are of those weights, to the bit.
    pub fn is_published(&self) -> bool {
        let is_whole = self.precision.is_none() && self.edited.is_none();
        self.is_inception() && is_whole && self.has_published_checkpoint()
    }

    /// The tool by whose convention images were resized; none where they were not, or otherwise.
    pub fn convention(&self) -> Option<Convention> {
        match self.way {
            Way::AsTheyAre => self.is_inception().then_some(Convention::PytorchFid),
            Way::Like(convention) => Some(convention),
            Way::Rule(_) => None,
        }
    }

    /// The rule of `--resize` that images were brought to Inception's size by.
    pub fn rule(&self) -> Option<&str> {
        match &self.way {
            Way::Rule(rule) => Some(rule),
            Way::AsTheyAre | Way::Like(_) => None,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.checkpoint)?;
        for part in [&self.precision, &self.edited, &self.layer].into_iter().flatten() {
            write!(f, "/{part}")?;
        }
        match &self.way {
            Way::AsTheyAre => Ok(()),
            Way::Like(convention) => write!(f, "/{convention}"),
            Way::Rule(rule) => write!(f, "/{RULE}{rule}"),
        }
    }
}

/// Whether features of the real images and of the fake ones can be compared; none where it is not known what they are of.
///
/// # Errors
/// When both are known and differ, or one is not while the other's images were not resized as pytorch-fid does, whose files
/// do not say it.
pub fn check_networks(real: Option<&str>, fake: Option<&str>) -> Result<(), FidError> {
    let (known, untold) = match (real, fake) {
        (Some(real), Some(fake)) if real != fake => {
            return Err(FidError::OtherNetwork { real: short(real), fake: short(fake) });
        }
        (Some(known), None) => (known, "fake"),
        (None, Some(known)) => (known, "real"),
        _ => return Ok(()),
    };
    let network = Network::parse(known);
    let way = match &network.way {
        Way::Like(tool) if *tool != Convention::PytorchFid && network.is_inception() => {
            format!("like {tool}")
        }
        Way::Rule(rule) => format!("by --resize {rule}"),
        Way::AsTheyAre | Way::Like(_) => return Ok(()),
    };
    Err(FidError::Untold { untold, way })
}

/// The first digits of a network's checkpoint, and what else tells it.
fn short(network: &str) -> String {
    let (checkpoint, rest) = network.split_at(network.find('/').unwrap_or(network.len()));
    format!("{}{rest}", checkpoint.chars().take(12).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let digest = "ab".repeat(DIGITS / 2);
        for (text, is_inception, convention) in [
            (digest.clone(), true, Some(Convention::PytorchFid)),
            (format!("{digest}/f16"), true, Some(Convention::PytorchFid)),
            (format!("{digest}/int8/{digest}/torch-fidelity"), true, Some(Convention::TorchFidelity)),
            (format!("{digest}/clean-fid"), true, Some(Convention::CleanFid)),
            (format!("{digest}/resize-stretch"), true, None),
            (format!("{digest}/t11/out_6"), false, None),
            (format!("{digest}/{digest}/t0/pool"), false, None),
            (format!("{digest}/token/224x224/imagenet/pytorch-fid"), false, Some(Convention::PytorchFid)),
        ] {
            let network = Network::parse(&text);
            assert_eq!(network.to_string(), text);
            assert_eq!((network.is_inception(), network.convention()), (is_inception, convention), "{text}");
        }
        let network = Network::parse(&format!("{digest}/int8/{digest}/torch-fidelity"));
        assert_eq!((network.precision.as_deref(), network.edited.as_deref()), (Some("int8"), Some(&*digest)));
        assert_eq!(Network::parse("").checkpoint, "");
    }

    #[test]
    fn published_weights_are_whole() {
        let digest = "ab".repeat(DIGITS / 2);
        for (text, wanted) in [
            ("6726825d00", true),
            ("6726825d00/clean-fid", true),
            ("6726825d00/f16", false),
            (&format!("6726825d00/{digest}"), false),
            ("6726825d00/t0/maxpool1", false),
            ("6726825e00", false),
        ] {
            assert_eq!(Network::parse(text).is_published(), wanted, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_compared() {
        let refused = |real: Option<&str>, fake: Option<&str>| {
            check_networks(real, fake).expect_err("others").to_string()
        };
        let error = refused(Some("0123456789abcdef"), Some("ff"));
        assert!(error.contains("by the network 0123456789ab and the fake ones by ff"), "{error}");
        let error = refused(None, Some("ff/clean-fid"));
        assert!(
            error.starts_with("the real statistics do not say") && error.contains("like clean-fid"),
            "{error}"
        );
        let error = refused(Some("ff/resize-adm"), None);
        assert!(
            error.starts_with("the fake statistics do not say") && error.contains("--resize adm"),
            "{error}"
        );
        for known in [None, Some("ff"), Some("ff/f16"), Some("ff/z/8x8/unit/clean-fid")] {
            check_networks(None, known).expect("pytorch-fid's, as its files are");
        }
    }
}
