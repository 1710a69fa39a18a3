//! SODA's networks, the noise-conditional classifiers and diffusers' UNet through libtorch, against what the published
//! code computed.

mod torch_case;

use ddae_tests::{fixture, guided, published, relative_error, tolerance};
use ddae_train::torch::{Mode, Network, Parameters, Precision, TorchError, convert};
use tch::{Device, Kind, Tensor};
use torch_case::{LAYOUTS, check, parameters, run};

#[test]
fn soda_net() {
    check(&published::soda_encoder());
    check(&published::soda_decoder());
}

/// The latent by the batch's statistics, and the running ones after one step towards them.
#[test]
fn soda_net_in_training() {
    let (stored, case) = (fixture("soda_net"), published::soda_encoder());
    let training = Mode { train: true, precision: Precision::Full };
    for layout in LAYOUTS {
        let parameters = parameters(&case, layout);
        let outputs = run(&case, &parameters, layout, training);
        let after = parameters.to_weights().expect("weights");
        let names = stored.names("output.train.");
        assert_eq!(names.len(), 5);
        for name in names {
            let ours = match name.strip_prefix("output.train.").expect("the prefix") {
                "z" => &outputs[0].1,
                buffer => after.get(&format!("encoder.{buffer}")).expect("a buffer"),
            };
            let (shape, theirs) = stored.f32(&name);
            let error = relative_error(ours.as_f32().expect("f32"), &theirs);
            println!("{name} {layout:?}: {error:.1e}");
            assert_eq!(ours.shape(), shape, "{name}");
            assert!(error <= tolerance::NETWORK, "{name} {layout:?}: relative error {error:e}");
        }
    }
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

#[test]
fn soda_sample() {
    let case = guided::soda_sample();
    for layout in LAYOUTS {
        let (cpu, kind) = (Device::Cpu, Kind::Float);
        let network = Network::new(&case.graph, cpu, kind, layout).expect("a network");
        let parameters =
            Parameters::new(&case.graph, &case.weights, cpu, kind, layout, false).expect("parameters");
        case.check(|inputs| {
            let tensors = inputs.iter().map(|(name, array)| Ok((*name, convert::to_torch(array)?)));
            let tensors = tensors.collect::<Result<Vec<(&str, Tensor)>, TorchError>>()?;
            let inputs: Vec<(&str, &Tensor)> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
            let results = network.forward(&parameters, &inputs, Mode::EVALUATION)?;
            let arrays = results.iter().map(convert::from_torch).collect::<Result<Vec<_>, TorchError>>()?;
            Ok::<_, TorchError>(network.outputs().map(str::to_string).zip(arrays).collect())
        });
    }
}
