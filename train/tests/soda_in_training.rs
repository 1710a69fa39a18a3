//! SODA's encoder in training through libtorch, against what the published code computed.

mod torch_case;

use ddae_tests::cases::published;
use ddae_tests::{fixture, relative_error, tolerance};
use ddae_train::torch::{Mode, Precision};
use torch_case::{LAYOUTS, parameters, run};

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
