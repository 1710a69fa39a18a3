//! What the optimisers do to many tensors in one pass over memory: steps of Adam and of gradient descent, and gradients before
//! them.

use std::ffi::{c_double, c_int, c_void};
use std::ptr::{null, null_mut};

use tch::Tensor;

use super::{Pointer, TorchError, check, made, pointer, pointers, same_length};

#[repr(C)]
struct AdamArguments {
    learning_rate: c_double,
    beta1: c_double,
    beta2: c_double,
    weight_decay: c_double,
    eps: c_double,
    decoupled: c_int,
}

unsafe extern "C" {
    fn ddae_torch_clear_gradients(parameters: *const Pointer, count: usize) -> c_int;
    fn ddae_torch_adam(
        parameters: *const Pointer,
        gradients: *const Pointer,
        first_moments: *const Pointer,
        second_moments: *const Pointer,
        steps: *const Pointer,
        count: usize,
        arguments: *const AdamArguments,
        learning_rate: Pointer,
        grad_scale: Pointer,
        found_inf: Pointer,
    ) -> c_int;
    fn ddae_torch_sgd(
        parameters: *const Pointer,
        gradients: *const Pointer,
        momenta: *const Pointer,
        count: usize,
        learning_rate: c_double,
        momentum: c_double,
        weight_decay: c_double,
        learning_rate_tensor: Pointer,
        grad_scale: Pointer,
        found_inf: Pointer,
    ) -> c_int;
    fn ddae_torch_clip_gradients(
        gradients: *const Pointer,
        count: usize,
        max_norm: c_double,
        norm: *mut *mut c_void,
    ) -> c_int;
    fn ddae_torch_unscale(
        gradients: *const Pointer,
        count: usize,
        inverse_scale: Pointer,
        found_inf: Pointer,
    ) -> c_int;
}

/// Drops the gradients of `parameters`, so that the next backward pass writes instead of adding.
///
/// # Errors
/// libtorch's.
pub fn clear_gradients(parameters: &[Tensor]) -> Result<(), TorchError> {
    let list = pointers(parameters);
    // SAFETY: the list holds as many pointers to living tensors as the count says.
    check("clear_gradients", unsafe { ddae_torch_clear_gradients(list.as_ptr(), list.len()) })
}

/// The length of a step.
#[derive(Clone, Copy, Debug)]
pub enum Rate<'a> {
    /// A number.
    Number(f64),
    /// A float32 scalar where the parameters are, which may change between replays of a captured step.
    Tensor(&'a Tensor),
}

/// Settings of one step of Adam (arXiv 1412.6980) or AdamW (arXiv 1711.05101).
#[derive(Clone, Copy, Debug)]
pub struct AdamStep<'a> {
    /// Length of a step.
    pub learning_rate: Rate<'a>,
    /// Decay of the first moments, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moments, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moments.
    pub eps: f64,
    /// Pull towards zero; 0 for none.
    pub weight_decay: f64,
    /// Whether the decay acts on the weights themselves (AdamW) rather than on the gradients (Adam).
    pub decoupled: bool,
}

/// The tensors of one step of Adam: one of each per parameter, alike in shape and memory layout.
pub struct AdamTensors<'a> {
    /// Are moved.
    pub parameters: &'a [Tensor],
    /// Of the loss.
    pub gradients: &'a [Tensor],
    /// Moving averages of the gradients.
    pub first_moments: &'a [Tensor],
    /// Moving averages of their squares.
    pub second_moments: &'a [Tensor],
    /// Number of steps with this one, as float32 scalars.
    pub steps: &'a [Tensor],
}

/// Gradients that were computed of a scaled loss (fp16).
pub struct Scaled<'a> {
    /// The loss was multiplied by this; a float32 scalar.
    pub scale: &'a Tensor,
    /// 1 where a gradient is not finite, and the step is to be left out; a float32 scalar.
    pub found_inf: &'a Tensor,
}

/// One step of Adam on all parameters, in one pass over memory. `scaled` gradients are divided by their scale in the
/// same pass.
///
/// # Errors
/// When the lists do not fit together.
pub fn adam_step(
    step: AdamStep<'_>,
    tensors: &AdamTensors,
    scaled: Option<Scaled>,
) -> Result<(), TorchError> {
    let AdamTensors { parameters, gradients, first_moments, second_moments, steps } = *tensors;
    same_length("Adam", &[parameters, gradients, first_moments, second_moments, steps])?;
    let (number, rate) = match step.learning_rate {
        Rate::Number(number) => (number, null()),
        Rate::Tensor(tensor) => (0.0, pointer(tensor)),
    };
    let arguments = AdamArguments {
        learning_rate: number,
        beta1: step.beta1,
        beta2: step.beta2,
        weight_decay: step.weight_decay,
        eps: step.eps,
        decoupled: c_int::from(step.decoupled),
    };
    let [p, g, m, v, s] = [parameters, gradients, first_moments, second_moments, steps].map(pointers);
    let (scale, found_inf) = scaled.map_or((null(), null()), |s| (pointer(s.scale), pointer(s.found_inf)));
    // SAFETY: five lists of `p.len()` pointers to living tensors; the three optional ones are null or alive.
    let status = unsafe {
        ddae_torch_adam(
            p.as_ptr(),
            g.as_ptr(),
            m.as_ptr(),
            v.as_ptr(),
            s.as_ptr(),
            p.len(),
            &arguments,
            rate,
            scale,
            found_inf,
        )
    };
    check("Adam", status)
}

/// Settings of one step of gradient descent with momentum.
#[derive(Clone, Copy, Debug)]
pub struct SgdStep<'a> {
    /// Length of a step.
    pub learning_rate: Rate<'a>,
    /// Decay of the momenta, in [0, 1).
    pub momentum: f64,
    /// Pull towards zero, added to the gradients; 0 for none.
    pub weight_decay: f64,
}

/// One step of gradient descent on all parameters, in one pass over memory: `m = momentum m + g + weight_decay p` and
/// `p = p - rate m`, as PyTorch's SGD without dampening and Nesterov's variant. Without momentum `momenta` is empty, and `m` is
/// kept nowhere. `scaled` gradients are divided by their scale in the same pass.
///
/// # Errors
/// When the lists do not fit together.
pub fn sgd_step(
    step: SgdStep<'_>,
    parameters: &[Tensor],
    gradients: &[Tensor],
    momenta: &[Tensor],
    scaled: Option<Scaled>,
) -> Result<(), TorchError> {
    match step.momentum == 0.0 {
        true if !momenta.is_empty() => {
            let message = format!("there is no momentum, and there are {} momenta", momenta.len());
            return Err(TorchError::Operation { context: "SGD".to_string(), message });
        }
        true => same_length("SGD", &[parameters, gradients])?,
        false => same_length("SGD", &[parameters, gradients, momenta])?,
    }
    let (number, rate) = match step.learning_rate {
        Rate::Number(number) => (number, null()),
        Rate::Tensor(tensor) => (0.0, pointer(tensor)),
    };
    let [p, g, m] = [parameters, gradients, momenta].map(pointers);
    let (scale, found_inf) = scaled.map_or((null(), null()), |s| (pointer(s.scale), pointer(s.found_inf)));
    let momenta = if step.momentum == 0.0 { null() } else { m.as_ptr() };
    // SAFETY: lists of `p.len()` pointers to living tensors, the third of them null without momentum; the three optional
    // tensors are null or alive.
    let status = unsafe {
        ddae_torch_sgd(
            p.as_ptr(),
            g.as_ptr(),
            momenta,
            p.len(),
            number,
            step.momentum,
            step.weight_decay,
            rate,
            scale,
            found_inf,
        )
    };
    check("SGD", status)
}

/// Scales all gradients so that their joint Euclidean norm is at most `max_norm`, infinite for as they are, and gives the
/// norm before as a scalar tensor, so that a GPU need not be waited for.
///
/// # Errors
/// libtorch's, as for an empty list.
pub fn clip_gradients(gradients: &[Tensor], max_norm: f64) -> Result<Tensor, TorchError> {
    let list = pointers(gradients);
    let mut norm = null_mut();
    // SAFETY: a list of `list.len()` pointers to living tensors; `norm` is where the function writes.
    check("clip_gradients", unsafe {
        ddae_torch_clip_gradients(list.as_ptr(), list.len(), max_norm, &mut norm)
    })?;
    Ok(made(norm))
}

/// Multiplies all gradients by the scalar `inverse_scale` and sets the scalar `found_inf` to 1 where one of them is
/// not finite.
///
/// # Errors
/// libtorch's.
pub fn unscale(gradients: &[Tensor], inverse_scale: &Tensor, found_inf: &Tensor) -> Result<(), TorchError> {
    let list = pointers(gradients);
    // SAFETY: a list of `list.len()` pointers to living tensors, and two living tensors.
    let status =
        unsafe { ddae_torch_unscale(list.as_ptr(), list.len(), pointer(inverse_scale), pointer(found_inf)) };
    check("unscale", status)
}
