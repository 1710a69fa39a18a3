/// Means and standard deviations by which encoders and classifiers normalise a data set's images:
/// `(x - mean) / std` per channel, with x in [0, 1].
///
/// Diffusion networks do not use it: they see `2 x - 1`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Mean of the red, green and blue channel.
    pub mean: [f32; 3],
    /// Standard deviation of the red, green and blue channel.
    pub std: [f32; 3],
}

impl Normalisation {
    /// CIFAR-10, as the published SODA configurations use it.
    pub const CIFAR10: Normalisation =
        Normalisation { mean: [0.4914, 0.4822, 0.4465], std: [0.2023, 0.1994, 0.2010] };
    /// CIFAR-100, as the published SODA configurations use it.
    pub const CIFAR100: Normalisation =
        Normalisation { mean: [0.5071, 0.4865, 0.4409], std: [0.2009, 0.1984, 0.2023] };
    /// Tiny-ImageNet, as the published SODA configurations use it.
    pub const TINY_IMAGENET: Normalisation =
        Normalisation { mean: [0.4802, 0.4481, 0.3975], std: [0.2302, 0.2265, 0.2262] };
}
