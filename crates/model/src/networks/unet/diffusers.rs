//! diffusers' `UNet2DModel`: its `config.json` as a [`UNetConfig`], and its parameters' names as ours.

use serde::Deserialize;
use serde_json::Value as Json;

use super::{Conventions, UNetConfig, unet_graph};
use crate::graph::GraphError;

/// A `config.json` of diffusers' `UNet2DModel`. A key that is not there has diffusers' default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiffusersConfig {
    #[serde(rename = "_class_name")]
    class_name: String,
    // Where the file came from: nothing that the network depends on.
    #[serde(rename = "_diffusers_version")]
    _diffusers_version: Json,
    #[serde(rename = "_name_or_path")]
    _name_or_path: Json,
    sample_size: Option<SampleSize>,
    in_channels: usize,
    out_channels: usize,
    center_input_sample: bool,
    time_embedding_type: String,
    time_embedding_dim: Option<usize>,
    freq_shift: f64,
    flip_sin_to_cos: bool,
    down_block_types: Vec<String>,
    mid_block_type: Option<String>,
    up_block_types: Vec<String>,
    block_out_channels: Vec<usize>,
    layers_per_block: usize,
    mid_block_scale_factor: f64,
    downsample_padding: usize,
    downsample_type: String,
    upsample_type: String,
    dropout: f64,
    act_fn: String,
    attention_head_dim: Option<usize>,
    norm_num_groups: usize,
    attn_norm_num_groups: Option<usize>,
    norm_eps: f64,
    resnet_time_scale_shift: String,
    add_attention: bool,
    class_embed_type: Option<String>,
    num_class_embeds: Option<usize>,
    // Only read by a learned time embedding, which is refused.
    #[serde(rename = "num_train_timesteps")]
    _num_train_timesteps: Option<usize>,
}

/// One side, or height and width.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum SampleSize {
    Square(usize),
    Sides([usize; 2]),
}

impl Default for DiffusersConfig {
    fn default() -> DiffusersConfig {
        let types = |names: [&str; 4]| names.map(str::to_string).to_vec();
        DiffusersConfig {
            class_name: "UNet2DModel".to_string(),
            _diffusers_version: Json::Null,
            _name_or_path: Json::Null,
            sample_size: None,
            in_channels: 3,
            out_channels: 3,
            center_input_sample: false,
            time_embedding_type: "positional".to_string(),
            time_embedding_dim: None,
            freq_shift: 0.0,
            flip_sin_to_cos: true,
            down_block_types: types(["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"]),
            mid_block_type: Some("UNetMidBlock2D".to_string()),
            up_block_types: types(["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"]),
            block_out_channels: vec![224, 448, 672, 896],
            layers_per_block: 2,
            mid_block_scale_factor: 1.0,
            downsample_padding: 1,
            downsample_type: "conv".to_string(),
            upsample_type: "conv".to_string(),
            dropout: 0.0,
            act_fn: "silu".to_string(),
            attention_head_dim: Some(8),
            norm_num_groups: 32,
            attn_norm_num_groups: None,
            norm_eps: 1e-5,
            resnet_time_scale_shift: "default".to_string(),
            add_attention: true,
            class_embed_type: None,
            num_class_embeds: None,
            _num_train_timesteps: None,
        }
    }
}

impl Conventions {
    /// Those of Google's DDPM checkpoints for diffusers (`google/ddpm-cifar10-32` and its family), for a file that comes
    /// without its `config.json`.
    pub fn diffusers_ddpm() -> Conventions {
        Conventions {
            norm_groups: 32,
            final_norm_groups: 32,
            norm_eps: 1e-6,
            frequency_shift: 1.0,
            cosines_first: false,
            downsample_pads_end: true,
            queries_first: true,
        }
    }
}

impl DiffusersConfig {
    /// The same network as a configuration of ours. Its scalar `t` is the timestep counted from 0.
    ///
    /// # Errors
    /// A sentence that names the key, for a network that the UNet cannot be.
    pub fn unet(&self) -> Result<UNetConfig, String> {
        self.refuse_variants()?;
        let [height, width] = match self.sample_size {
            Some(SampleSize::Square(side)) => [side; 2],
            Some(SampleSize::Sides(sides)) => sides,
            None => return Err("sample_size is not given; set it to the images' side".to_string()),
        };
        let channels = &self.block_out_channels;
        let Some(&n_channels) = channels.first().filter(|first| **first > 0) else {
            return Err(format!("block_out_channels is {channels:?}; it must start with a number above 0"));
        };
        if channels.iter().any(|c| !c.is_multiple_of(n_channels)) {
            return Err(format!(
                "block_out_channels is {channels:?}; only multiples of the first number are supported"
            ));
        }
        let config = UNetConfig {
            image_shape: [self.in_channels, height, width],
            n_channels,
            ch_mults: channels.iter().map(|c| c / n_channels).collect(),
            is_attn: self.attention()?,
            attn_channels_per_head: self.attention_head_dim,
            dropout: self.dropout,
            n_blocks: self.layers_per_block,
            use_res_for_updown: false,
            augment_dim: 0,
            z_channels: 0,
            z_parts: 1,
            conventions: Conventions {
                norm_groups: self.norm_num_groups,
                final_norm_groups: self.norm_num_groups,
                norm_eps: self.norm_eps,
                frequency_shift: self.freq_shift,
                cosines_first: self.flip_sin_to_cos,
                downsample_pads_end: self.downsample_padding == 0,
                queries_first: true,
            },
        };
        config.check()?;
        Ok(config)
    }

    /// Which resolutions have attention, finest first.
    fn attention(&self) -> Result<Vec<bool>, String> {
        let has = |key: &str, plain: &str, attending: &str, block: &String| match block {
            block if block == plain => Ok(false),
            block if block == attending => Ok(true),
            block => Err(format!("{key} has '{block}'; only {plain} and {attending} are supported")),
        };
        let read = |key: &str, blocks: &[String], plain: &str, attending: &str| {
            blocks
                .iter()
                .map(|block| has(key, plain, attending, block))
                .collect::<Result<Vec<bool>, String>>()
        };
        let down = read("down_block_types", &self.down_block_types, "DownBlock2D", "AttnDownBlock2D")?;
        let mut up = read("up_block_types", &self.up_block_types, "UpBlock2D", "AttnUpBlock2D")?;
        up.reverse();
        if down != up {
            return Err(
                "up_block_types is not down_block_types in reverse; only mirrored networks are supported"
                    .to_string(),
            );
        }
        Ok(down)
    }

    /// Refuses what would make another network of it.
    fn refuse_variants(&self) -> Result<(), String> {
        let text = |value: &Option<String>| format!("{value:?}");
        let number = |value: Option<usize>| format!("{value:?}");
        let wrong = [
            ("_class_name", self.class_name != "UNet2DModel", self.class_name.clone(), "UNet2DModel"),
            ("center_input_sample", self.center_input_sample, "true".to_string(), "false"),
            (
                "time_embedding_type",
                self.time_embedding_type != "positional",
                self.time_embedding_type.clone(),
                "positional",
            ),
            (
                "time_embedding_dim",
                self.time_embedding_dim.is_some(),
                number(self.time_embedding_dim),
                "null",
            ),
            (
                "mid_block_type",
                self.mid_block_type.as_deref() != Some("UNetMidBlock2D"),
                text(&self.mid_block_type),
                "UNetMidBlock2D",
            ),
            (
                "mid_block_scale_factor",
                self.mid_block_scale_factor != 1.0,
                self.mid_block_scale_factor.to_string(),
                "1",
            ),
            (
                "downsample_padding",
                self.downsample_padding > 1,
                self.downsample_padding.to_string(),
                "0 or 1",
            ),
            ("downsample_type", self.downsample_type != "conv", self.downsample_type.clone(), "conv"),
            ("upsample_type", self.upsample_type != "conv", self.upsample_type.clone(), "conv"),
            // Two names of one function.
            ("act_fn", !["silu", "swish"].contains(&self.act_fn.as_str()), self.act_fn.clone(), "silu"),
            (
                "attn_norm_num_groups",
                self.attn_norm_num_groups.is_some_and(|groups| groups != self.norm_num_groups),
                number(self.attn_norm_num_groups),
                "null",
            ),
            (
                "resnet_time_scale_shift",
                self.resnet_time_scale_shift != "default",
                self.resnet_time_scale_shift.clone(),
                "default",
            ),
            ("add_attention", !self.add_attention, "false".to_string(), "true"),
            ("class_embed_type", self.class_embed_type.is_some(), text(&self.class_embed_type), "null"),
            ("num_class_embeds", self.num_class_embeds.is_some(), number(self.num_class_embeds), "null"),
            (
                "out_channels",
                self.out_channels != self.in_channels,
                self.out_channels.to_string(),
                "that of in_channels",
            ),
        ];
        match wrong.into_iter().find(|(_, is_wrong, ..)| *is_wrong) {
            Some((key, _, value, wanted)) => Err(format!("{key} is {value}; only {wanted} is supported")),
            None => Ok(()),
        }
    }
}

/// What diffusers calls the layers of an attention block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionNames {
    /// `to_q`, `to_k`, `to_v`, `to_out.0`.
    Current,
    /// `query`, `key`, `value`, `proj_attn`: the names of older diffusers, and so of most published files.
    Old,
}

impl AttentionNames {
    /// Those that occur among the names of a file.
    pub fn among<'a>(names: impl IntoIterator<Item = &'a str>) -> AttentionNames {
        let old = names.into_iter().any(|name| name.ends_with(".proj_attn.weight"));
        if old { AttentionNames::Old } else { AttentionNames::Current }
    }
}

/// Where a parameter's values come from in a file that cuts them otherwise.
///
/// The values of [`tensors`](TensorSource::tensors), each in row-major order and one after the other, are those of the
/// parameter: several tensors are joined along their first axis, and a trailing `1 x 1` (a linear layer stored as a
/// convolution) falls away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSource {
    /// The parameter in the network.
    pub parameter: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// The names in the file.
    pub tensors: Vec<String>,
}

/// For each parameter of the network, in its order, where it is in the state dict of a `UNet2DModel`.
///
/// # Errors
/// When the configuration cannot be built, or is of a network that `UNet2DModel` cannot be.
pub fn diffusers_sources(
    config: &UNetConfig,
    attention: AttentionNames,
) -> Result<Vec<TensorSource>, GraphError> {
    let graph = unet_graph(config, true)?;
    graph
        .parameters()
        .map(|(_, node)| {
            let tensors = published_names(config.n_blocks, attention, &node.name);
            let tensors = tensors.ok_or_else(|| GraphError::Shape {
                path: node.name.clone(),
                message: "diffusers' UNet2DModel has no such layer".to_string(),
            })?;
            Ok(TensorSource { parameter: node.name.clone(), shape: node.shape.resolve(1), tensors })
        })
        .collect()
}

/// The names in the state dict of what is one parameter here.
fn published_names(n_blocks: usize, attention: AttentionNames, parameter: &str) -> Option<Vec<String>> {
    let (layer, leaf) = parameter.rsplit_once('.')?;
    let parts: Vec<&str> = layer.split('.').collect();
    let layers = match parts.as_slice() {
        ["image_proj"] => vec!["conv_in".to_string()],
        ["time_emb", "lin1"] => vec!["time_embedding.linear_1".to_string()],
        ["time_emb", "lin2"] => vec!["time_embedding.linear_2".to_string()],
        ["norm"] => vec!["conv_norm_out".to_string()],
        ["final"] => vec!["conv_out".to_string()],
        ["middle", "res1", rest @ ..] => residual_names("mid_block.resnets.0", rest)?,
        ["middle", "res2", rest @ ..] => residual_names("mid_block.resnets.1", rest)?,
        ["middle", "attn", rest @ ..] => attention_names("mid_block.attentions.0", attention, rest)?,
        [path @ ("down" | "up"), module, rest @ ..] => {
            // A resolution's blocks and its resampler are modules in one sequence here, but lists per resolution there.
            let blocks = if *path == "up" { n_blocks + 1 } else { n_blocks };
            let module: usize = module.parse().ok()?;
            let (level, index) = (module / (blocks + 1), module % (blocks + 1));
            let level = format!("{path}_blocks.{level}");
            match rest {
                ["res", rest @ ..] => residual_names(&format!("{level}.resnets.{index}"), rest)?,
                ["attn", rest @ ..] => {
                    attention_names(&format!("{level}.attentions.{index}"), attention, rest)?
                }
                ["conv"] => vec![format!("{level}.{path}samplers.0.conv")],
                _ => return None,
            }
        }
        _ => return None,
    };
    Some(layers.into_iter().map(|layer| format!("{layer}.{leaf}")).collect())
}

fn residual_names(block: &str, layer: &[&str]) -> Option<Vec<String>> {
    let name = match layer {
        ["norm1"] => "norm1",
        ["conv1"] => "conv1",
        ["time_emb", "1"] => "time_emb_proj",
        ["norm2"] => "norm2",
        ["conv2", "1"] => "conv2",
        ["shortcut"] => "conv_shortcut",
        _ => return None,
    };
    Some(vec![format!("{block}.{name}")])
}

fn attention_names(block: &str, names: AttentionNames, layer: &[&str]) -> Option<Vec<String>> {
    let (projections, output) = match names {
        AttentionNames::Current => (["to_q", "to_k", "to_v"], "to_out.0"),
        AttentionNames::Old => (["query", "key", "value"], "proj_attn"),
    };
    match layer {
        ["norm"] => Some(vec![format!("{block}.group_norm")]),
        ["projection"] => Some(projections.map(|name| format!("{block}.{name}")).to_vec()),
        ["output"] => Some(vec![format!("{block}.{output}")]),
        _ => None,
    }
}
