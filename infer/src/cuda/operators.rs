//! This project's operators ([`ddae_onnx::operators`]) in sessions on CUDA.

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::Arc;

use ddae_cuda::{CudaError, Element, Kernels, Norm, Pass, Pointer, Stream};
use ddae_onnx::operators::{
    AVERAGE_POOL, DOMAIN, GROUP_NORM_SILU, UPSAMPLE_NEAREST, group_norm_input as input,
};
use ddae_onnx::runtime::operators::{
    GroupNormAttributes, GroupNormSizes, group_norm_inputs, group_norm_outputs, pooled_sizes, upsample_sizes,
};
use ort::ep::{CUDA, ExecutionProvider};
use ort::operator::{
    BoxedKernel, ComputeContext, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::{DynTensorValueType, TensorElementType, ValueRef, ValueRefMut};

/// The operators with their kernels for CUDA, for
/// [`with_operators`](ort::session::builder::SessionBuilder::with_operators).
///
/// # Errors
/// What the runtime says.
pub fn on_cuda(kernels: &Arc<Kernels>) -> ort::Result<OperatorDomain> {
    let mut domain = OperatorDomain::new(DOMAIN)?;
    for (element, tensor) in
        [(Element::F32, TensorElementType::Float32), (Element::F16, TensorElementType::Float16)]
    {
        let of_type = OfType { kernels: Arc::clone(kernels), element, tensor };
        domain = domain
            .add(GroupNormSilu(of_type.clone()))?
            .add(UpsampleNearest(of_type.clone()))?
            .add(AveragePool(of_type))?;
    }
    Ok(domain)
}

/// Kernels for one element type.
#[derive(Clone)]
struct OfType {
    kernels: Arc<Kernels>,
    element: Element,
    tensor: TensorElementType,
}

struct GroupNormSilu(OfType);

struct UpsampleNearest(OfType);

struct AveragePool(OfType);

impl Operator for GroupNormSilu {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        GROUP_NORM_SILU
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA::NAME)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        group_norm_inputs(self.0.tensor)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        group_norm_outputs(self.0.tensor)
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let attributes = GroupNormAttributes::of(context)?;
        let OfType { kernels, element, .. } = self.0.clone();
        Ok(Box::new(move |context: &ComputeContext| group_norm_silu(context, attributes, &kernels, element)))
    }
}

impl Operator for UpsampleNearest {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        UPSAMPLE_NEAREST
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA::NAME)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(self.0.tensor)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.0.tensor)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let OfType { kernels, element, .. } = self.0.clone();
        Ok(Box::new(move |context: &ComputeContext| upsample_nearest(context, &kernels, element)))
    }
}

impl Operator for AveragePool {
    type Kernel<'attr> = BoxedKernel<'attr>;

    fn name(&self) -> &str {
        AVERAGE_POOL
    }

    fn execution_provider_type(&self) -> Option<&str> {
        Some(CUDA::NAME)
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(self.0.tensor)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.0.tensor)]
    }

    fn create_kernel<'attr>(&self, _: &KernelContext<'attr>) -> ort::Result<BoxedKernel<'attr>> {
        let OfType { kernels, element, .. } = self.0.clone();
        Ok(Box::new(move |context: &ComputeContext| average_pool(context, &kernels, element)))
    }
}

/// An operand on the device.
struct Operand {
    shape: Vec<i64>,
    address: Pointer,
}

fn operand(context: &ComputeContext, position: usize, count: usize) -> ort::Result<Option<Operand>> {
    if position >= count {
        return Ok(None);
    }
    let Some(value) = context.input(position)? else { return Ok(None) };
    let value: ValueRef<'_, DynTensorValueType> = value.downcast()?;
    Ok(Some(Operand { shape: value.shape().to_vec(), address: value.data_ptr() }))
}

/// The address of a result, none where nobody asked for it.
fn result(context: &ComputeContext, position: usize, count: usize, shape: &[i64]) -> ort::Result<Pointer> {
    if position >= count {
        return Ok(null());
    }
    let Some(value) = context.output(position, shape.to_vec())? else { return Ok(null()) };
    let value: ValueRefMut<'_, DynTensorValueType> = value.downcast()?;
    Ok(value.data_ptr())
}

fn stream(context: &ComputeContext) -> ort::Result<Stream> {
    Ok(context.stream()?.map_or(null_mut(), |stream| stream.as_ptr().cast::<c_void>()))
}

fn failed(error: &CudaError) -> ort::Error {
    ort::Error::new(error.to_string())
}

fn group_norm_silu(
    context: &ComputeContext,
    attributes: GroupNormAttributes,
    kernels: &Kernels,
    element: Element,
) -> ort::Result<()> {
    let missing = || ort::Error::new(format!("{GROUP_NORM_SILU}: an operand is missing"));
    let count = context.num_inputs()?;
    let operand = |position: usize| operand(context, position, count);
    let x = operand(input::X)?.ok_or_else(missing)?;
    let weight = operand(input::WEIGHT)?.ok_or_else(missing)?;
    let beta = operand(input::BETA)?.ok_or_else(missing)?;
    let (bias, shift) = (operand(input::BIAS)?, operand(input::SHIFT)?);
    let residual = operand(input::RESIDUAL)?;
    fn shape(operand: &Option<Operand>) -> Option<&[i64]> {
        operand.as_ref().map(|operand| operand.shape.as_slice())
    }
    let per_channel = [Some(weight.shape.as_slice()), Some(beta.shape.as_slice()), shape(&bias)];
    let sizes = GroupNormSizes::of(attributes, &x.shape, &per_channel, shape(&shift), shape(&residual))?;
    let GroupNormSizes { images, pixels, channels, shift_rows } = sizes;
    let outputs = context.num_outputs()?;
    let y = result(context, 0, outputs, &x.shape)?;
    let sum = result(context, 1, outputs, &x.shape)?;
    if images == 0 || pixels == 0 {
        return Ok(());
    }
    if sum.is_null() && residual.is_some() {
        return Err(ort::Error::new(format!("{GROUP_NORM_SILU} with a residual must give the sum as well")));
    }
    let address = |operand: &Option<Operand>| operand.as_ref().map_or(null(), |operand| operand.address);
    let shape = [images, pixels, channels];
    let norm = Norm::new(element, shape, attributes.groups, attributes.epsilon).map_err(|e| failed(&e))?;
    let norm = Norm {
        x: x.address,
        residual: address(&residual),
        bias: address(&bias),
        shift: address(&shift),
        weight: weight.address,
        beta: beta.address,
        sum,
        y,
        // One row for all images.
        shift_like_x: if shift_rows == 1 { 2 } else { 0 },
        silu: attributes.silu.into(),
        ..norm
    };
    // SAFETY: the runtime gave the addresses, of the sizes checked above, and keeps them until its stream is past.
    unsafe { kernels.norm(Pass::Forward, &norm, stream(context)?) }.map_err(|error| failed(&error))
}

fn upsample_nearest(context: &ComputeContext, kernels: &Kernels, element: Element) -> ort::Result<()> {
    let missing = || ort::Error::new(format!("{UPSAMPLE_NEAREST}: an operand is missing"));
    let x = operand(context, 0, context.num_inputs()?)?.ok_or_else(missing)?;
    let sizes = upsample_sizes(&x.shape)?;
    let [n, h, w, c] = sizes.map(|size| size as i64);
    let y = result(context, 0, context.num_outputs()?, &[n, 2 * h, 2 * w, c])?;
    // SAFETY: the runtime gave the addresses, of these sizes, and keeps them until its stream is past.
    unsafe { kernels.upsample(x.address, y, sizes, element.size(), stream(context)?) }
        .map_err(|error| failed(&error))
}

fn average_pool(context: &ComputeContext, kernels: &Kernels, element: Element) -> ort::Result<()> {
    let missing = || ort::Error::new(format!("{AVERAGE_POOL}: an operand is missing"));
    let x = operand(context, 0, context.num_inputs()?)?.ok_or_else(missing)?;
    let sizes = pooled_sizes(&x.shape)?;
    let y = result(context, 0, context.num_outputs()?, &sizes.map(|size| size as i64))?;
    // SAFETY: the runtime gave the addresses, of these sizes, and keeps them until its stream is past.
    unsafe { kernels.average_pool(x.address, y, sizes, element, stream(context)?) }
        .map_err(|error| failed(&error))
}
