//! Fixture cases of EDM2's networks: what they compute, features at a noise level, and the loss in which one learns how
//! uncertain it is of each level.

use ddae_model::config::EdmConfig;
use ddae_model::diffusion::edm::{Preconditioning, feature_sigmas};
use ddae_model::graph::{Graph, GraphError, Path, Shape, Value};
use ddae_model::networks::{
    Architecture, uncertainty_c, uncertainty_e, uncertainty_g, unet_c, unet_e, unet_g,
};
use ddae_model::tensor::{DType, Tensor};

use crate::imported::Case;
use crate::{Fixture, fixture, rule_weights};

type Built = Result<Value, GraphError>;

/// The cases.
pub const CASES: [&str; 6] =
    ["edm2c_tiny", "edm2e_tiny", "edm2g_tiny", "edm2c_full", "edm2e_full", "edm2g_full"];

/// The network of a case.
pub fn architecture(case: &Fixture) -> Architecture {
    let [net_type, network] = ["net_type", "network"].map(|key| case.config[key].clone());
    serde_json::from_value(serde_json::json!({"net_type": net_type, "network": network}))
        .expect("a network of EDM2")
}

fn process(case: &Fixture) -> EdmConfig {
    serde_json::from_value(case.config["diffusion"].clone()).expect("EDM's process")
}

/// The bare network with the means of its layers.
pub fn network(name: &str) -> Case {
    let case = fixture(name);
    let mut graph = architecture(&case).network_graph(false).expect("a graph");
    let mut expected = vec![("y".to_string(), case.tensor("output.y"))];
    for (tap, map) in graph.taps().to_vec() {
        let pooled = graph.pool(map).expect("a feature map");
        graph.output(&tap, pooled);
        expected.push((tap.clone(), case.tensor(&format!("output.pooled.{tap}"))));
    }
    Case {
        name: name.to_string(),
        weights: rule_weights(&graph),
        inputs: vec![("x", case.tensor("input.x")), ("t", case.tensor("input.t"))],
        expected,
        graph,
    }
}

/// The mean of a layer for images noised as step 4 of the feature grid says.
pub fn feature(name: &str) -> Case {
    let case = fixture(name);
    let prefix = "output.feature_k4.";
    let theirs = case.names(prefix).pop().expect("a feature");
    let tap = theirs.strip_prefix(prefix).expect("the prefix").to_string();
    let config = process(&case);
    let sigma = feature_sigmas(&config)[4] as f32;
    let level = Preconditioning::at(&config, sigma);
    let build = || -> Result<Graph, GraphError> {
        let mut g = Graph::new();
        let (image, noise) = images(&mut g, &case)?;
        let noise = g.affine(noise, sigma.into(), 0.0)?;
        let x = g.add(image, noise)?;
        let x = g.affine(x, level.c_in.into(), 0.0)?;
        let c_noise = g.constant(Tensor::f32(&[1], vec![level.c_noise]))?;
        denoiser(&mut g, &architecture(&case), x, c_noise)?;
        let map = g.find_tap(&tap)?;
        let pooled = g.pool(map)?;
        g.output(&format!("pooled_{tap}"), pooled);
        g.keep(&[&format!("pooled_{tap}")])
    };
    let graph = build().expect("a graph");
    Case {
        name: format!("{name}, a feature"),
        weights: rule_weights(&graph),
        inputs: vec![("image", case.tensor("input.image")), ("noise", case.tensor("input.noise"))],
        expected: vec![(format!("pooled_{tap}"), case.tensor(&theirs))],
        graph,
    }
}

/// The loss of each image, `loss [B]`. What was published is their mean.
pub fn loss(name: &str) -> Case {
    let case = fixture(name);
    let graph = loss_graph(&case).expect("a graph");
    Case {
        name: format!("{name}, its loss"),
        weights: rule_weights(&graph),
        inputs: ["image", "noise", "level"]
            .map(|input| (input, case.tensor(&format!("input.{input}"))))
            .to_vec(),
        expected: vec![("loss".to_string(), case.tensor("output.loss"))],
        graph,
    }
}

impl Case {
    /// The same case with its only output, one number per image, replaced by its mean.
    ///
    /// # Panics
    /// When there is another output.
    pub fn check_mean(&self, outputs: &[(String, Tensor)]) {
        let [(name, losses)] = outputs else { panic!("{}: {} outputs", self.name, outputs.len()) };
        let losses = losses.to_f64_vec();
        let mean = losses.iter().sum::<f64>() / losses.len() as f64;
        self.check(&[(name.clone(), Tensor::f32(&[1], vec![mean as f32]))]);
    }
}

/// `mean(weight (D(x) - image)^2 / exp(u) + u)` of each image, with EDM's noise, preconditioning and weight (arXiv
/// 2206.00364, table 1).
fn loss_graph(case: &Fixture) -> Result<Graph, GraphError> {
    let (config, architecture) = (process(case), architecture(case));
    let mut g = Graph::new();
    let (image, noise) = images(&mut g, case)?;
    let level = g.input("level", DType::F32, Shape::batch(&[]))?;
    let data = config.sigma_data;
    let ln_sigma = g.affine(level, config.p_std, config.p_mean)?;
    let sigma = g.exp(ln_sigma)?;
    let variance = g.mul(sigma, sigma)?;
    let variance = g.affine(variance, 1.0, data * data)?;
    let deviation = g.sqrt(variance)?;
    let per_image = |g: &mut Graph, x: Value| g.per_picture(x);
    let (by_sigma, by_deviation) = (per_image(&mut g, sigma)?, per_image(&mut g, deviation)?);
    let by_variance = per_image(&mut g, variance)?;

    let noise = g.mul(noise, by_sigma)?;
    let noisy = g.add(image, noise)?;
    let x = g.div(noisy, by_deviation)?;
    let c_noise = g.affine(ln_sigma, 0.25, 0.0)?;
    let y = denoiser(&mut g, &architecture, x, c_noise)?;
    let c_out = g.affine(by_sigma, data, 0.0)?;
    let c_out = g.div(c_out, by_deviation)?;
    let out = g.mul(y, c_out)?;
    let skip = g.affine(noisy, data * data, 0.0)?;
    let skip = g.div(skip, by_variance)?;
    let denoised = g.add(skip, out)?;

    let error = g.sub(denoised, image)?;
    let error = g.mul(error, error)?;
    let error = g.mean(error, &[1, 2, 3])?;
    let scaled = g.affine(sigma, data, 0.0)?;
    let scaled = g.mul(scaled, scaled)?;
    let weight = g.div(variance, scaled)?;
    let error = g.mul(weight, error)?;
    let u = uncertainty(&mut g, &architecture, c_noise)?;
    let spread = g.exp(u)?;
    let error = g.div(error, spread)?;
    let loss = g.add(error, u)?;
    g.output("loss", loss);
    g.keep(&["loss"])
}

/// The inputs `image`, in [0, 1], as the process has it, in [-1, 1]; and `noise`.
fn images(g: &mut Graph, case: &Fixture) -> Result<(Value, Value), GraphError> {
    let shape = Shape::batch(&architecture(case).picture().expect("images"));
    let image = g.input("image", DType::F32, shape.clone())?;
    let noise = g.input("noise", DType::F32, shape)?;
    Ok((g.affine(image, 2.0, -1.0)?, noise))
}

fn denoiser(g: &mut Graph, architecture: &Architecture, x: Value, c_noise: Value) -> Built {
    match architecture {
        Architecture::UNetC(config) => unet_c(g, &Path::root(), config, x, c_noise),
        Architecture::UNetE(config) => unet_e(g, &Path::root(), config, x, c_noise),
        Architecture::UNetG(config) => unet_g(g, &Path::root(), config, x, c_noise),
        other => panic!("{} is no network of EDM2", other.name()),
    }
}

fn uncertainty(g: &mut Graph, architecture: &Architecture, c_noise: Value) -> Built {
    match architecture {
        Architecture::UNetC(_) => uncertainty_c(g, &Path::root(), c_noise),
        Architecture::UNetE(_) => uncertainty_e(g, &Path::root(), c_noise),
        Architecture::UNetG(_) => uncertainty_g(g, &Path::root(), c_noise),
        other => panic!("{} is no network of EDM2", other.name()),
    }
}
