//! SODA's networks, the noise-conditional classifiers and diffusers' UNet through their ONNX files in ONNX Runtime,
//! against what the published code computed.

mod onnx;

use ddae_export::lower::Options;
use ddae_tests::guided::soda_sample;
use ddae_tests::imported::Case;
use ddae_tests::published;
use onnx::load;

/// The case through one file, whole and with another batch size.
fn check(case: &Case) {
    let mut network = load(&case.graph, &case.weights, Options::default());
    for case in [case, &case.last_sample()] {
        case.check(&network.run(&case.inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name)));
    }
}

#[test]
fn soda_net() {
    check(&published::soda_encoder());
    check(&published::soda_decoder());
}

#[test]
fn soda_sampling() {
    let case = soda_sample();
    let mut network = load(&case.graph, &case.weights, Options::default());
    case.check(|inputs| network.run(inputs));
}

#[test]
fn wrn_noise() {
    check(&published::wrn_noise());
}

#[test]
fn noise_mlp() {
    check(&published::noise_mlp());
}

#[test]
fn diffusers_ddpm() {
    check(&published::diffusers_ddpm());
}
