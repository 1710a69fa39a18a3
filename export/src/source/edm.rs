//! What a pickle of EDM's code says of its network: the classes and the arguments that they were made with, which are
//! compared with the shapes of its tensors.

use ddae_checkpoint::PickledModule;
use ddae_model::config::{EdmConfig, Preconditioner, ProcessConfig};
use ddae_model::networks::SongUNetConfig;
use serde_json::{Map, Value};

/// The class of the network.
const NETWORK: &str = "SongUNet";
/// The classes that make a denoiser of it.
const PRECONDITIONERS: [(&str, Preconditioner); 3] = [
    ("EDMPrecond", Preconditioner::Edm),
    ("VPPrecond", Preconditioner::Vp),
    ("VEPrecond", Preconditioner::Ve),
];

/// Arguments of the network that are known here with one value alone.
const OF_NETWORK: [(&str, &str); 1] = [("decoder_type", "\"standard\"")];
/// Arguments of the network that its outputs do not depend on once it is trained.
const OF_TRAINING: [&str; 1] = ["label_dropout"];
/// Arguments of a preconditioner that say nothing of what it computes beyond float32.
const OF_WRAPPER: [&str; 4] = ["img_resolution", "img_channels", "label_dim", "use_fp16"];
/// Arguments of `VPPrecond` that are known here with one value alone.
const OF_VP: [(&str, f64); 4] = [("beta_d", 19.9), ("beta_min", 0.1), ("M", 1000.0), ("epsilon_t", 1e-5)];

/// What a pickle says of its network.
#[derive(Debug, PartialEq)]
pub(super) struct Pickled {
    /// The network, with the dropout that it was trained with.
    pub config: SongUNetConfig,
    /// The class that makes a denoiser of it, and the process of that.
    pub wrapper: Option<(String, ProcessConfig)>,
}

/// The network among the objects of a pickle, whose tensors begin with `root`, and its process where a preconditioner is
/// around it; none where no object says what the tensors are of.
///
/// # Errors
/// A sentence, for a class or an argument that is not known here, and for arguments that the tensors, understood as
/// `deduced`, are not of.
pub(super) fn network(
    modules: &[PickledModule],
    root: &str,
    deduced: &SongUNetConfig,
) -> Result<Option<Pickled>, String> {
    let path = root.trim_end_matches('.');
    let named = |path: &str| modules.iter().find(|module| module.name == path);
    let Some(inner) = named(path) else { return Ok(None) };
    if inner.class != NETWORK {
        return Err(format!("its network is a {}; of EDM's networks, {NETWORK} is known here", inner.class));
    }
    let config = song_unet(inner, deduced)?;
    let outer = path.strip_suffix("model").map(|path| path.trim_end_matches('.')).and_then(named);
    let wrapper = outer.map(|outer| Ok::<_, String>((outer.class.clone(), process(outer, inner)?)));
    Ok(Some(Pickled { config, wrapper: wrapper.transpose()? }))
}

fn arguments(module: &PickledModule) -> Result<Map<String, Value>, String> {
    match module.positional {
        0 => Ok(module.arguments.clone()),
        n => Err(format!(
            "its {} was made with {n} arguments without names, which are not known here",
            module.class
        )),
    }
}

/// The network's configuration from its arguments, with the dropout that the tensors do not tell.
fn song_unet(module: &PickledModule, deduced: &SongUNetConfig) -> Result<SongUNetConfig, String> {
    let mut given = arguments(module)?;
    let mut channels = |key: &str| match given.remove(key) {
        Some(Value::Number(number)) => Ok(Value::Number(number)),
        Some(other) => Err(format!("its {NETWORK} has {key} {other}; it must be a whole number")),
        None => Err(format!("its {NETWORK} was made without {key}")),
    };
    let (inputs, outputs) = (channels("in_channels")?, channels("out_channels")?);
    if inputs != outputs {
        return Err(format!(
            "its {NETWORK} has in_channels {inputs} and out_channels {outputs}; they must be the same"
        ));
    }
    given.insert("img_channels".to_string(), inputs);
    for (key, known) in OF_NETWORK {
        if let Some(value) = given.remove(key)
            && value.to_string() != known
        {
            return Err(format!("its {NETWORK} has {key} {value}; {known} is known here"));
        }
    }
    for key in OF_TRAINING {
        given.remove(key);
    }
    let config: SongUNetConfig = serde_json::from_value(Value::Object(given))
        .map_err(|error| format!("its {NETWORK} has an argument that is not known here: {error}"))?;
    // Attention is asked for at resolutions that a small network does not have, too.
    let mut there = config.clone();
    there
        .attn_resolutions
        .retain(|side| deduced.attn_resolutions.contains(side) || is_resolution(&config, *side));
    there.attn_resolutions.sort_unstable_by(|a, b| b.cmp(a));
    there.attn_resolutions.dedup();
    let of_tensors = SongUNetConfig { dropout: there.dropout, ..deduced.clone() };
    match difference(&there, &of_tensors) {
        None => Ok(there),
        Some((key, said, found)) => Err(format!(
            "its {NETWORK} was made with {key} {said}, and its tensors are those of {key} {found}"
        )),
    }
}

fn is_resolution(config: &SongUNetConfig, side: usize) -> bool {
    (0..config.channel_mult.len()).any(|level| config.img_resolution.checked_shr(level as u32) == Some(side))
}

/// The first key in which two configurations differ, with both values.
fn difference(a: &SongUNetConfig, b: &SongUNetConfig) -> Option<(String, Value, Value)> {
    let (Ok(Value::Object(a)), Ok(Value::Object(b))) = (serde_json::to_value(a), serde_json::to_value(b))
    else {
        return None;
    };
    a.into_iter().find_map(|(key, value)| {
        let other = b.get(&key).cloned().unwrap_or_default();
        (value != other).then_some((key, value, other))
    })
}

/// The process of a preconditioner around a network: the published sampling settings, within the noise levels that it takes.
fn process(outer: &PickledModule, inner: &PickledModule) -> Result<ProcessConfig, String> {
    let class = &outer.class;
    let Some((_, preconditioning)) = PRECONDITIONERS.iter().find(|(name, _)| name == class) else {
        let known = PRECONDITIONERS.map(|(name, _)| name).join(", ");
        return Err(format!("its network is wrapped in {class}; {known} are known here"));
    };
    let mut given = arguments(outer)?;
    if let Some(model) = given.remove("model_type")
        && model.as_str() != Some(&inner.class)
    {
        return Err(format!("its {class} has model_type {model}, and its network is a {}", inner.class));
    }
    for key in OF_WRAPPER {
        given.remove(key);
    }
    let mut process = EdmConfig { preconditioning: *preconditioning, ..EdmConfig::published() };
    if *preconditioning == Preconditioner::Vp {
        for (key, known) in OF_VP {
            if let Some(value) = given.remove(key)
                && value.as_f64() != Some(known)
            {
                return Err(format!("its {class} has {key} {value}; {known} is known here"));
            }
        }
    } else {
        // No least, or no largest noise level, is 0 and Infinity. Without the argument, VEPrecond has limits of its own.
        let (least, largest) =
            if *preconditioning == Preconditioner::Ve { (0.02, 100.0) } else { (0.0, f64::INFINITY) };
        let mut limit = |key: &str, default: f64| match given.remove(key) {
            None => Ok(default),
            Some(Value::String(text)) if text == "inf" => Ok(f64::INFINITY),
            Some(value) => {
                value.as_f64().ok_or_else(|| format!("its {class} has {key} {value}; it must be a number"))
            }
        };
        process.sigma_min = process.sigma_min.max(limit("sigma_min", least)?);
        process.sigma_max = process.sigma_max.min(limit("sigma_max", largest)?);
    }
    if let (Preconditioner::Edm, Some(data)) = (preconditioning, given.remove("sigma_data")) {
        process.sigma_data =
            data.as_f64().ok_or_else(|| format!("its {class} has sigma_data {data}; it must be a number"))?;
    }
    // All others are handed on to the network.
    if let Some((key, value)) = given.iter().find(|(key, value)| inner.arguments.get(*key) != Some(value)) {
        return Err(format!("its {class} has {key} {value}, which is not known here"));
    }
    let process = ProcessConfig::Edm(process);
    process.check()?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn module(name: &str, class: &str, arguments: Value) -> PickledModule {
        let Value::Object(arguments) = arguments else { panic!("an object") };
        PickledModule { name: name.to_string(), class: class.to_string(), arguments, positional: 0 }
    }

    /// The arguments of the published unconditional VP network.
    fn vp() -> Value {
        json!({
            "img_resolution": 32, "in_channels": 3, "out_channels": 3, "label_dim": 0, "embedding_type": "positional",
            "encoder_type": "standard", "decoder_type": "standard", "channel_mult_noise": 1, "resample_filter": [1, 1],
            "model_channels": 128, "channel_mult": [2, 2, 2], "augment_dim": 9, "dropout": 0.13,
        })
    }

    fn with(mut arguments: Value, key: &str, value: Value) -> Value {
        arguments[key] = value;
        arguments
    }

    fn outer(mut own: Value) -> Value {
        for (key, value) in vp().as_object().expect("an object") {
            if !["in_channels", "out_channels"].contains(&key.as_str()) {
                own[key] = value.clone();
            }
        }
        own["img_channels"] = json!(3);
        own["model_type"] = json!("SongUNet");
        own["use_fp16"] = json!(true);
        own
    }

    fn deduced() -> SongUNetConfig {
        SongUNetConfig { dropout: 0.0, ..SongUNetConfig::ddpmpp() }
    }

    #[test]
    fn arguments_make_network_and_process() {
        for (class, own, preconditioning, limits) in [
            (
                "EDMPrecond",
                json!({"sigma_min": 0, "sigma_max": "inf", "sigma_data": 0.5}),
                Preconditioner::Edm,
                [0.002, 80.0],
            ),
            ("EDMPrecond", json!({}), Preconditioner::Edm, [0.002, 80.0]),
            ("VPPrecond", json!({"beta_d": 19.9, "M": 1000}), Preconditioner::Vp, [0.002, 80.0]),
            ("VEPrecond", json!({}), Preconditioner::Ve, [0.02, 80.0]),
            ("VEPrecond", json!({"sigma_min": 0.1, "sigma_max": 50}), Preconditioner::Ve, [0.1, 50.0]),
        ] {
            let modules = [module("ema", class, outer(own)), module("ema.model", "SongUNet", vp())];
            let Pickled { config, wrapper } =
                network(&modules, "ema.model.", &deduced()).expect("known").expect("there");
            assert_eq!(config, SongUNetConfig::ddpmpp());
            let Some((name, ProcessConfig::Edm(process))) = wrapper else { panic!("an EDM") };
            assert_eq!(name, class);
            assert_eq!(
                (process.preconditioning, [process.sigma_min, process.sigma_max]),
                (preconditioning, limits)
            );
        }
        // A network by itself has no process; tensors without objects say nothing.
        let alone = [module("net", "SongUNet", vp())];
        assert_eq!(network(&alone, "net.", &deduced()).expect("known").expect("there").wrapper, None);
        assert_eq!(network(&alone, "ema.", &deduced()), Ok(None));
    }

    #[test]
    fn what_is_not_known_is_refused_by_its_name() {
        let network_of = |class: &str, own: Value, inner: Value| {
            let modules = [module("ema", class, own), module("ema.model", "SongUNet", inner)];
            network(&modules, "ema.model.", &deduced()).expect_err("refused")
        };
        for (message, found) in [
            (
                "its network is wrapped in iDDPMPrecond; EDMPrecond, VPPrecond, VEPrecond are known here",
                network_of("iDDPMPrecond", outer(json!({})), vp()),
            ),
            (
                "its EDMPrecond has sigma_shift 3, which is not known here",
                network_of("EDMPrecond", outer(json!({"sigma_shift": 3})), vp()),
            ),
            (
                "its VPPrecond has beta_d 20.0; 19.9 is known here",
                network_of("VPPrecond", outer(json!({"beta_d": 20.0})), vp()),
            ),
            (
                "its SongUNet has decoder_type \"skip\"; \"standard\" is known here",
                network_of("EDMPrecond", outer(json!({})), with(vp(), "decoder_type", json!("skip"))),
            ),
            (
                "its SongUNet was made with label_dim 10, and its tensors are those of label_dim 0",
                network_of("EDMPrecond", outer(json!({})), with(vp(), "label_dim", json!(10))),
            ),
            (
                "its SongUNet has in_channels 3 and out_channels 6; they must be the same",
                network_of("EDMPrecond", outer(json!({})), with(vp(), "out_channels", json!(6))),
            ),
        ] {
            assert_eq!(found, message);
        }
        let unknown = network_of("EDMPrecond", outer(json!({})), with(vp(), "adaptive_scale", json!(true)));
        assert!(unknown.starts_with("its SongUNet has an argument that is not known here: "), "{unknown}");
        assert!(unknown.contains("unknown field `adaptive_scale`"), "{unknown}");
        let filter =
            network_of("EDMPrecond", outer(json!({})), with(vp(), "resample_filter", json!([1, 2, 1])));
        assert!(filter.contains("the filter [1.0, 2.0, 1.0] is not known here"), "{filter}");
        let other = [module("ema.model", "DhariwalUNet", json!({}))];
        assert_eq!(
            network(&other, "ema.model.", &deduced()),
            Err("its network is a DhariwalUNet; of EDM's networks, SongUNet is known here".to_string())
        );
        let positional = [PickledModule { positional: 1, ..module("ema.model", "SongUNet", vp()) }];
        let message = network(&positional, "ema.model.", &deduced()).expect_err("refused");
        assert_eq!(message, "its SongUNet was made with 1 arguments without names, which are not known here");
    }
}
