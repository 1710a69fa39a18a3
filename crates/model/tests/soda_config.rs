//! The published SODA configurations, and what is said of wrong ones.

use std::path::PathBuf;

use ddae_model::config::{
    AnyConfig, Betas, ChannelStatistics, Config, Optim, Override, ProcessConfig, RunConfig, SodaRun,
};
use ddae_model::graph::GraphKind;
use ddae_model::networks::{Architecture, resnet_graph, soda_graph};

fn path(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs")).join(name)
}

fn read(name: &str, set: &[&str]) -> Result<SodaRun, String> {
    let set: Vec<Override> = set.iter().map(|text| text.parse().unwrap()).collect();
    SodaRun::read_with(&path(name), &set).map_err(|error| error.to_string())
}

/// What is said, after the file's name.
fn error(set: &[&str]) -> String {
    let message = read("soda_cifar10.yaml", set).unwrap_err();
    // What brings it is named: the option, or else the file.
    let origins = set.iter().map(|set| format!("--set {set}: ")).chain(["soda_cifar10.yaml: ".to_string()]);
    let rest = origins.filter_map(|origin| Some(message.split_once(&origin)?.1.to_string())).next();
    rest.expect("the origin's name")
}

#[test]
fn published_values_are_read() {
    let config = read("soda_cifar10.yaml", &[]).unwrap();
    assert_eq!((config.dataset.as_str(), config.image_shape()), ("cifar10", [3, 32, 32]));
    assert_eq!((config.lrate_ratio, config.save_per, config.augmentation.augment_target), (2.0, 100, true));
    let diffusion = &config.diffusion;
    assert_eq!((diffusion.n_t, diffusion.drop_prob, diffusion.layer_mask_prob), (1000, 0.1, 0.0));
    assert_eq!(diffusion.betas, Betas::Linear([1e-4, 0.02]));
    let training = &config.training;
    assert_eq!((training.optim, training.grad_clip_norm), (Optim::AdamW, 1.0));
    assert_eq!((training.optim_args.weight_decay, training.optim_args.betas), (0.05, Some([0.9, 0.95])));
    assert_eq!((training.n_epoch, training.warm_epoch, training.batch_size), (800, 20, 128));
    assert_eq!(config.normalisation, ChannelStatistics::published("cifar10"));
    let config = read("soda_tiny.yaml", &[]).unwrap();
    assert_eq!((config.training.batch_size, config.training.lrate), (64, 5e-5));
    assert!(!config.networks.encoder.cifar_small_image);
}

/// About 11 M values in the encoder and 40 M in the decoder.
#[test]
fn both_networks_are_one_graph() {
    let config = read("soda_cifar10.yaml", &[]).unwrap();
    let graph = soda_graph(&config.networks).unwrap();
    let encoder = resnet_graph(&config.networks.encoder).unwrap().parameter_count();
    assert_eq!(encoder, 11_234_496);
    assert_eq!(graph.parameter_count() - encoder, 39_595_139);
    let names: Vec<&str> = graph.parameters().map(|(_, node)| node.name.as_str()).collect();
    let first = names.iter().position(|name| name.starts_with("decoder.")).unwrap();
    assert!(names[..first].iter().all(|name| name.starts_with("encoder.encoder.")));
    assert!(names[first..].iter().all(|name| name.starts_with("decoder.")));
}

#[test]
fn tiny_images_are_as_large_as_the_published_code_reads_them() {
    let shape = |set: &[&str]| read("soda_tiny.yaml", set).map(|config| config.image_shape());
    assert_eq!(shape(&[]), Ok([3, 64, 64]));
    let small = ["encoder.image_shape=[3, 32, 32]", "decoder.image_shape=[3, 32, 32]"];
    assert_eq!(shape(&small), Ok([3, 32, 32]));
    assert_eq!(shape(&["decoder.image_shape=[3, 16, 16]"]), Ok([3, 16, 16]));
    assert_eq!(
        error(&["encoder.image_shape=[3, 64, 64]"]),
        "encoder.image_shape is [3, 64, 64] and decoder.image_shape [3, 32, 32]; both see the same images"
    );
}

#[test]
fn what_the_paper_adds_is_read() {
    let set = ["decoder.z_parts=4", "diffusion.layer_mask_prob=0.2", "diffusion.betas=inverted"];
    let config = read("soda_cifar10.yaml", &[&set[..], &["augment_target=False"]].concat()).unwrap();
    assert_eq!((config.networks.decoder.z_parts, config.diffusion.layer_mask_prob), (4, 0.2));
    assert_eq!((config.diffusion.betas, config.augmentation.augment_target), (Betas::Inverted, false));
    assert_eq!(
        error(&set[1..]),
        "diffusion: layer_mask_prob is 0.2; it hides parts of the latent: set decoder.z_parts to 2 or more"
    );
}

#[test]
fn crops_leave_what_is_asked_for() {
    let area = |set: &[&str]| read("soda_cifar10.yaml", set).map(|config| config.augmentation.crop_area);
    assert_eq!(area(&[]), Ok([0.08, 1.0]));
    assert_eq!(area(&["crop_area=[0.5, 0.5]"]), Ok([0.5, 0.5]));
    for wrong in ["[0.0, 1.0]", "[0.5, 0.4]", "[0.5, 1.1]", "[.nan, 1.0]"] {
        let message = error(&[&format!("crop_area={wrong}")]);
        assert!(message.contains("crop_area is [") && message.contains("[0.08, 1.0]"), "{message}");
    }
}

#[test]
fn a_configuration_survives_writing() {
    let more = [
        "decoder.z_parts=2",
        "diffusion.layer_mask_prob=0.2",
        "diffusion.betas=cosine",
        "crop_area=[0.3, 1]",
    ];
    for (name, set) in [("soda_cifar10.yaml", &[][..]), ("soda_tiny.yaml", &more), ("soda_demo.yaml", &more)]
    {
        let config = read(name, set).unwrap();
        assert_eq!(SodaRun::parse(&config.to_yaml(), "again", &[]).unwrap(), config, "{name}");
        let run = RunConfig::parse(&config.to_yaml(), "again").unwrap();
        assert_eq!((run.soda(), run.diffusion()), (Some(&config), None));
        assert_eq!(run.to_yaml(), config.to_yaml());
    }
}

#[test]
fn graphs_are_made_of_the_network_that_has_them() {
    let config: AnyConfig = read("soda_cifar10.yaml", &[]).unwrap().into();
    let encoder = config.model_for(GraphKind::Encoder);
    assert!(matches!(encoder.architecture, Architecture::SodaEncoder(_)));
    assert_eq!(encoder.normalisation, ChannelStatistics::published("cifar10"));
    let decoder = config.model_for(GraphKind::Sampler);
    assert!(matches!(decoder.architecture, Architecture::SodaDecoder(_)));
    assert!(matches!(decoder.process, Some(ProcessConfig::Ddpm(_))));
    let larger = config.resized([64, 48]).unwrap();
    assert_eq!(larger.model_for(GraphKind::Encoder).architecture.image_shape(), Some([3, 64, 48]));
    assert_eq!(larger.model().architecture.image_shape(), Some([3, 64, 48]));
}

#[test]
fn the_other_kind_of_configuration_is_named() {
    let message = SodaRun::read_with(&path("demo.yaml"), &[]).unwrap_err().to_string();
    assert!(
        message.ends_with("of a DDPM or EDM (it has a network): `ddae-train diffusion` trains it"),
        "{message}"
    );
    let message = Config::read(&path("soda_demo.yaml")).unwrap_err().to_string();
    assert!(message.ends_with("of a SODA (it has an encoder): `ddae-train soda` trains it"), "{message}");
}

#[test]
fn wrong_values_are_named_with_their_key() {
    for (set, wanted) in [
        ("lrate_ratio=0", "lrate_ratio is 0; it must be above 0"),
        ("grad_clip_norm=-1", "grad_clip_norm is -1; it must be above 0 (.inf for no clipping)"),
        ("diffusion.drop_prob=1.5", "diffusion: drop_prob is 1.5; it must be in [0, 1]"),
        ("diffusion.n_T=0", "diffusion: n_T is 0"),
        (
            "diffusion.betas=sigmoid",
            "[first, last], scaled_linear: [first, last], cosine or inverted is wanted, and it is the text 'sigmoid'",
        ),
        ("diffusion.betas=[0.02, 0.01]", "diffusion: betas is [0.02, 0.01]; it must rise"),
        ("encoder.feature_dim=64", "encoder.feature_dim is 64 and decoder.z_channels 128"),
        ("encoder.arch=resnet50", "'resnet50' is not known; there are "),
        ("decoder.z_parts=3", "decoder: z_channels is 128, which does not split into z_parts: 3"),
        ("decoder.augment_dim=9", "decoder: augment_dim is 9; a SODA decoder takes no augmentation label"),
        ("decoder.widht=1", "there is no such key"),
        ("save_per=-1", "a whole number of 0 or more is wanted, and it is -1"),
        ("flip=True", "there is no such key; there are dataset, encoder"),
        ("batch_size=0", "batch_size is 0; it must be at least 1"),
        (
            "normalisation={mean: [0.5], std: [0.5]}",
            "normalisation is for 1 channels and decoder.image_shape has 3",
        ),
        ("normalisation={mean: [0, 0, 0], std: [1, 1, 0]}", "normalisation.std has 0; it must be above 0"),
    ] {
        let message = error(&[set]);
        assert!(message.starts_with(wanted), "{set}: {message}");
        assert!(!message.contains('\n'), "{message}");
    }
}
