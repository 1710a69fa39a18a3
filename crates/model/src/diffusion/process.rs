//! Noising and preconditioning as parts of graphs: the same for losses, features and samplers.

use super::ddpm::Tables;
use super::edm::{self, Preconditioning};
use crate::config::{DdpmConfig, EdmConfig, Prediction, Timesteps};
use crate::graph::{Graph, GraphError, Shape, Value};
use crate::networks::Denoiser;
use crate::tensor::{DType, Tensor};

type Built = Result<Value, GraphError>;

/// A noise level of a DDPM.
#[derive(Clone, Copy, Debug)]
pub(super) struct DdpmLevel {
    /// What the network is told, `[B]` or `[1]`.
    pub t: Value,
    /// `sqrt(alpha_bar)`, `[B,1,1,1]` or `[1,1,1,1]`.
    pub signal: Value,
    /// `sqrt(1 - alpha_bar)`, likewise.
    pub spread: Value,
}

impl DdpmLevel {
    /// Those of the timesteps `timestep`, i64 `[B]` or `[1]`.
    pub fn at(g: &mut Graph, config: &DdpmConfig, timestep: Value) -> Result<DdpmLevel, GraphError> {
        let tables = Tables::training(config);
        let signal = lookup(g, tables.sqrt_alpha_bar, timestep)?;
        let spread = lookup(g, tables.sqrt_one_minus_alpha_bar, timestep)?;
        let t = match config.timesteps {
            Timesteps::Fraction => {
                let scalars = (0..=config.n_t).map(|t| config.scalar(t)).collect();
                column(g, scalars, timestep)?
            }
            Timesteps::Index => g.cast(timestep, DType::F32)?,
        };
        Ok(DdpmLevel { t, signal, spread })
    }

    /// `sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise` (arXiv 2006.11239, eq. 4).
    pub fn noised(&self, g: &mut Graph, x0: Value, noise: Value) -> Built {
        let x0 = g.mul(x0, self.signal)?;
        let noise = g.mul(noise, self.spread)?;
        g.add(x0, noise)
    }

    /// The image that the network found in `x`, clipped as samplers do.
    pub fn clean(&self, g: &mut Graph, config: &DdpmConfig, x: Value, found: Value) -> Built {
        let x0 = match config.prediction {
            Prediction::Epsilon => {
                let noise = g.mul(self.spread, found)?;
                let image = g.sub(x, noise)?;
                g.div(image, self.signal)?
            }
            Prediction::VPrediction => {
                let image = g.mul(self.signal, x)?;
                let rest = g.mul(self.spread, found)?;
                g.sub(image, rest)?
            }
            Prediction::Sample => found,
        };
        match config.clip_sample.bound() {
            Some(bound) => g.clamp(x0, -bound, bound),
            None => Ok(x0),
        }
    }

    /// What the network should find in the image `x0` with the noise `eps`.
    pub fn target(&self, g: &mut Graph, config: &DdpmConfig, x0: Value, eps: Value) -> Built {
        match config.prediction {
            Prediction::Epsilon => Ok(eps),
            Prediction::VPrediction => {
                let noise = g.mul(self.signal, eps)?;
                let image = g.mul(self.spread, x0)?;
                g.sub(noise, image)
            }
            Prediction::Sample => Ok(x0),
        }
    }

    /// The noise that was added to the image `x0`.
    pub fn noise(&self, g: &mut Graph, x: Value, x0: Value) -> Built {
        let image = g.mul(self.signal, x0)?;
        let rest = g.sub(x, image)?;
        g.div(rest, self.spread)
    }
}

/// The preconditioning of a noise level of an EDM (arXiv 2206.00364, table 1), each factor `[B,1,1,1]` or `[1,1,1,1]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdmLevel {
    /// What the network is told, `c_noise`: `[B]` or `[1]`.
    pub t: Value,
    pub c_in: Value,
    pub c_skip: Value,
    pub c_out: Value,
}

impl EdmLevel {
    /// Those of the steps `timestep` (i64 `[B]` or `[1]`) of the grid on which features are taken, with `sigma`.
    pub fn on_grid(
        g: &mut Graph,
        config: &EdmConfig,
        timestep: Value,
    ) -> Result<(EdmLevel, Value), GraphError> {
        let sigmas: Vec<f32> = edm::feature_sigmas(config).into_iter().map(|s| s as f32).collect();
        let levels: Vec<Preconditioning> = sigmas.iter().map(|&s| Preconditioning::at(config, s)).collect();
        let table = |f: fn(&Preconditioning) -> f32| levels.iter().map(f).collect::<Vec<f32>>();
        let level = EdmLevel {
            // Step 0 has no noise and no scalar (ln 0); it is no feature step.
            t: column(g, table(|p| p.c_noise.max(f32::MIN)), timestep)?,
            c_in: lookup(g, table(|p| p.c_in), timestep)?,
            c_skip: lookup(g, table(|p| p.c_skip), timestep)?,
            c_out: lookup(g, table(|p| p.c_out), timestep)?,
        };
        Ok((level, lookup(g, sigmas, timestep)?))
    }

    /// Those of EDM's own preconditioning at `sigma [B,1,1,1]`, whose logarithm is `ln_sigma [B]`.
    pub fn of(
        g: &mut Graph,
        config: &EdmConfig,
        sigma: Value,
        ln_sigma: Value,
    ) -> Result<EdmLevel, GraphError> {
        let data = config.sigma_data;
        let square = g.mul(sigma, sigma)?;
        let variance = g.affine(square, 1.0, data * data)?;
        let root = g.sqrt(variance)?;
        let scaled = g.affine(sigma, data, 0.0)?;
        let number = |g: &mut Graph, value: f64| g.constant(Tensor::f32(&[1, 1, 1, 1], vec![value as f32]));
        let (one, data_variance) = (number(g, 1.0)?, number(g, data * data)?);
        Ok(EdmLevel {
            t: g.affine(ln_sigma, 0.25, 0.0)?,
            c_in: g.div(one, root)?,
            c_skip: g.div(data_variance, variance)?,
            c_out: g.div(scaled, root)?,
        })
    }

    /// What the network sees of `x`.
    pub fn input(&self, g: &mut Graph, x: Value) -> Built {
        g.mul(x, self.c_in)
    }

    /// `D = c_skip x + c_out F` (eq. 7).
    pub fn denoised(&self, g: &mut Graph, x: Value, f: Value) -> Built {
        let skipped = g.mul(self.c_skip, x)?;
        let found = g.mul(self.c_out, f)?;
        g.add(skipped, found)
    }
}

/// Adds the input `label` i64 `[B]`, a class or the number of classes for none, where the network is told of classes.
pub(super) fn class_input(g: &mut Graph, network: &dyn Denoiser) -> Result<Option<Value>, GraphError> {
    match network.classes() {
        0 => Ok(None),
        _ => g.input("label", DType::I64, Shape::batch(&[])).map(Some),
    }
}

/// `x0 + sigma noise`.
pub(super) fn edm_noised(g: &mut Graph, x0: Value, sigma: Value, noise: Value) -> Built {
    let noise = g.mul(noise, sigma)?;
    g.add(x0, noise)
}

/// Images noised to the steps `timestep` (i64 `[B]` or `[1]`) of the grid on which features are taken, and `ln sigma`
/// of the steps, `[B]` or `[1]`.
pub(super) fn edm_noised_on_grid(
    g: &mut Graph,
    config: &EdmConfig,
    x0: Value,
    noise: Value,
    timestep: Value,
) -> Result<(Value, Value), GraphError> {
    let sigmas: Vec<f32> = edm::feature_sigmas(config).into_iter().map(|sigma| sigma as f32).collect();
    // Step 0 has no noise and no logarithm; it is no feature step.
    let logarithms = sigmas.iter().map(|sigma| sigma.ln().max(f32::MIN)).collect();
    let sigma = lookup(g, sigmas, timestep)?;
    let x = edm_noised(g, x0, sigma, noise)?;
    Ok((x, column(g, logarithms, timestep)?))
}

/// The value of a table at each sample's timestep, ready to multiply images: `[B,1,1,1]`.
fn lookup(g: &mut Graph, table: Vec<f32>, timestep: Value) -> Built {
    let values = column(g, table, timestep)?;
    g.per_image(values)
}

fn column(g: &mut Graph, table: Vec<f32>, timestep: Value) -> Built {
    let table = g.constant(Tensor::f32(&[table.len()], table))?;
    g.gather(table, timestep)
}

/// The elements of a vector input, each as `[1,1,1,1]`.
pub(super) fn scalars<const N: usize>(
    g: &mut Graph,
    name: &str,
    dtype: DType,
) -> Result<[Value; N], GraphError> {
    let vector = g.input(name, dtype, Shape::fixed(&[N]))?;
    let mut elements = [vector; N];
    for (i, element) in elements.iter_mut().enumerate() {
        let slice = g.slice(vector, 0, i, 1)?;
        *element = g.reshape(slice, Shape::fixed(&[1, 1, 1, 1]))?;
    }
    Ok(elements)
}
