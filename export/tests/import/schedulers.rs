//! Schedulers of diffusers' folders, from `scheduler_config.json` to the numbers that exported graphs compute: held to the
//! network's own outputs, put together here.

use std::fs;

use ddae_model::tensor::Tensor;
use ddae_tests::cases::published::diffusers_ddpm;
use ddae_tests::{fixture, parameter_shapes, rule_weight, tolerance};
use serde_json::{Value, json};

use crate::place::{Place, distance};

/// A folder of a small UNet.
fn folder() -> Place {
    let place = Place::new();
    let weights: Vec<(String, Tensor)> = parameter_shapes("diffusers_ddpm")
        .into_iter()
        .map(|(name, shape)| (name.clone(), Tensor::f32(&shape, rule_weight(&name, &shape))))
        .collect();
    place.safetensors("m/diffusion_pytorch_model.safetensors", weights.iter().map(|(n, t)| (n.as_str(), t)));
    fs::write(place.path("m/config.json"), fixture("diffusers_ddpm").config["config"].to_string())
        .expect("a file");
    place.done("m --taps out_6 -o network.onnx");
    place
}

fn schedule(place: &Place, scheduler: &Value) {
    fs::write(place.path("m/scheduler_config.json"), scheduler.to_string()).expect("a file");
}

/// Some images in [-1, 1].
fn images() -> Tensor {
    let case = diffusers_ddpm();
    let (_, x) = &case.inputs[0];
    let values = x.as_f32().expect("f32").iter().map(|value| value.tanh()).collect();
    Tensor::f32(x.shape(), values)
}

/// `out_6` and `y` of the network for `x` at `t`.
fn network(place: &Place, x: &[f32], t: f32) -> [Tensor; 2] {
    let shape = images().shape().to_vec();
    let t = Tensor::f32(&shape[..1], vec![t; shape[0]]);
    let outputs = place.outputs("network.onnx", &[("x", Tensor::f32(&shape, x.to_vec())), ("t", t)]);
    ["out_6", "y"].map(|name| {
        let output = outputs.iter().find(|(known, _)| known == name);
        output.expect("an output").1.clone()
    })
}

/// Means over the pixels.
fn pooled(map: &Tensor) -> Tensor {
    let [batch, channels] = [map.shape()[0], map.shape()[1]];
    let values = map.as_f32().expect("f32");
    let pixels = values.len() / batch / channels;
    let means = values.chunks(pixels).map(|pixels| pixels.iter().sum::<f32>() / pixels.len() as f32);
    Tensor::f32(&[batch, channels], means.collect())
}

fn mixed(a: f64, x: &[f32], b: f64, y: &[f32]) -> Vec<f32> {
    x.iter().zip(y).map(|(&x, &y)| (a * f64::from(x) + b * f64::from(y)) as f32).collect()
}

#[test]
fn a_discrete_scheduler_to_the_numbers() {
    let place = folder();
    let image = images();
    let (shape, clean) = (image.shape().to_vec(), image.as_f32().expect("f32"));
    let noise: Vec<f32> = clean.iter().map(|value| 1.5 - 2.0 * value.abs()).collect();
    // What is left of the image after timestep 500, in float64 by the formulas of the papers.
    let (linear, scaled, rescaled) = (0.07779665836502386, 0.2763326838229746, 0.07524621570432667);
    for (scheduler, alpha_bar, prediction, bound) in [
        (json!({ "_class_name": "DDPMScheduler" }), linear, "epsilon", Some(1.0)),
        (json!({ "_class_name": "DDPMScheduler", "predict_epsilon": false }), linear, "sample", Some(1.0)),
        (
            json!({ "_class_name": "DDPMScheduler", "prediction_type": "sample", "clip_sample_range": 0.25 }),
            linear,
            "sample",
            Some(0.25),
        ),
        (
            json!({
                "_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true, "prediction_type": "v_prediction",
                "clip_sample": false, "timestep_spacing": "trailing"
            }),
            rescaled,
            "v_prediction",
            None,
        ),
        (
            json!({
                "_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "beta_start": 0.00085,
                "beta_end": 0.012, "clip_sample": true
            }),
            scaled,
            "epsilon",
            None,
        ),
        (
            json!({ "_class_name": "KDPM2DiscreteScheduler", "beta_schedule": "scaled_linear" }),
            scaled,
            "epsilon",
            None,
        ),
    ] {
        schedule(&place, &scheduler);
        let alpha_bar: f64 = alpha_bar;
        let (signal, sigma) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        // Features of a noised image.
        place.done("m --graph features --taps out_6 --timestep 500 -o features.onnx --force");
        let pixels = clean.iter().map(|value| (value + 1.0) / 2.0).collect();
        let inputs = [("image", Tensor::f32(&shape, pixels)), ("noise", Tensor::f32(&shape, noise.clone()))];
        let found = place.outputs("features.onnx", &inputs).remove(0).1;
        let x = mixed(signal, clean, sigma, &noise);
        let [map, y] = network(&place, &x, 500.0);
        let error = distance(&found, &pooled(&map));
        assert!(error <= 10.0 * tolerance::NETWORK, "{scheduler}: features {error:e}");
        // The image that a step finds in it.
        place.done("m --graph sampler -o sampler.onnx --force");
        let y = y.as_f32().expect("f32");
        let image = match prediction {
            "epsilon" => mixed(1.0 / signal, &x, -sigma / signal, y),
            "sample" => y.to_vec(),
            _ => mixed(signal, &x, -sigma, y),
        };
        let limit = |value: f32| bound.map_or(value, |bound: f32| value.clamp(-bound, bound));
        let image: Vec<f32> = image.into_iter().map(limit).collect();
        let zeros = || Tensor::f32(&shape, vec![0.0; x.len()]);
        let inputs = [
            ("x", Tensor::f32(&shape, x.clone())),
            ("noise", zeros()),
            ("carry", zeros()),
            ("t", Tensor::f32(&[1], vec![500.0])),
            ("preconditioning", Tensor::f32(&[2], vec![signal as f32, sigma as f32])),
            ("coefficients", Tensor::f32(&[5], vec![0.0, 1.0, 0.0, 0.0, 0.0])),
        ];
        let next = place.outputs("sampler.onnx", &inputs).remove(0).1;
        let error = distance(&next, &Tensor::f32(&shape, image));
        assert!(error <= 10.0 * tolerance::NETWORK, "{scheduler}: image {error:e}");
    }
}

#[test]
fn an_edm_scheduler_to_the_numbers() {
    let place = folder();
    let x = images();
    let (shape, values) = (x.shape().to_vec(), x.as_f32().expect("f32"));
    let (data, sigma) = (0.75_f64, 2.0_f64);
    schedule(
        &place,
        &json!({ "_class_name": "EDMEulerScheduler", "sigma_data": data, "sigma_min": 0.01, "sigma_max": 50.0 }),
    );
    place.done("m --graph sampler -o sampler.onnx");
    let config = place.json("inspect sampler.onnx")["metadata"]["ddae.config"].to_string();
    assert!(config.contains("sigma_min: 0.01") && config.contains("sigma_max: 50"), "{config}");
    // Equation 7 of arXiv 2206.00364 with table 1's EDM column.
    let variance = sigma * sigma + data * data;
    let (skip, out, c_in) = (data * data / variance, sigma * data / variance.sqrt(), 1.0 / variance.sqrt());
    let time = (sigma.ln() / 4.0) as f32;
    let [_, y] = network(&place, &mixed(c_in, values, 0.0, values), time);
    let denoised: Vec<f64> = mixed(skip, values, out, y.as_f32().expect("f32"))
        .into_iter()
        .map(|value| f64::from(value.clamp(-1.0, 1.0)))
        .collect();
    let zeros = || Tensor::f64(&shape, vec![0.0; values.len()]);
    let inputs = [
        ("x", Tensor::f64(&shape, values.iter().map(|&value| f64::from(value)).collect())),
        ("noise", Tensor::f32(&shape, vec![0.0; values.len()])),
        ("carry", zeros()),
        ("t", Tensor::f32(&[1], vec![time])),
        ("preconditioning", Tensor::f32(&[3], vec![c_in as f32, skip as f32, out as f32])),
        ("coefficients", Tensor::f64(&[7], vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])),
    ];
    let next = place.outputs("sampler.onnx", &inputs).remove(0).1.to_f64_vec();
    let (mut off, mut all) = (0.0, 0.0);
    for (found, expected) in next.iter().zip(&denoised) {
        off += (found - expected).powi(2);
        all += expected.powi(2);
    }
    let error = (off / all).sqrt();
    assert!(error <= 10.0 * tolerance::NETWORK, "{error:e}");
}
