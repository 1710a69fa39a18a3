//! Fixtures: tensors computed by the published code, and the rule that gives every parameter its value.
//!
//! `fixtures/README.md` says what each case is. A test compares what this project computes with a case's
//! `output.*` tensors, with a tolerance from [`tolerance`].

use std::path::PathBuf;

use safetensors::{Dtype, SafeTensors};

pub mod cases;
pub mod golden;
pub mod ops;
pub mod programs;
pub mod refusals;

pub use cases::rule_weights;

/// Named tolerances on [`relative_error`].
pub mod tolerance {
    /// One network call or one loss, in float32.
    pub const NETWORK: f64 = 1e-5;
    /// A whole sampling run, in float32.
    pub const SAMPLER: f64 = 1e-4;
    /// The same arithmetic in another order, in float32.
    pub const CLOSE: f64 = 2e-6;
    /// Finite differences against a gradient, in float64.
    pub const GRADIENT: f64 = 1e-6;
}

/// The configuration of a small SODA (`configs/tiny_soda.yaml`).
pub const TINY_SODA: &str = include_str!("../configs/tiny_soda.yaml");

/// The folder that holds the fixtures.
pub fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

/// One case: the tensors and the configuration it belongs to.
pub struct Fixture {
    bytes: Vec<u8>,
    /// The network, process or protocol of the case.
    pub config: serde_json::Value,
}

/// Reads the case `name` (`unet_tiny`, …).
///
/// # Panics
/// When the case does not exist or cannot be read: a test cannot go on without it.
pub fn fixture(name: &str) -> Fixture {
    let path = fixtures().join(format!("{name}.safetensors"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a safetensors header");
    let metadata = metadata.metadata().clone().unwrap_or_default();
    let config = serde_json::from_str(&metadata["config"]).expect("the case's config is JSON");
    Fixture { bytes, config }
}

impl Fixture {
    fn stored(&self, name: &str, dtype: Dtype) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(view.dtype(), dtype, "{name}");
        (view.shape().to_vec(), view.data().to_vec())
    }

    /// Shape and values of a float32 tensor.
    pub fn f32(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let (shape, bytes) = self.stored(name, Dtype::F32);
        (shape, bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }

    /// Shape and values of a float64 tensor.
    pub fn f64(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let (shape, bytes) = self.stored(name, Dtype::F64);
        (shape, bytes.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect())
    }

    /// Shape and values of an int64 tensor.
    pub fn i64(&self, name: &str) -> (Vec<usize>, Vec<i64>) {
        let (shape, bytes) = self.stored(name, Dtype::I64);
        (shape, bytes.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    }

    /// Shape and values of a uint8 tensor.
    pub fn u8(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        self.stored(name, Dtype::U8)
    }

    /// The names of the case's tensors that start with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).expect("a safetensors file");
        let mut names: Vec<String> =
            file.names().into_iter().filter(|n| n.starts_with(prefix)).map(str::to_string).collect();
        names.sort();
        names
    }
}

/// Names and shapes of a case's parameters and buffers, under the published names.
pub fn parameter_shapes(case: &str) -> Vec<(String, Vec<usize>)> {
    let path = fixtures().join("parameters").join(format!("{case}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    map.into_iter()
        .map(|(name, shape)| {
            let shape =
                shape.as_array().expect("a shape").iter().map(|d| d.as_u64().expect("a size") as usize);
            (name, shape.collect())
        })
        .collect()
}

/// The value range of the parameter `name`: see `fixtures/README.md`.
fn range(name: &str, shape: &[usize]) -> (f64, f64) {
    if shape.len() >= 2 {
        let fan_in: usize = shape[1..].iter().product();
        let a = (3.0 / fan_in as f64).sqrt();
        (-a, a)
    } else if name.ends_with("running_var") {
        (1.0, 1.5)
    } else if name.ends_with(".frequencies") {
        (-3.0, 3.0)
    } else if name.ends_with(".phases") {
        (0.0, 1.0)
    } else if name.ends_with(".g") {
        (0.5, 1.5)
    } else if name.ends_with("weight") {
        (0.9, 1.1)
    } else {
        (-0.1, 0.1)
    }
}

/// The rule's value stream of the name `name` between `lo` and `hi`.
pub fn rule_values(name: &str, count: usize, lo: f64, hi: f64) -> Vec<f32> {
    let seed = format!("dev:{name}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
    (0..count as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i).wrapping_add(0x9E37_79B9_7F4A_7C15);
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let u = (z >> 40) as f64 / (1u64 << 24) as f64;
            (lo + (hi - lo) * u) as f32
        })
        .collect()
}

/// The value of a parameter by the fixtures' rule.
pub fn rule_weight(name: &str, shape: &[usize]) -> Vec<f32> {
    let (lo, hi) = range(name, shape);
    rule_values(name, shape.iter().product(), lo, hi)
}

/// `||ours - theirs|| / ||theirs||`: 0 for equal values, zeros too; infinite when the lengths differ, there are no
/// values, or one is not finite.
pub fn relative_error<A, B>(ours: &[A], theirs: &[B]) -> f64
where
    A: Copy + Into<f64>,
    B: Copy + Into<f64>,
{
    if ours.len() != theirs.len() || ours.is_empty() {
        return f64::INFINITY;
    }
    let (mut difference, mut norm) = (0.0, 0.0);
    for (&a, &b) in ours.iter().zip(theirs) {
        let (a, b): (f64, f64) = (a.into(), b.into());
        difference += (a - b) * (a - b);
        norm += b * b;
    }
    if difference == 0.0 {
        return 0.0;
    }
    let error = (difference / norm).sqrt();
    if error.is_nan() { f64::INFINITY } else { error }
}

#[cfg(test)]
mod tests {
    use super::relative_error;

    #[test]
    fn relative_errors_of_zeros_and_of_no_numbers() {
        assert_eq!(relative_error(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert_eq!(relative_error(&[0.0; 3], &[0.0; 3]), 0.0);
        assert_eq!(relative_error::<f64, f64>(&[], &[]), f64::INFINITY);
        assert_eq!(relative_error(&[1e-30], &[0.0]), f64::INFINITY);
        assert_eq!(relative_error(&[0.0; 2], &[0.0; 3]), f64::INFINITY);
        for bad in [f64::NAN, f64::INFINITY] {
            assert_eq!(relative_error(&[bad], &[1.0]), f64::INFINITY);
            assert_eq!(relative_error(&[1.0], &[bad]), f64::INFINITY);
            assert_eq!(relative_error(&[bad], &[bad]), f64::INFINITY);
        }
    }
}
