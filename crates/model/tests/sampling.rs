//! The sampling loop: DPM-Solver++ through its graphs, graphs of earlier versions, and graphs that are no step.

use std::convert::Infallible;

use ddae_model::config::{Clip, Config, Prediction, ProcessConfig, RunConfig, VarianceType};
use ddae_model::diffusion::edm::{Preconditioning, grid};
use ddae_model::diffusion::sampler::{RunError, SamplerBackend, ancestral, ddim, dpm_solver};
use ddae_model::diffusion::{SamplerPlan, ddpm::Tables, loss_graph, sampler_graph};
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

/// What a step takes for the image, and what a loss compares, for each thing that a network may predict.
#[test]
fn noise_velocity_and_image_are_predicted() {
    let (mut config, shape) = run_of("ddpm_loss_features");
    let (t, timestep) = (0.4, 400);
    let ProcessConfig::Ddpm(ddpm) = config.process.clone() else { panic!("a DDPM") };
    let tables = Tables::training(&ddpm);
    let (signal, spread) = (tables.sqrt_alpha_bar[timestep], tables.sqrt_one_minus_alpha_bar[timestep]);
    let x = start(shape, 1.0);
    let count = x.len();
    let found = predicted(&config, shape, &x, t);
    let (a, b) = (f64::from(signal), f64::from(spread));
    for prediction in [Prediction::Epsilon, Prediction::VPrediction, Prediction::Sample] {
        for (clip_sample, bound) in
            [(Clip::Unit(true), 1.0), (Clip::Unit(false), f64::INFINITY), (Clip::Range(0.3), 0.3)]
        {
            let ddpm = ddae_model::config::DdpmConfig { prediction, clip_sample, ..ddpm.clone() };
            config.process = ProcessConfig::Ddpm(ddpm.clone());
            let image = |x: f64, found: f64| {
                let image = match prediction {
                    Prediction::Epsilon => (x - b * found) / a,
                    Prediction::VPrediction => a * x - b * found,
                    Prediction::Sample => found,
                };
                image.clamp(-bound, bound)
            };
            let images: Vec<f64> = x.iter().zip(&found).map(|(&x, &found)| image(x, found)).collect();
            let f32s = |values: &[f64]| Tensor::f32(&shape, values.iter().map(|&x| x as f32).collect());
            let zeros = || Tensor::f32(&shape, vec![0.0; count]);
            let inputs = [
                ("x", f32s(&x)),
                ("noise", zeros()),
                ("t", Tensor::f32(&[1], vec![t])),
                ("preconditioning", Tensor::f32(&[2], vec![signal, spread])),
                ("coefficients", Tensor::f32(&[5], vec![0.0, 1.0, 0.0, 0.0, 0.0])),
                ("carry", zeros()),
            ];
            let next = step(&config)(&inputs).remove(0).1.to_f64_vec();
            let error = relative_error(&next, &images);
            assert!(error <= tolerance::NETWORK, "{prediction:?} {clip_sample:?}: {error:e}");

            // Of an image and noise, the loss is the distance to what should be found.
            let graph = loss_graph(&RunConfig::Diffusion(Box::new(config.clone())), false).expect("a graph");
            let (clean, eps) = (rule_values("clean", count, -1.0, 1.0), rule_values("eps", count, -1.7, 1.7));
            let noised: Vec<f64> =
                clean.iter().zip(&eps).map(|(&x0, &eps)| a * f64::from(x0) + b * f64::from(eps)).collect();
            let found = predicted(&config, shape, &noised, t);
            let target = |i: usize| {
                let (x0, eps) = (f64::from(clean[i]), f64::from(eps[i]));
                match prediction {
                    Prediction::Epsilon => eps,
                    Prediction::VPrediction => a * eps - b * x0,
                    Prediction::Sample => x0,
                }
            };
            let each = count / shape[0];
            let losses: Vec<f64> = (0..shape[0])
                .map(|k| {
                    (k * each..(k + 1) * each).map(|i| (target(i) - found[i]).powi(2)).sum::<f64>()
                        / each as f64
                })
                .collect();
            let image = clean.iter().map(|value| (value + 1.0) / 2.0).collect();
            let inputs = [
                ("image", Tensor::f32(&shape, image)),
                ("noise", Tensor::f32(&shape, eps)),
                ("level", Tensor::i64(&[shape[0]], vec![timestep as i64; shape[0]])),
            ];
            let weights = rule_weights(&graph);
            let loss =
                reference::run::<f32>(&graph, &weights, &inputs).expect("a loss").remove(0).1.to_f64_vec();
            let error = relative_error(&loss, &losses);
            assert!(error <= tolerance::NETWORK, "{prediction:?}: {error:e}");
        }
    }
}

/// Where nothing is left of the image at the last timestep, sampling begins with what the network makes of noise alone.
#[test]
fn sampling_begins_without_a_signal() {
    let ddpm = ddae_model::config::DdpmConfig {
        zero_snr: true,
        prediction: Prediction::VPrediction,
        variance_type: VarianceType::FixedSmall,
        ..ddae_model::config::DdpmConfig::published(ddae_model::config::Timesteps::Index)
    };
    let tables = Tables::training(&ddpm);
    let plan = ancestral(&ddpm);
    assert!(plan.steps.iter().all(|step| step.coefficients.iter().all(|c| c.is_finite())));
    // x0 and noise of q(x_998 | x_999, x0) (arXiv 2006.11239, eq. 7), as x_999 tells nothing.
    let before = f64::from(tables.alpha_bar[998]);
    let c = &plan.steps[0].coefficients;
    assert_eq!((c[0], c[2], plan.steps[0].preconditioning[0]), (0.0, 0.0, 0.0));
    assert!((c[1] - before.sqrt()).abs() < 1e-9 && (c[3] - (1.0 - before).sqrt()).abs() < 1e-6, "{c:?}");
    // Later steps have the posterior's own variance, which is smaller than beta.
    let t = 500;
    let step = &plan.steps[999 - t];
    let (beta, at, au) =
        (f64::from(tables.beta[t]), f64::from(tables.alpha_bar[t]), f64::from(tables.alpha_bar[t - 1]));
    assert!((step.coefficients[3] - (beta * (1.0 - au) / (1.0 - at)).sqrt()).abs() < 1e-9);
    // DDIM begins there too, however few its steps are.
    for (timesteps, steps) in [
        (ddae_model::config::Timesteps::Index, 50),
        (ddae_model::config::Timesteps::Index, 7),
        (ddae_model::config::Timesteps::Index, 1),
        (ddae_model::config::Timesteps::Fraction, 50),
        (ddae_model::config::Timesteps::Fraction, 1000),
    ] {
        let plan = ddim(&ddae_model::config::DdpmConfig { timesteps, ..ddpm.clone() }, steps, 0.5);
        let plan = plan.expect("a plan");
        assert_eq!(plan.steps.len(), steps);
        assert_eq!(plan.steps[0].preconditioning[0], 0.0, "{timesteps:?} {steps}");
        assert!(plan.steps.windows(2).all(|pair| pair[0].t > pair[1].t));
        assert!(plan.steps.iter().all(|step| step.coefficients.iter().all(|c| c.is_finite())));
        assert_eq!(plan.steps.last().and_then(|step| step.noise), None);
    }
    // 999, 979, …, 19.
    let times: Vec<f32> = ddim(&ddpm, 50, 0.0).expect("a plan").steps.iter().map(|step| step.t).collect();
    assert_eq!((times[0], times[1], times[49]), (999.0, 979.0, 19.0));
}
