//! The published configurations, and what is said of wrong ones.

use std::path::{Path, PathBuf};

use ddae_model::config::{AnyConfig, ClassifierRun, Config, Optim, Override, ProcessConfig};

fn configs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs"))
}

fn demo() -> String {
    std::fs::read_to_string(configs().join("demo.yaml")).unwrap()
}

fn error_of(text: &str) -> String {
    Config::parse(text, "c.yaml", &[]).unwrap_err().to_string()
}

/// A configuration of this repository.
fn read(path: &Path) -> AnyConfig {
    let config = match path.ends_with("finetune_demo.yaml") {
        // What it leaves out is the denoiser's.
        true => {
            let donor = Config::read(&configs().join("demo.yaml")).unwrap();
            ClassifierRun::read_fine_tuning(path, &[], Some(&donor)).map(AnyConfig::from)
        }
        false => AnyConfig::read(path, &[]),
    };
    config.unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_configuration_here_reads_and_builds() {
    let mut count = 0;
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        let config = read(&path);
        config.model().architecture.network_graph(false).unwrap();
        count += 1;
    }
    assert!(count >= 20, "{count} configurations");
}

/// EDM2's configurations.
#[test]
fn the_configurations_of_edm2_read_and_build() {
    const CIFAR: usize = 39_509_888;
    const TINY: usize = 62_414_720;
    for (name, n_epoch, batch_size, lrate, tref_epoch, parameters) in [
        ("cifar10_C", 1000, 512, 4e-4, None, CIFAR),
        ("cifar100_C", 1000, 512, 4e-4, None, CIFAR),
        ("cifar10_E", 2000, 512, 2e-2, Some(400), CIFAR),
        ("cifar100_E", 2000, 512, 2e-2, Some(400), CIFAR),
        ("tiny_C", 2000, 192, 1.5e-4, None, TINY),
        ("tiny_E", 2000, 192, 7.5e-3, Some(400), TINY),
    ] {
        let config = Config::read(&configs().join(format!("edm2_{name}.yaml"))).unwrap();
        assert_eq!(config.process, ProcessConfig::Edm(ddae_model::config::EdmConfig::published()));
        assert_eq!(config.network.network_graph(false).unwrap().parameter_count(), parameters, "{name}");
        let training = config.training;
        assert_eq!(training.grad_clip_norm, f64::INFINITY);
        assert_eq!((training.n_epoch, training.batch_size, training.warm_epoch), (n_epoch, batch_size, 200));
        assert_eq!((training.lrate, training.tref_epoch, training.ema), (lrate, tref_epoch, 0.9993));
    }
}

/// What the published code clips gradients to is part of the resolved configuration.
#[test]
fn gradients_of_edm2_are_not_clipped() {
    for (name, set, norm) in [
        ("demo.yaml", &[][..], 1.0),
        ("demo_dit.yaml", &[], 1.0),
        ("demo_unetc.yaml", &[], f64::INFINITY),
        ("edm2_cifar10_E.yaml", &[], f64::INFINITY),
        ("demo_unetg.yaml", &[], f64::INFINITY),
        ("demo_unetg.yaml", &["grad_clip_norm=2"], 2.0),
    ] {
        let set: Vec<Override> = set.iter().map(|text: &&str| text.parse().unwrap()).collect();
        let config = Config::read_with(&configs().join(name), &set).unwrap();
        assert_eq!(config.training.grad_clip_norm, norm, "{name}");
    }
    let demo = demo();
    assert_eq!(Config::parse(&demo, "demo", &[]).unwrap().training.grad_clip_norm, 1.0);
    let set = |norm: &str| Config::parse(&format!("{demo}\ngrad_clip_norm: {norm}\n"), "c.yaml", &[]);
    let unclipped = set(".inf").unwrap();
    assert_eq!(unclipped.training.grad_clip_norm, f64::INFINITY);
    let yaml = unclipped.to_yaml();
    assert!(yaml.contains("\ngrad_clip_norm: .inf\n"), "{yaml}");
    assert_eq!(Config::parse(&yaml, "again", &[]).unwrap(), unclipped);
    for (norm, shown) in [("0", "0"), ("-1", "-1"), (".nan", "NaN")] {
        assert_eq!(
            set(norm).unwrap_err().to_string(),
            format!("c.yaml: grad_clip_norm is {shown}; it must be above 0 (.inf for no clipping)")
        );
    }
}

#[test]
fn published_values_are_read() {
    let config = Config::read(&configs().join("EDM_ddpmpp_aug.yaml")).unwrap();
    let ProcessConfig::Edm(edm) = &config.process else { panic!("an EDM") };
    assert_eq!((edm.s_noise, edm.augment_prob, edm.sigma_max), (1.007, 0.12, 80.0));
    assert_eq!((config.augment_dim(), config.training.n_epoch), (9, 4000));
    assert_eq!(config.training.optim, Optim::Adam);
    assert_eq!(config.linear.as_ref().map(|l| l.blockname.as_str()), Some("out_7"));
    let with_label = config.network.network_graph(true).unwrap();
    let without = config.network.network_graph(false).unwrap();
    assert_eq!((with_label.parameter_count(), without.parameter_count()), (56_525_443, 56_524_291));
}

#[test]
fn a_configuration_survives_writing() {
    for entry in std::fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        let config = read(&path);
        assert_eq!(AnyConfig::parse(&config.to_yaml(), "again", &[]).unwrap(), config, "{}", path.display());
    }
}

#[test]
fn single_keys_are_set_from_outside() {
    let changes: Vec<Override> =
        ["network.dropout=0.2", "n_epoch=3", "optim_args.weight_decay=0.05", "network.ch_mults=[1, 1, 2]"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
    let config = Config::parse(&demo(), "demo", &changes).unwrap();
    assert_eq!((config.network.unet().expect("a UNet").dropout, config.training.n_epoch), (0.2, 3));
    assert_eq!(config.training.optim_args.weight_decay, 0.05);
    assert_eq!(config.network.unet().expect("a UNet").ch_mults, [1, 1, 2]);

    let refused = |text: &str| {
        let change: Override = text.parse().unwrap();
        Config::parse(&demo(), "demo", &[change]).unwrap_err().to_string()
    };
    for (set, wanted) in [
        ("network.droput=0.2", "there is no such key; did you mean 'dropout'?"),
        ("lrate.x=1", "cannot set lrate.x: lrate is a single value"),
        ("n_epoch=eight", "a whole number of 0 or more is wanted, and it is the text 'eight'"),
        (
            "network.n_channels=33",
            "network: n_channels is 33; it must be a multiple of 32 (GroupNorm has 32 groups)",
        ),
    ] {
        assert_eq!(refused(set), format!("--set {set}: {wanted}"));
    }
    // Of several, the one that brings it; and what the text says itself is blamed on none.
    let changes: Vec<Override> =
        ["flip=True", "ema=2", "n_epoch=3"].iter().map(|text| text.parse().unwrap()).collect();
    let read = |text: &str| Config::parse(text, "demo", &changes).unwrap_err().to_string();
    assert_eq!(read(&demo()), "--set ema=2: ema is 2; it must be in [0, 1)");
    let without = demo().replace("lrate:", "lrats:");
    assert_eq!(read(&without), "demo: lrats: there is no such key; did you mean 'lrate'?");
    let malformed = "dropout".parse::<Override>().unwrap_err();
    assert_eq!(malformed, "'dropout' is not key=value, as in network.dropout=0.2");
}

#[test]
fn a_wrong_configuration_is_named_with_its_key() {
    let demo = demo();
    let cases = [
        (demo.replace("    n_T: 1000\n", ""), "c.yaml: diffusion: the key 'n_T' is missing"),
        (
            demo.replace("\nn_epoch: 10", "\nn_epoch: eight"),
            "c.yaml: n_epoch: a whole number of 0 or more is wanted, and it is the text 'eight'",
        ),
        (
            demo.replace("model_type: DDPM", "model_type: VAE"),
            "c.yaml: model_type: 'VAE' is not known; there are DDPM and EDM",
        ),
        (demo.replace("n_channels: 64", "n_channels: 48"), "c.yaml: network: n_channels is 48"),
        (demo.replace("ch_mults: [1, 2, 2]", "ch_mults: [1, 2]"), "c.yaml: network: is_attn has 3 entries"),
        (demo.replace("ch_mults: [1, 2, 2]", "ch_mults: []"), "c.yaml: network: ch_mults is []"),
        (
            demo.replace("[1, 28, 28]", "[1, 27, 28]"),
            "c.yaml: network: 27x28 images cannot be halved 2 times",
        ),
        (
            demo.replace("betas: [1.0e-4, 0.02]", "betas: [0.02, 1.0e-4]"),
            "c.yaml: diffusion: betas is [0.02, 0.0001]",
        ),
        (demo.replace("ema: 0.995", "ema: 1.0"), "c.yaml: ema is 1"),
        (
            demo.replace("ch_mults: [1, 2, 2]", "ch_mults: [1, 2, 18446744073709551615]"),
            "c.yaml: network: n_channels 64 times ch_mults [1, 2, 18446744073709551615] is",
        ),
        (demo.replace("[1, 28, 28]", "[1, 28, 1000000000000]"), "c.yaml: network: image_shape is [1, 28,"),
        (
            demo.replace("n_blocks: 1", "n_blocks: 1000000"),
            "c.yaml: network: n_blocks is 1000000; it must be 1",
        ),
        (
            demo.replace("n_T: 1000\n", "n_T: 1000000000000\n"),
            "c.yaml: diffusion: n_T is 1000000000000; it must",
        ),
        (format!("{demo}optim_args: {{eps: -1}}\n"), "c.yaml: optim_args.eps is -1; it must be at least 0"),
        (format!("{demo}optim_args: {{weight_decay: .nan}}\n"), "c.yaml: optim_args.weight_decay is NaN"),
        (format!("{demo}\ntref_epoch: 0\n"), "c.yaml: tref_epoch is 0; it must be at least 1"),
        (format!("{demo}\nwarmup: 3\n"), "c.yaml: warmup: there is no such key"),
        ("[1, 2".to_string(), "c.yaml: line 2, column 1: not YAML"),
        (String::new(), "c.yaml: not a configuration"),
    ];
    for (text, start) in cases {
        let message = error_of(&text);
        assert!(message.starts_with(start), "{message}\nshould start with\n{start}");
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn noise_levels_that_are_no_numbers_are_named() {
    let read = |set: &str| {
        let change: Override = set.parse().unwrap();
        Config::read_with(&configs().join("EDM_ddpm.yaml"), &[change])
    };
    let message = read("diffusion.p_mean=.nan").unwrap_err().to_string();
    assert!(message.ends_with("diffusion: p_mean is NaN; it must be a finite number"), "{message}");
    let message = read("diffusion.S_max=.nan").unwrap_err().to_string();
    assert!(message.ends_with("diffusion: S_max is NaN; it must be a number"), "{message}");
    assert!(read("diffusion.S_max=.inf").is_ok());
}

#[test]
fn heads_must_fit_where_there_is_attention() {
    let read = |is_attn: &str| {
        let changes =
            ["network.attn_channels_per_head=128".to_string(), format!("network.is_attn={is_attn}")];
        let changes: Vec<Override> = changes.iter().map(|text| text.parse().unwrap()).collect();
        Config::parse(&demo(), "demo", &changes)
    };
    // 64, 128 and 128 channels.
    let config = read("[False, True, False]").unwrap();
    config.network.network_graph(false).unwrap();
    let message = read("[True, True, False]").unwrap_err().to_string();
    assert_eq!(
        message,
        "--set network.is_attn=[True, True, False]: network: attn_channels_per_head is 128, which does not divide 64 channels"
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.yaml");
    let message = Config::read(&missing).unwrap_err().to_string();
    assert!(message.contains("none.yaml") && message.contains("os error 2"), "{message}");
    let binary = folder.path().join("binary.yaml");
    std::fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    let message = Config::read(&binary).unwrap_err().to_string();
    assert!(message.ends_with("not a text file in UTF-8; a YAML configuration is wanted here"), "{message}");
}

#[test]
fn errors_of_a_file_say_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    let demo = demo();
    let place = |text: &str, key: &str| {
        let (number, line) =
            text.lines().enumerate().find(|(_, line)| line.trim_start().starts_with(key)).unwrap();
        (number + 1, line.len() - line.trim_start().len() + 1)
    };
    for (text, key, wanted) in [
        (demo.replace("\nn_epoch: 10", "\nn_epoch: ten"), "n_epoch", "n_epoch: a whole number"),
        (demo.replace("n_channels: 64", "n_channels: 48"), "n_channels", "network: n_channels is 48"),
        (demo.replace("    n_T: 1000\n", ""), "diffusion", "diffusion: the key 'n_T' is missing"),
        (demo.replace("n_blocks: 1", "n_block: 1"), "n_block:", "network.n_block: there is no such key"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let message = Config::read(&path).unwrap_err().to_string();
        let ((line, column), path) = (place(&text, key), path.display());
        let wanted = format!("{path}: line {line}, column {column}: {wanted}");
        assert!(message.starts_with(&wanted), "{message}\nshould start with\n{wanted}");
    }
    std::fs::write(&path, format!("\u{feff}{demo}")).unwrap();
    assert_eq!(Config::read(&path).unwrap(), Config::parse(&demo, "demo", &[]).unwrap());
}
