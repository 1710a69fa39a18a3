//! What a feature file says of its making, and which files may be used together.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

/// The draws of versions that did not say what they were a function of, and of those that said this: images of two splits
/// had the same noise where they had the same number.
const FIRST_STREAM: &str = "chacha8 of seed, image, view and timestep";

/// What two feature files are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// Parts of one job: they agree in everything.
    Job,
    /// What is learned from, and what is measured on.
    TrainTest,
    /// The same images at noise of other seeds.
    Noisings,
    /// The same job with another seed.
    Seeds,
}

/// In what files of two jobs may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// In nothing: it changes the features or what their rows and classes mean.
    Agree,
    /// In anything.
    Free,
    /// In what is learned from and what is measured on, which are other images; not in two noisings of the same.
    Images,
    /// Files in which something is drawn agree; where nothing is (null), it does not matter.
    Draws,
    /// What is learned from may be augmented while what is measured on is not, as published. Two noisings agree.
    Augmentation,
}

/// Declares [`Provenance`]: each attribute with its type, its rule and, where there are files of versions that did not
/// write it yet, what those did.
macro_rules! provenance {
    ($($(#[$doc:meta])* $name:ident: $type:ty, $rule:ident $(, before: $before:tt)?;)*) => {
        /// Where features come from: attributes of the file's root, under these names.
        ///
        /// An attribute is `None` where the file does not have it, because another version wrote it. Files are compared
        /// in what both say ([`Provenance::difference`]), and what only one says can be pointed out
        /// ([`Provenance::unsaid`]). Parts of one job agree in every attribute; the documentation of each says in what
        /// files of two jobs may differ.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        pub struct Provenance {
            $(
                $(#[$doc])*
                #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "said")]
                pub $name: Option<$type>,
            )*
            /// What another version says beside. It is not known what depends on it, so files must agree.
            #[serde(flatten)]
            pub other: Map<String, Value>,
        }

        fn rule(name: &str) -> Rule {
            match name {
                $(stringify!($name) => Rule::$rule,)*
                _ => Rule::Agree,
            }
        }

        /// What a file says by not having an attribute.
        fn before(name: &str) -> Option<Value> {
            match name {
                $($(stringify!($name) => Some(json!($before)),)?)*
                _ => None,
            }
        }
    };
}

provenance! {
    /// SHA-256 of the checkpoint, hexadecimal. Must agree.
    model: String, Agree;
    /// SHA-256 of the checkpoint of the graph that made latents of the images; null where the graph takes images. Must
    /// agree.
    latents: Option<String>, Agree, before: null;
    /// `ema` or `model`; null for a plain file of weights. Must agree.
    weights: Option<String>, Agree;
    /// Finished epochs of the checkpoint, where it has them. Must agree.
    epoch: Option<u64>, Agree;
    /// Finished steps of the checkpoint, where it has them. Must agree.
    step: Option<u64>, Agree;
    /// The checkpoint's file name. May differ: `model` says whether the content does.
    checkpoint: String, Free;
    /// Data set and split, such as `cifar10/train`. Differs between training and test images (readers point out other data
    /// sets); two noisings agree.
    data_set: String, Images;
    /// `train` or `test`. As `data_set`.
    split: String, Images;
    /// What tells the images from those of other jobs: the kind of digest, a colon and a SHA-256 of all of them, their
    /// labels, numbers and class names. As `data_set`.
    images_digest: String, Images;
    /// Seed of noise and augmentation. May differ: it changes draws, not what they are drawn from, and two noisings must
    /// not share it. Training and test images with `fixed` noise agree, or they are seen with other noise.
    seed: u64, Free;
    /// Where the noise comes from: `keyed` (drawn for each image, view and timestep), `fixed` (one draw for each timestep) or
    /// `none` (zeros); null where the graph takes none. Files with noise must agree.
    noise: Option<String>, Draws, before: "keyed";
    /// What the draws are a function of; null where nothing is drawn. Files with draws must agree.
    noise_stream: Option<String>, Draws, before: (FIRST_STREAM);
    /// Views of each image. May differ: a test image has one where a training image has several, and probes say what
    /// becomes of them.
    views: usize, Free;
    /// Zeros around the image before it was cropped at random; 0 for no crop. Of test images it may be 0 where that of
    /// training images is not; two noisings agree.
    crop_padding: usize, Augmentation;
    /// Whether images were mirrored at random. As `crop_padding`.
    flip: bool, Augmentation;
    /// Whether images were cropped, scaled and mirrored as SODA's probes train on. As `crop_padding`.
    resized_crop: bool, Augmentation, before: false;
    /// Whether images were cropped and mirrored at their own size, before they were resized. As `crop_padding`.
    before_resize: bool, Augmentation, before: false;
    /// How the images' files became levels, as options of `ddae-infer` are typed (`--resize adm --orient`); null where
    /// nothing was chosen. Must agree.
    reading: Option<String>, Agree, before: null;
    /// The graph's kind: `features` (noised images) or `encoder` (images as they are). Must agree.
    graph: String, Agree, before: "features";
    /// The image's shape at the graph's input, or that of the graph that makes latents: `[C, H, W]`. Must agree.
    image_shape: [usize; 3], Agree;
    /// What the graph takes: `[0,1]`, `0..255` or `latent`. Must agree.
    pixels: String, Agree;
    /// Whether codes were divided by their length. Must agree.
    unit_length: bool, Agree, before: false;
    /// How a feature map became a row: `mean over the picture`, or `none`. Must agree.
    pooling: String, Agree;
    /// The execution provider. May differ: with the same precision, the last digits depend on it as on the processor.
    provider: String, Free;
    /// How products were computed: `f32`, or `tf32` with three decimal digits. Must agree.
    precision: String, Agree;
    /// How the graph's numbers are stored and computed: `f32`, `f16`, `bf16` or `int8`. Must agree.
    model_precision: String, Agree, before: "f32";
    /// What the ranges of integers were chosen from; null unless the graph computes with integers. Must agree.
    calibration: Value, Agree, before: null;
    /// SHA-256 of the ONNX graph and its weights. Must agree: the same weights can be cut, folded and lowered in other
    /// ways, and a file can be edited.
    graph_digest: String, Agree;
    /// The same of the graph that made latents; null without one. Must agree.
    latents_digest: Option<String>, Agree, before: null;
    /// Seed of the draws that latents in a file of their own were made with; null where it is `seed`, and without such a file.
    /// May differ; training and test images agree in what it comes to where the latents' noise is `fixed`.
    latents_seed: Option<u64>, Free, before: null;
    /// The noise by which such latents were drawn from their posterior, where it is of another kind than `noise`; else null.
    /// Must agree.
    latents_noise: Option<String>, Agree, before: null;
    /// How such latents were stored where that is not `f32`; else null. Must agree.
    latents_dtype: Option<String>, Agree, before: null;
    /// How products of such latents were computed where it is not as `precision` says; else null. Must agree.
    latents_precision: Option<String>, Agree, before: null;
    /// The execution provider of such latents where it is not `provider`; else null. May differ, as that.
    latents_provider: Option<String>, Free, before: null;
    /// Whether an ONNX file was used that had been changed after it was written. Must agree.
    edited: bool, Agree, before: false;
    /// The program that computed the features, and its version. May differ.
    tool: String, Free;
    /// The program that wrote the ONNX file, and its version. May differ: `graph_digest` says whether the file does.
    exporter: String, Free;
    /// The timesteps, in order. May differ: every feature has its own in its name, and only those of the same name are
    /// used together.
    timesteps: Vec<i64>, Free;
    /// The layers, in order. As `timesteps`.
    taps: Vec<String>, Free;
    /// The shapes of the layers, in the order of `taps`, where their maps are stored as they are: `256x16x16` is [D, H, W],
    /// `256x1152` is [tokens, D]. Null where maps are pooled. As `timesteps`.
    tap_shapes: Option<Vec<String>>, Free, before: null;
    /// Names of the classes, by label. Must agree, or labels mean other things.
    classes: Vec<String>, Agree;
    /// The configuration of network and process (YAML). Must agree.
    config: String, Agree;
}

/// An attribute that is there; null is a value like others.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(source: D) -> Result<Option<T>, D::Error> {
    T::deserialize(source).map(Some)
}

impl Rule {
    /// Whether files that are `pairing` to each other may say `first` and `second`.
    fn allows(self, pairing: Pairing, first: &Value, second: &Value) -> bool {
        let allowed = match (pairing, self) {
            (Pairing::Job, _) | (_, Rule::Agree) => false,
            (_, Rule::Free) | (Pairing::TrainTest, Rule::Images) => true,
            (Pairing::Seeds, Rule::Draws) => false,
            (Pairing::TrainTest, Rule::Augmentation) => *second == json!(false) || *second == json!(0),
            // Digests of two kinds say nothing of each other.
            (Pairing::Noisings | Pairing::Seeds, Rule::Images) => {
                kinds(first, second).is_some_and(|(a, b)| a != b)
            }
            (Pairing::Noisings | Pairing::Seeds, Rule::Augmentation) => false,
            (_, Rule::Draws) => first.is_null() || second.is_null(),
        };
        allowed || first == second
    }
}

impl Provenance {
    /// The attributes by name, as a file has them.
    pub fn attributes(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(attributes)) => attributes,
            _ => Map::new(),
        }
    }

    /// The first attribute in which `other` differs although the two cannot be used together then. What one of them
    /// does not say is not compared. Of [`Pairing::TrainTest`], `self` is what is learned from.
    pub fn difference(&self, other: &Self, pairing: Pairing) -> Option<Difference> {
        let (first, second) = (self.attributes(), other.attributes());
        // One draw for all images is part of what the features are.
        let is_fixed = self.has_fixed_noise() && other.has_fixed_noise();
        let in_attributes = names(&first, &second).find_map(|name| {
            let (first, second) = (value(&first, name)?, value(&second, name)?);
            let rule = match name.as_str() {
                "seed" if is_fixed && pairing == Pairing::TrainTest => Rule::Agree,
                name => rule(name),
            };
            let differ = !rule.allows(pairing, &first, &second);
            differ.then(|| Difference::new(name, first, second))
        });
        in_attributes.or_else(|| {
            // So is the one draw by which latents were made, whichever attributes say its seed.
            let are_fixed = [self, other].iter().all(|file| file.effective_latents_noise() == Some("fixed"));
            let (first, second) = (self.effective_latents_seed()?, other.effective_latents_seed()?);
            let differ = are_fixed && pairing == Pairing::TrainTest && first != second;
            differ.then(|| Difference::new("latents_seed", first, second))
        })
    }

    /// The noise that latents were drawn with, if any were: `latents_noise`, or `noise` where that says nothing else.
    fn effective_latents_noise(&self) -> Option<&str> {
        self.latents.as_ref()?.as_ref()?;
        self.latents_noise
            .as_ref()
            .and_then(|noise| noise.as_deref())
            .or_else(|| self.noise.as_ref()?.as_deref())
    }

    /// The seed of the draws that latents were made with: `latents_seed`, or `seed` where that says nothing else.
    pub fn effective_latents_seed(&self) -> Option<u64> {
        self.latents_seed.flatten().or(self.seed)
    }

    /// Whether something was drawn when latents were made: their noise, or crops and flips.
    pub fn draws_latents(&self) -> bool {
        let has_latents = self.latents.as_ref().is_some_and(Option::is_some);
        has_latents && (self.effective_latents_noise() != Some("none") || !self.augmentation().is_empty())
    }

    /// The attributes that should agree and that only one of the two has.
    pub fn unsaid(&self, other: &Self) -> Vec<String> {
        let (first, second) = (self.attributes(), other.attributes());
        let is_unsaid = |name: &&String| {
            rule(name) == Rule::Agree && value(&first, name).is_some() != value(&second, name).is_some()
        };
        names(&first, &second).filter(is_unsaid).cloned().collect()
    }

    /// Whether all images were seen with one draw of noise.
    fn has_fixed_noise(&self) -> bool {
        self.has_noise("fixed")
    }

    /// Whether images were seen without noise by a graph that takes some, so that the same image is seen alike each time.
    pub fn is_without_noise(&self) -> bool {
        self.has_noise("none")
    }

    fn has_noise(&self, name: &str) -> bool {
        self.noise.as_ref().is_some_and(|noise| noise.as_deref() == Some(name))
    }

    /// Whether images of the same number have the same noise in both, although they are of different splits: an earlier
    /// version drew it so, and both have the same seed. At timesteps that leave little of an image, such noise tells
    /// which test image has the number of which training image.
    pub fn shares_noise(&self, other: &Self) -> bool {
        let [first, second] = [self, other].map(Self::attributes);
        let is_first = |attributes| value(attributes, "noise_stream") == Some(json!(FIRST_STREAM));
        is_first(&first) && is_first(&second) && self.seed.is_some() && self.seed == other.seed
    }

    /// What remains true of a file that holds the rows of both.
    pub(crate) fn shared_with(&self, other: &Self) -> Self {
        let (mut attributes, others) = (self.attributes(), other.attributes());
        attributes.retain(|name, _| others.contains_key(name));
        serde_json::from_value(Value::Object(attributes)).unwrap_or_default()
    }

    /// How the images were changed before the network saw them; empty for images as they are.
    pub fn augmentation(&self) -> Vec<&'static str> {
        let set = [
            ("crop_padding", self.crop_padding.is_some_and(|padding| padding > 0)),
            ("flip", self.flip == Some(true)),
            ("resized_crop", self.resized_crop == Some(true)),
        ];
        set.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect()
    }
}

/// The names in either, each once.
fn names<'a>(
    first: &'a Map<String, Value>,
    second: &'a Map<String, Value>,
) -> impl Iterator<Item = &'a String> {
    first.keys().chain(second.keys().filter(|name| !first.contains_key(*name)))
}

fn value(attributes: &Map<String, Value>, name: &str) -> Option<Value> {
    // Versions that did not say what draws are a function of did not say either that there were none.
    if name == "noise_stream" && !attributes.contains_key(name) && draws_nothing(attributes) {
        return Some(Value::Null);
    }
    // Nor whether a graph takes noise; those that take none have no timestep but 0, and make no latents.
    if name == "noise" && !attributes.contains_key(name) && takes_nothing(attributes) {
        return Some(Value::Null);
    }
    attributes.get(name).cloned().or_else(|| before(name))
}

/// What stands before the colons of two digests of images.
fn kinds<'a>(first: &'a Value, second: &'a Value) -> Option<(&'a str, &'a str)> {
    let kind = |value: &'a Value| value.as_str()?.split_once(':').map(|(kind, _)| kind);
    Some((kind(first)?, kind(second)?))
}

/// Whether there is no noise to be chosen.
fn takes_nothing(attributes: &Map<String, Value>) -> bool {
    let has_no_step = attributes.get("timesteps").is_some_and(|timesteps| *timesteps == json!([0]));
    let is_code = value(attributes, "graph").is_some_and(|graph| graph == json!("encoder"));
    (has_no_step || is_code) && value(attributes, "latents").is_none_or(|latents| latents.is_null())
}

/// Whether the features are those of images as they are.
fn draws_nothing(attributes: &Map<String, Value>) -> bool {
    let is = |name: &str, none: Value| value(attributes, name).is_none_or(|value| value == none);
    is("graph", json!("encoder"))
        && is("latents", Value::Null)
        && is("crop_padding", json!(0))
        && is("flip", json!(false))
        && is("resized_crop", json!(false))
}

/// A property in which two files differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The attribute, or what else it is.
    pub property: String,
    /// Its value in the first file, or in the job. Long values begin shortly before they differ.
    pub first: String,
    /// Its value in the other file.
    pub second: String,
}

/// Longest part of a value in a message.
const SHOWN: usize = 60;

impl Difference {
    /// The values are cut to where they begin to differ.
    pub(crate) fn new(
        property: impl Into<String>,
        first: impl fmt::Display,
        second: impl fmt::Display,
    ) -> Self {
        let (first, second) = (first.to_string(), second.to_string());
        let common = first.chars().zip(second.chars()).take_while(|(a, b)| a == b).count();
        let cut = |text: &str| {
            let length = text.chars().count();
            if length <= SHOWN {
                return text.to_string();
            }
            let begin = common.saturating_sub(SHOWN / 2).min(length - SHOWN);
            let part: String = text.chars().skip(begin).take(SHOWN).collect();
            let (before, after) = (begin > 0, begin + SHOWN < length);
            format!("{}{part}{}", if before { "…" } else { "" }, if after { "…" } else { "" })
        };
        Self { property: property.into(), first: cut(&first), second: cut(&second) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(attributes: Value) -> Provenance {
        serde_json::from_value(attributes).expect("attributes")
    }

    #[test]
    fn null_is_a_value_and_absence_is_none() {
        let attributes =
            json!({ "model": "12ab", "latents": null, "epoch": 3, "calibration": null, "new": [1.5] });
        let provenance = read(attributes.clone());
        assert_eq!((provenance.latents.clone(), provenance.weights.clone()), (Some(None), None));
        assert_eq!(Value::Object(provenance.attributes()), attributes);
    }

    #[test]
    fn what_one_file_does_not_say_is_unsaid_unless_it_is_known() {
        let old = read(json!({ "model": "12ab" }));
        let new = read(json!({
            "model": "12ab", "model_precision": "f32", "unit_length": false, "latents": null, "graph_digest": "77",
        }));
        assert_eq!(old.difference(&new, Pairing::Job), None);
        assert_eq!(old.unsaid(&new), ["graph_digest"]);
        assert_eq!(old.shared_with(&new), old);
        let int8 = read(json!({ "model": "12ab", "model_precision": "int8" }));
        let difference = old.difference(&int8, Pairing::TrainTest).expect("other features");
        assert_eq!(difference, Difference::new("model_precision", "\"f32\"", "\"int8\""));
    }

    #[test]
    fn one_draw_for_all_images_is_the_same_in_training_and_test() {
        let file = |noise: Value, seed: u64| read(json!({ "seed": seed, "noise": noise }));
        let differs = |first: &Provenance, second: &Provenance, pairing| {
            first.difference(second, pairing).map(|difference| difference.property)
        };
        for (noise, expected) in [("fixed", Some("seed")), ("keyed", None), ("none", None)] {
            let (first, second) = (file(json!(noise), 0), file(json!(noise), 1));
            assert_eq!(differs(&first, &second, Pairing::TrainTest).as_deref(), expected, "{noise}");
            assert_eq!(differs(&first, &second, Pairing::Noisings), None, "{noise}");
        }
        let (keyed, fixed) = (file(json!("keyed"), 0), file(json!("fixed"), 0));
        assert_eq!(differs(&keyed, &fixed, Pairing::TrainTest).as_deref(), Some("noise"));
    }

    /// Of latents in files of their own.
    #[test]
    fn one_draw_for_all_latents_is_the_same_in_training_and_test() {
        let file = |noise: &str, seed: u64, latents_noise: Value, latents_seed: Value| {
            read(json!({
                "latents": "ab", "seed": seed, "noise": noise,
                "latents_noise": latents_noise, "latents_seed": latents_seed,
            }))
        };
        let differs = |first: &Provenance, second: &Provenance| {
            first.difference(second, Pairing::TrainTest).map(|difference| difference.property)
        };
        // The model's noise is that of each image, the latents' is one draw.
        let first = file("keyed", 3, json!("fixed"), json!(0));
        assert_eq!(
            differs(&first, &file("keyed", 3, json!("fixed"), json!(1))).as_deref(),
            Some("latents_seed")
        );
        assert_eq!(differs(&first, &file("keyed", 7, json!("fixed"), json!(0))), None);
        // Null is the seed of the file.
        assert_eq!(differs(&first, &file("keyed", 0, json!("fixed"), Value::Null)), None);
        let other = file("keyed", 3, json!("fixed"), Value::Null);
        assert_eq!(differs(&first, &other).as_deref(), Some("latents_seed"));
        // The other way round, the latents may have any seed.
        let first = file("fixed", 3, json!("keyed"), json!(0));
        assert_eq!(differs(&first, &file("fixed", 3, json!("keyed"), json!(1))), None);
        assert_eq!(differs(&first, &file("fixed", 4, json!("keyed"), json!(0))).as_deref(), Some("seed"));
        // Both are one draw.
        let first = file("fixed", 3, Value::Null, json!(0));
        assert_eq!(
            differs(&first, &file("fixed", 3, Value::Null, json!(1))).as_deref(),
            Some("latents_seed")
        );
        assert!(first.draws_latents() && !file("none", 0, Value::Null, Value::Null).draws_latents());
        assert_eq!(first.effective_latents_seed(), Some(0));
    }

    /// Files of versions that had no other noise than what was drawn for each image.
    #[test]
    fn noise_of_older_files_was_keyed_where_there_was_any() {
        for (old, noise) in [
            (json!({ "graph": "features", "timesteps": [11] }), json!("keyed")),
            (json!({ "graph": "features", "timesteps": [0] }), Value::Null),
            (json!({ "graph": "features", "timesteps": [0], "latents": "ab" }), json!("keyed")),
            (json!({ "graph": "encoder", "timesteps": [0] }), Value::Null),
            (json!({ "graph": "encoder" }), Value::Null),
            (json!({}), json!("keyed")),
        ] {
            let mut new = old.clone();
            new["noise"] = noise;
            let (first, second) = (read(old), read(new.clone()));
            assert_eq!(first.difference(&second, Pairing::Job), None, "{new}");
            new["noise"] = json!("fixed");
            assert!(first.difference(&read(new.clone()), Pairing::Job).is_some(), "{new}");
        }
    }

    #[test]
    fn long_values_are_cut_to_their_difference() {
        let text = |lr: &str| format!("{}lrate: {lr}{}", "x".repeat(300), "y".repeat(300));
        let difference = Difference::new("config", text("1"), text("2"));
        assert!(difference.first.contains("lrate: 1yyy") && difference.second.contains("lrate: 2yyy"));
        assert_eq!(difference.first.chars().count(), SHOWN + 2);
        let other_end = Difference::new("config", "x".repeat(61), "y");
        assert_eq!((other_end.first.chars().count(), &*other_end.second), (SHOWN + 1, "y"));
    }
}
