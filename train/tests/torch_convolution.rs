//! Convolutions where libtorch's own kernels fail.

use ddae_model::graph::{Conv, Graph, Path, Shape};
use ddae_model::tensor::DType;
use ddae_model::weights::Weights;
use ddae_train::torch::{Layout, Mode, Network, Parameters, Precision};
use tch::{Device, Kind, Tensor};

/// In 16 bits, oneDNN left the gradients of weights that only see padding as they were in memory.
#[test]
fn gradients_of_a_strided_convolution_of_a_single_pixel() {
    tch::manual_seed(1);
    for (height, width) in [(1, 1), (1, 4), (3, 1), (2, 2)] {
        let mut g = Graph::new();
        let x = g.input("x", DType::F32, Shape::batch(&[64, height, width])).expect("x");
        let conv = Conv::same(96, 3).stride(2).without_bias();
        let y = g.conv2d(&Path::root().at("conv"), x, conv).expect("a convolution");
        g.output("y", y);
        let weights = Weights::initial(&g, 0);
        let x = Tensor::randn([8, 64, height as i64, width as i64], (Kind::Float, Device::Cpu));
        for layout in [Layout::Contiguous, Layout::ChannelsLast] {
            let network = Network::new(&g, Device::Cpu, Kind::Float, layout).expect("a network");
            let gradient = |precision| {
                let parameters = Parameters::new(&g, &weights, Device::Cpu, Kind::Float, layout, true)
                    .expect("parameters");
                let mode = Mode { train: true, precision };
                let y = network.forward(&parameters, &[("x", &x)], mode).expect("a run").remove(0);
                y.square().sum(Kind::Float).backward();
                parameters.gradients().expect("gradients").remove(0)
            };
            let full = gradient(Precision::Full);
            for precision in [Precision::Bf16, Precision::Fp16] {
                // Memory that a new gradient finds is not all zeros.
                let filled: Vec<Tensor> =
                    (0..8).map(|_| Tensor::full([96, 64, 3, 3], 1e30, (Kind::Float, Device::Cpu))).collect();
                drop(filled);
                let difference = (gradient(precision) - &full).norm().double_value(&[]);
                let error = difference / full.norm().double_value(&[]);
                assert!(error < 0.02, "{height}x{width} {layout:?} {precision:?}: relative error {error:e}");
            }
        }
    }
}
