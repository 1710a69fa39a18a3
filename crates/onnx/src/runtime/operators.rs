//! The CPU kernels of this project's operators ([`crate::operators`]): plain, to check files with.

use half::f16;
use ort::operator::{
    BoxedKernel, ComputeContext, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::{PrimitiveTensorElementType, TensorElementType, ValueRef};

use crate::operators::{AVERAGE_POOL, DOMAIN, GROUP_NORM_SILU, UPSAMPLE_NEAREST, group_norm_input as input};

/// The operators with their kernels for the CPU, for
/// [`with_operators`](ort::session::builder::SessionBuilder::with_operators).
///
/// # Errors
/// What the runtime says.
pub fn on_cpu() -> ort::Result<OperatorDomain> {
    OperatorDomain::new(DOMAIN)?
        .add(GroupNormSilu(TensorElementType::Float32))?
        .add(GroupNormSilu(TensorElementType::Float16))?
        .add(UpsampleNearest(TensorElementType::Float32))?
        .add(UpsampleNearest(TensorElementType::Float16))?
        .add(AveragePool(TensorElementType::Float32))?
        .add(AveragePool(TensorElementType::Float16))
}

/// The attributes of a `GroupNormSilu`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupNormAttributes {
    /// Number of groups.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f32,
    /// Whether the result goes through SiLU.
    pub silu: bool,
}

impl GroupNormAttributes {
    /// Those of a node.
    ///
    /// # Errors
    /// When one is missing or makes no sense.
    pub fn of(context: &KernelContext<'_>) -> ort::Result<GroupNormAttributes> {
        let missing = |name: &str| ort::Error::new(format!("{GROUP_NORM_SILU} has no attribute '{name}'"));
        let groups = context.get::<i64>("groups").ok_or_else(|| missing("groups"))?;
        let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0).ok_or_else(|| {
            ort::Error::new(format!("{GROUP_NORM_SILU}: there are no {groups} groups of channels"))
        })?;
        let epsilon = context.get::<f32>("epsilon").ok_or_else(|| missing("epsilon"))?;
        let silu = context.get::<i64>("silu").ok_or_else(|| missing("silu"))? != 0;
        Ok(GroupNormAttributes { groups, epsilon, silu })
    }
}

/// The sizes of a `GroupNormSilu`, checked against all its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupNormSizes {
    /// Images.
    pub images: usize,
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Rows of the shift: 1, or as many as images.
    pub shift_rows: usize,
}

impl GroupNormSizes {
    /// Those of operands of these shapes.
    ///
    /// # Errors
    /// When they do not fit each other.
    pub fn of(
        attributes: GroupNormAttributes,
        x: &[i64],
        per_channel: &[Option<&[i64]>],
        shift: Option<&[i64]>,
        residual: Option<&[i64]>,
    ) -> ort::Result<GroupNormSizes> {
        let wrong = |what: &str| ort::Error::new(format!("{GROUP_NORM_SILU} of {x:?}: {what}"));
        let size = |sizes: &[i64]| sizes.iter().product::<i64>().max(0) as usize;
        let (Some(&images), Some(&channels)) = (x.first(), x.last()) else { return Err(wrong("no axes")) };
        if x.len() < 2 || channels < 1 || channels % attributes.groups as i64 != 0 {
            return Err(wrong(&format!("its channels are not {} groups", attributes.groups)));
        }
        if let Some(other) = per_channel.iter().flatten().find(|shape| **shape != [channels]) {
            return Err(wrong(&format!("an operand of {other:?} is not one number a channel")));
        }
        let shift_rows = match shift {
            None => 1,
            Some(&[rows, width]) if (rows == 1 || rows == images) && width == channels => rows as usize,
            Some(other) => return Err(wrong(&format!("a shift of {other:?} is not one number a channel"))),
        };
        if let Some(other) = residual.filter(|other| *other != x) {
            return Err(wrong(&format!("a residual of {other:?} is not of its shape")));
        }
        let pixels = size(&x[1..x.len() - 1]);
        Ok(GroupNormSizes { images: images.max(0) as usize, pixels, channels: channels as usize, shift_rows })
    }
}

/// Element types that images have.
trait Element: PrimitiveTensorElementType + Copy + 'static {
    fn to_f64(self) -> f64;
    fn of(x: f64) -> Self;
}

impl Element for f32 {
    fn to_f64(self) -> f64 {
        self.into()
    }

    fn of(x: f64) -> f32 {
        x as f32
    }
}

impl Element for f16 {
    fn to_f64(self) -> f64 {
        self.into()
    }

    fn of(x: f64) -> f16 {
        f16::from_f64(x)
    }
}

/// [`GROUP_NORM_SILU`] of one element type.
struct GroupNormSilu(TensorElementType);

/// The declaration of the operator's inputs, for images of the type `element`.
pub fn group_norm_inputs(element: TensorElementType) -> [OperatorInput; 6] {
    use TensorElementType::Float32;
    [
        OperatorInput::required(element),
        OperatorInput::required(Float32),
        OperatorInput::required(Float32),
        OperatorInput::optional(Float32),
        OperatorInput::optional(Float32),
        OperatorInput::optional(element),
    ]
}

/// The declaration of its outputs.
pub fn group_norm_outputs(element: TensorElementType) -> [OperatorOutput; 2] {
    [OperatorOutput::required(element), OperatorOutput::optional(element)]
}

impl Operator for GroupNormSilu {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        GROUP_NORM_SILU
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        group_norm_inputs(self.0)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        group_norm_outputs(self.0)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let attributes = GroupNormAttributes::of(context)?;
        let is_half = self.0 == TensorElementType::Float16;
        Ok(Box::new(move |context: &ComputeContext| match is_half {
            true => group_norm_silu::<f16>(context, attributes),
            false => group_norm_silu::<f32>(context, attributes),
        }))
    }
}

fn group_norm_silu<T: Element>(context: &ComputeContext, attributes: GroupNormAttributes) -> ort::Result<()> {
    let operand = |position: usize| -> ort::Result<Option<ValueRef<'_>>> {
        if position < context.num_inputs()? { context.input(position) } else { Ok(None) }
    };
    let missing = || ort::Error::new(format!("{GROUP_NORM_SILU}: an operand is missing"));
    let x = operand(input::X)?.ok_or_else(missing)?;
    let [weight, beta, bias, shift, residual] =
        [input::WEIGHT, input::BETA, input::BIAS, input::SHIFT, input::RESIDUAL].map(operand);
    let (weight, beta, bias, shift, residual) = (weight?, beta?, bias?, shift?, residual?);
    let (shape, x) = x.try_extract_tensor::<T>()?;
    let floats = |value: &Option<ValueRef<'_>>| -> ort::Result<Option<(Vec<i64>, Vec<f32>)>> {
        let Some(value) = value else { return Ok(None) };
        let (shape, values) = value.try_extract_tensor::<f32>()?;
        Ok(Some((shape.to_vec(), values.to_vec())))
    };
    let (weight, beta) = (floats(&weight)?.ok_or_else(missing)?, floats(&beta)?.ok_or_else(missing)?);
    let (bias, shift) = (floats(&bias)?, floats(&shift)?);
    let residual = residual.as_ref().map(|value| value.try_extract_tensor::<T>()).transpose()?;
    let sizes = GroupNormSizes::of(
        attributes,
        shape,
        &[Some(&weight.0), Some(&beta.0), bias.as_ref().map(|(shape, _)| shape.as_slice())],
        shift.as_ref().map(|(shape, _)| shape.as_slice()),
        residual.map(|(shape, _)| &shape[..]),
    )?;
    let (y, sum) = computed(
        attributes,
        sizes,
        x,
        [&weight.1, &beta.1],
        [bias.as_ref().map(|(_, values)| &values[..]), shift.as_ref().map(|(_, values)| &values[..])],
        residual.map(|(_, values)| values),
    );
    for (position, values) in [y, sum].iter().enumerate() {
        if position < context.num_outputs()?
            && let Some(mut output) = context.output(position, shape.to_vec())?
        {
            output.try_extract_tensor_mut::<T>()?.1.copy_from_slice(values);
        }
    }
    Ok(())
}

/// `y` and `sum`, in float64.
fn computed<T: Element>(
    GroupNormAttributes { groups, epsilon, silu }: GroupNormAttributes,
    GroupNormSizes { images, pixels, channels, shift_rows }: GroupNormSizes,
    x: &[T],
    [weight, beta]: [&[f32]; 2],
    [bias, shift]: [Option<&[f32]>; 2],
    residual: Option<&[T]>,
) -> (Vec<T>, Vec<T>) {
    let width = channels / groups;
    let sum = |(i, x): (usize, &T)| {
        x.to_f64()
            + residual.map_or(0.0, |residual| residual[i].to_f64())
            + bias.map_or(0.0, |bias| bias[i % channels].into())
    };
    let sums: Vec<f64> = x.iter().enumerate().map(sum).collect();
    let shifted = |(i, sum): (usize, &f64)| {
        let row = if shift_rows == 1 { 0 } else { i / (pixels * channels) };
        sum + shift.map_or(0.0, |shift| f64::from(shift[row * channels + i % channels]))
    };
    let shifted: Vec<f64> = sums.iter().enumerate().map(shifted).collect();
    let mut results = Vec::with_capacity(sums.len());
    for image in shifted.chunks_exact((pixels * channels).max(1)).take(images) {
        let moments: Vec<(f64, f64)> = (0..groups)
            .map(|group| {
                let values =
                    || image.chunks_exact(channels).flat_map(|p| &p[group * width..(group + 1) * width]);
                let count = (pixels * width) as f64;
                let mean = values().sum::<f64>() / count;
                let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
                (mean, 1.0 / (variance + f64::from(epsilon)).sqrt())
            })
            .collect();
        results.extend(image.iter().enumerate().map(|(i, value)| {
            let channel = i % channels;
            let (mean, scale) = moments[channel / width];
            let z = (value - mean) * scale * f64::from(weight[channel]) + f64::from(beta[channel]);
            T::of(if silu { z / (1.0 + (-z).exp()) } else { z })
        }));
    }
    (results, sums.into_iter().map(T::of).collect())
}

/// [`UPSAMPLE_NEAREST`] of one element type.
struct UpsampleNearest(TensorElementType);

impl Operator for UpsampleNearest {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        UPSAMPLE_NEAREST
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(self.0)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.0)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let is_half = self.0 == TensorElementType::Float16;
        Ok(Box::new(move |context: &ComputeContext| match is_half {
            true => upsample_nearest::<f16>(context),
            false => upsample_nearest::<f32>(context),
        }))
    }
}

/// Images, height, width and channels of the operand of an [`UPSAMPLE_NEAREST`].
///
/// # Errors
/// When it is no image.
pub fn upsample_sizes(shape: &[i64]) -> ort::Result<[usize; 4]> {
    match *shape {
        [n, h, w, c] => Ok([n, h, w, c].map(|size| size.max(0) as usize)),
        _ => Err(ort::Error::new(format!("{UPSAMPLE_NEAREST}: {shape:?} is no image [N, H, W, C]"))),
    }
}

fn upsample_nearest<T: Element>(context: &ComputeContext) -> ort::Result<()> {
    let missing = || ort::Error::new(format!("{UPSAMPLE_NEAREST}: an operand is missing"));
    let x = context.input(0)?.ok_or_else(missing)?;
    let (shape, x) = x.try_extract_tensor::<T>()?;
    let [n, h, w, c] = upsample_sizes(shape)?;
    let mut y = context.output(0, [n, 2 * h, 2 * w, c].map(|size| size as i64))?.ok_or_else(missing)?;
    let y = y.try_extract_tensor_mut::<T>()?.1;
    for (i, pixel) in y.chunks_exact_mut(c.max(1)).enumerate() {
        let (column, row, image) = (i % (2 * w), i / (2 * w) % (2 * h), i / (4 * h * w));
        let from = ((image * h + row / 2) * w + column / 2) * c;
        pixel.copy_from_slice(&x[from..from + c]);
    }
    Ok(())
}

/// [`AVERAGE_POOL`] of one element type.
struct AveragePool(TensorElementType);

impl Operator for AveragePool {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        AVERAGE_POOL
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(self.0)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.0)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let is_half = self.0 == TensorElementType::Float16;
        Ok(Box::new(move |context: &ComputeContext| match is_half {
            true => average_pool::<f16>(context),
            false => average_pool::<f32>(context),
        }))
    }
}

/// Images, height, width and channels of the result of an [`AVERAGE_POOL`].
///
/// # Errors
/// When its operand is no image of whole squares.
pub fn pooled_sizes(shape: &[i64]) -> ort::Result<[usize; 4]> {
    match *shape {
        [n, h, w, c] if h % 2 == 0 && w % 2 == 0 => Ok([n, h / 2, w / 2, c].map(|size| size.max(0) as usize)),
        _ => {
            Err(ort::Error::new(format!("{AVERAGE_POOL}: {shape:?} is no image [N, H, W, C] of even sides")))
        }
    }
}

fn average_pool<T: Element>(context: &ComputeContext) -> ort::Result<()> {
    let missing = || ort::Error::new(format!("{AVERAGE_POOL}: an operand is missing"));
    let x = context.input(0)?.ok_or_else(missing)?;
    let (shape, x) = x.try_extract_tensor::<T>()?;
    let [n, h, w, c] = pooled_sizes(shape)?;
    let mut y = context.output(0, [n, h, w, c].map(|size| size as i64))?.ok_or_else(missing)?;
    for (i, y) in y.try_extract_tensor_mut::<T>()?.1.iter_mut().enumerate() {
        let (channel, column, row) = (i % c, i / c % w, i / (c * w));
        let at = |dy: usize, dx: usize| x[((2 * row + dy) * 2 * w + 2 * column + dx) * c + channel].to_f64();
        *y = T::of((at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0);
    }
    Ok(())
}
