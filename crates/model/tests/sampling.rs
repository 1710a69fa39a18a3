//! The sampling loop: DPM-Solver++ through its graphs, graphs of earlier versions, and graphs that are no step.

use std::convert::Infallible;

use ddae_model::config::{Config, ProcessConfig};
use ddae_model::diffusion::edm::{Preconditioning, grid};
use ddae_model::diffusion::sampler::{RunError, SamplerBackend, ddim, dpm_solver};
use ddae_model::diffusion::{SamplerPlan, ddpm::Tables, sampler_graph};
use ddae_model::reference;
use ddae_model::tensor::Tensor;
use ddae_tests::cases::Run;
use ddae_tests::cases::samplers::Calls;
use ddae_tests::{fixture, relative_error, rule_values, rule_weights, tolerance};

const STEPS: usize = 5;

/// A small run of the fixtures and the shape of two images.
fn run_of(name: &str) -> (Config, [usize; 4]) {
    let config = fixture(name).run_config();
    let [c, h, w] = config.image_shape();
    (config, [2, c, h, w])
}

fn noise(_: usize, values: &mut [f32]) {
    let count = values.len();
    values.copy_from_slice(&rule_values("sampling", count, -1.7, 1.7));
}

/// The sampler graph in the reference interpreter.
fn step(config: &Config) -> Run {
    let graph = sampler_graph(config).expect("a graph");
    let weights = rule_weights(&graph);
    Box::new(move |inputs| reference::run::<f32>(&graph, &weights, inputs).expect("a step"))
}

/// The network's result for images `x` at the scalar `t`.
fn predicted(config: &Config, shape: [usize; 4], x: &[f64], t: f32) -> Vec<f64> {
    let graph = config.network.network_graph(false).expect("a network");
    let x = Tensor::f32(&shape, x.iter().map(|&x| x as f32).collect());
    let inputs = [("x", x), ("t", Tensor::f32(&[2], vec![t; 2]))];
    reference::run::<f32>(&graph, &rule_weights(&graph), &inputs).expect("a run").remove(0).1.to_f64_vec()
}

/// DPM-Solver++(2M) as arXiv 2211.01095, algorithm 2, writes it, with the denoised images of `denoise(step, x)` at levels
/// of `(alpha, sigma)`; first order at both ends.
fn by_hand(levels: &[(f64, f64)], start: Vec<f64>, denoise: impl Fn(usize, &[f64]) -> Vec<f64>) -> Vec<f64> {
    let lambda = |i: usize| (levels[i].0 / levels[i].1).ln();
    let (mut x, mut before) = (start, Vec::new());
    for i in 0..levels.len() - 1 {
        let (alpha, sigma) = levels[i + 1];
        let images = denoise(i, &x);
        let is_last = sigma == 0.0;
        let h = if is_last { f64::INFINITY } else { lambda(i + 1) - lambda(i) };
        let factor = if i == 0 || is_last { 0.0 } else { h / (2.0 * (lambda(i) - lambda(i - 1))) };
        let mixed = |k: usize, d: f64| (1.0 + factor) * d - factor * before.get(k).copied().unwrap_or(0.0);
        let next = |k: usize| sigma / levels[i].1 * x[k] - alpha * ((-h).exp() - 1.0) * mixed(k, images[k]);
        x = (0..x.len()).map(next).collect();
        before = images;
    }
    x.into_iter().map(|x| (x + 1.0) / 2.0).collect()
}

fn start(shape: [usize; 4], scale: f64) -> Vec<f64> {
    let mut values = vec![0.0; shape.iter().product()];
    noise(0, &mut values);
    values.into_iter().map(|z| f64::from(z) * scale).collect()
}

fn drawn(config: &Config, plan: &SamplerPlan, shape: [usize; 4]) -> Vec<f64> {
    plan.run(&mut Calls(&mut step(config)), shape, &[], noise).expect("images")
}

#[test]
fn dpm_solver_of_a_ddpm_is_the_published_algorithm() {
    let (config, shape) = run_of("ddpm_loss_features");
    let ProcessConfig::Ddpm(ddpm) = &config.process else { panic!("a DDPM") };
    let tables = Tables::training(ddpm);
    let times = [1000, 800, 600, 401, 201];
    let of = |t: usize| {
        let alpha_bar = f64::from(tables.alpha_bar[t]);
        (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt())
    };
    let levels: Vec<(f64, f64)> = times.iter().map(|&t| of(t)).chain([(1.0, 0.0)]).collect();
    let denoise = |i: usize, x: &[f64]| {
        let (alpha, sigma) = levels[i];
        let eps = predicted(&config, shape, x, times[i] as f32 / 1000.0);
        x.iter().zip(eps).map(|(x, eps)| ((x - sigma * eps) / alpha).clamp(-1.0, 1.0)).collect()
    };
    let expected = by_hand(&levels, start(shape, 1.0), denoise);
    let plan = dpm_solver(&config.process, STEPS).expect("a plan");
    assert!(plan.carries);
    let error = relative_error(&drawn(&config, &plan, shape), &expected);
    assert!(error <= tolerance::SAMPLER, "{error:e}");
}

#[test]
fn dpm_solver_of_an_edm_is_the_published_algorithm() {
    let (config, shape) = run_of("edm_loss_features");
    let ProcessConfig::Edm(edm) = &config.process else { panic!("an EDM") };
    let sigmas = grid(edm, STEPS);
    let levels: Vec<(f64, f64)> = sigmas.iter().map(|&sigma| (1.0, sigma)).collect();
    let denoise = |i: usize, x: &[f64]| {
        let p = Preconditioning::at(edm, sigmas[i] as f32);
        let input: Vec<f64> = x.iter().map(|x| f64::from(p.c_in) * x).collect();
        let f = predicted(&config, shape, &input, p.c_noise);
        let denoised = x.iter().zip(f).map(|(x, f)| f64::from(p.c_skip) * x + f64::from(p.c_out) * f);
        denoised.map(|d| d.clamp(-1.0, 1.0)).collect()
    };
    let expected = by_hand(&levels, start(shape, sigmas[0]), denoise);
    let plan = dpm_solver(&config.process, STEPS).expect("a plan");
    let error = relative_error(&drawn(&config, &plan, shape), &expected);
    assert!(error <= tolerance::SAMPLER, "{error:e}");
}

/// Gives `results` whatever it is asked.
struct Fixed {
    carries: bool,
    results: Vec<Tensor>,
    asked: Vec<(String, Vec<usize>)>,
}

impl SamplerBackend for Fixed {
    type Value = Tensor;
    type Error = Infallible;

    fn carries(&self) -> bool {
        self.carries
    }

    fn upload(&self, tensor: Tensor) -> Result<Tensor, Infallible> {
        Ok(tensor)
    }

    fn step(&mut self, inputs: &[(&str, &Tensor)], _last: bool) -> Result<Vec<Tensor>, Infallible> {
        self.asked =
            inputs.iter().map(|(name, tensor)| (name.to_string(), tensor.shape().to_vec())).collect();
        Ok(self.results.clone())
    }

    fn download(&self, value: Tensor) -> Result<Tensor, Infallible> {
        Ok(value)
    }
}

#[test]
fn graphs_that_are_no_step_of_the_plan_are_refused() {
    let (config, shape) = run_of("ddpm_loss_features");
    let ProcessConfig::Ddpm(ddpm) = &config.process else { panic!("a DDPM") };
    let plan = ddim(ddpm, 2, 0.0).expect("a plan");
    let solver = dpm_solver(&config.process, 2).expect("a plan");
    let good = || Tensor::f32(&shape, vec![0.5; shape.iter().product()]);
    let small = Tensor::f32(&[1], vec![0.5]);
    for (plan, carries, results, message) in [
        (&plan, true, vec![], "it gives 0 results for 2"),
        (&plan, true, vec![good()], "it gives 1 results for 2"),
        (&plan, false, vec![good(), good()], "it gives 2 results for 1"),
        (&plan, true, vec![small.clone(), good()], "it gives f32 [1] for images [2, 3, 16, 16]"),
        (
            &solver,
            false,
            vec![good()],
            "this sampler needs a graph with the input 'carry', which it does not have",
        ),
    ] {
        let mut backend = Fixed { carries, results, asked: vec![] };
        let refused = plan.run(&mut backend, shape, &[], noise).expect_err("no step");
        assert_eq!(refused, RunError::Graph(message.to_string()));
    }
}

/// Sampler graphs of DDPMs that earlier versions exported take four coefficients and carry nothing.
#[test]
fn graphs_of_earlier_versions_are_drawn_with() {
    let (config, shape) = run_of("ddpm_loss_features");
    let ProcessConfig::Ddpm(ddpm) = &config.process else { panic!("a DDPM") };
    let plan = ddim(ddpm, 3, 0.5).expect("a plan");
    let result = Tensor::f32(&shape, vec![0.5; shape.iter().product()]);
    let mut backend = Fixed { carries: false, results: vec![result], asked: vec![] };
    let images = plan.run(&mut backend, shape, &[], noise).expect("images");
    assert!(images.iter().all(|&x| x == 0.75));
    let names: Vec<&str> = backend.asked.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x", "noise", "t", "preconditioning", "coefficients"]);
    assert_eq!(backend.asked[4].1, [4]);
}
