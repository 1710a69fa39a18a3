//! A session on CUDA: a stream of its own, memory that stays where it is from run to run, and all kernels of a run as one
//! graph.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use ddae_cuda::{CudaError, OwnStream, Pointer};
use ddae_model::tensor::{DType, Data, Tensor};
use ddae_onnx::messages::{ModelProto, data_type};
use ddae_onnx::operators::DOMAIN;
use ddae_onnx::read;
use ddae_onnx::runtime::alone_until_first;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynTensor, Outlet, TensorElementType, ValueType};

use super::{Provider, check, kernels, of_device, on_cuda, register};
use crate::engine::{Keep, Noise, Tuning, Value, options};
use crate::error::{InferError, first_line};

/// While one session records its kernels, no other may use the device: held for writing then, for reading in all other
/// runs.
static RECORDING: RwLock<()> = RwLock::new(());

/// Sizes of batches, at most, that a session keeps recorded kernels of.
const MOST_RECORDINGS: i64 = 8;

/// In place of a recording's number, that there is to be none.
const NO_RECORDING: i64 = -1;

/// How a session is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionOptions {
    pub number: u16,
    pub tf32: bool,
    pub graph: bool,
    pub tuning: Tuning,
}

/// One input or output: its memory on the device.
struct Slot {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    /// Owns the memory.
    _tensor: DynTensor,
    address: Pointer,
    /// What an input holds already.
    held: Option<Arc<Tensor>>,
    /// Memory for the keys of noise that is drawn into an input.
    keys: Option<DynTensor>,
}

/// Memory for all inputs and outputs at one batch size.
struct Bound {
    inputs: Vec<Slot>,
    outputs: Vec<Slot>,
    allocator: Allocator,
    binding: IoBinding,
    run_options: RunOptions<NoSelectedOutputs>,
    /// Runs so far.
    runs: u64,
}

/// A loaded graph on a CUDA device. It stays in the thread that made it: the runtime keeps its recorded kernels by thread.
pub(crate) struct CudaSession {
    path: PathBuf,
    options: SessionOptions,
    // Dropped in this order: memory, then the session, then its stream.
    bound: Option<Bound>,
    session: Session,
    stream: OwnStream,
    /// Recordings so far, one for each time that memory was taken.
    recordings: u32,
    /// Why kernels are not replayed as a graph though that was asked for.
    note: Option<String>,
}

impl CudaSession {
    /// Loads the file at `path`. Where its kernels cannot be recorded, it is loaded without that, and
    /// [`CudaSession::take_note`] says why.
    pub fn open(path: &Path, options: SessionOptions) -> Result<CudaSession, InferError> {
        check(options.number)?;
        let stream = OwnStream::new(options.number).map_err(|error| of_device(options.number, &error))?;
        let model = read::model(path)?;
        let (options, session, note) = match load(path, &options, &model, &stream) {
            Ok(session) => (options, session, None),
            Err(error) if options.graph => {
                let options = SessionOptions { graph: false, ..options };
                let session = load(path, &options, &model, &stream)?;
                (options, session, Some(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        Ok(CudaSession {
            path: path.to_path_buf(),
            options,
            bound: None,
            session,
            stream,
            recordings: 0,
            note,
        })
    }

    pub fn inputs(&self) -> Vec<String> {
        self.session.inputs().iter().map(|input| input.name().to_string()).collect()
    }

    pub fn outputs(&self) -> Vec<String> {
        self.session.outputs().iter().map(|output| output.name().to_string()).collect()
    }

    /// Why kernels are not replayed as a graph, once.
    pub fn take_note(&mut self) -> Option<String> {
        self.note.take()
    }

    /// Runs the graph: results in the host's memory, or left on the device for the next run.
    pub fn run(&mut self, inputs: &[(String, Value)], keep: Keep) -> Result<Vec<Value>, InferError> {
        let shapes = self.shapes(inputs)?;
        let is_bound = self.bound.as_ref().is_some_and(|bound| {
            bound.inputs.iter().all(|slot| shapes.get(&slot.name) == Some(&(slot.dtype, slot.shape.clone())))
                && bound.inputs.len() == shapes.len()
        });
        if !is_bound {
            if inputs.iter().any(|(_, value)| matches!(value, Value::Resident { .. })) {
                return Err(self.failed("results of another batch size cannot be inputs"));
            }
            let _alone = RECORDING.write().unwrap_or_else(PoisonError::into_inner);
            self.bound = None;
            match self.first_run(inputs, &shapes) {
                Ok(()) => {}
                Err(error) if self.options.graph => {
                    // Without recording, from the beginning: a session whose recording failed is of no use.
                    let options = SessionOptions { graph: false, ..self.options.clone() };
                    let mut again = CudaSession::open(&self.path, options)?;
                    again.note = Some(error.to_string());
                    *self = again;
                    self.first_run(inputs, &shapes)?;
                }
                Err(error) => return Err(error),
            }
        } else {
            let _others = RECORDING.read().unwrap_or_else(PoisonError::into_inner);
            self.compute(inputs, keep == Keep::Device)?;
        }
        let number = self.options.number;
        let Some(bound) = &self.bound else { return Err(self.failed("nothing is bound")) };
        if keep == Keep::Device {
            let resident = |output| Value::Resident { output, run: bound.runs };
            return Ok((0..bound.outputs.len()).map(resident).collect());
        }
        let _others = RECORDING.read().unwrap_or_else(PoisonError::into_inner);
        bound
            .outputs
            .iter()
            .map(|slot| download(&self.stream, slot).map(|tensor| Value::Host(Arc::new(tensor))))
            .collect::<Result<_, _>>()
            .map_err(|error| of_device(number, &error))
    }

    /// Types and shapes of the inputs by name.
    fn shapes(&self, inputs: &[(String, Value)]) -> Result<HashMap<String, (DType, Vec<usize>)>, InferError> {
        let shape = |(name, value): &(String, Value)| {
            let shape = match value {
                Value::Host(tensor) => (tensor.dtype(), tensor.shape().to_vec()),
                Value::Noise(noise) => (DType::F32, noise.shape.clone()),
                Value::Resident { output, .. } => {
                    let slot = self.bound.as_ref().and_then(|bound| bound.outputs.get(*output));
                    let slot = slot.ok_or_else(|| self.failed("there are no results to go on with"))?;
                    (slot.dtype, slot.shape.clone())
                }
                Value::Runtime(_) => return Err(self.failed("values of the CPU's sessions cannot be inputs")),
            };
            Ok((name.clone(), shape))
        };
        inputs.iter().map(shape).collect()
    }

    /// Takes memory for inputs and outputs and runs once; the runtime records its kernels meanwhile.
    fn first_run(
        &mut self,
        inputs: &[(String, Value)],
        shapes: &HashMap<String, (DType, Vec<usize>)>,
    ) -> Result<(), InferError> {
        let bound = self.bind(shapes).map_err(|error| self.failed(&first_line(&error)))?;
        self.bound = Some(bound);
        self.recordings += 1;
        self.compute(inputs, false)
    }

    fn bind(&self, shapes: &HashMap<String, (DType, Vec<usize>)>) -> ort::Result<Bound> {
        let number = i32::from(self.options.number);
        let place =
            MemoryInfo::new(AllocationDevice::CUDA, number, AllocatorType::Device, MemoryType::Default)?;
        let allocator = Allocator::new(&self.session, place)?;
        let mut binding = self.session.create_binding()?;
        let mut symbols: HashMap<String, usize> = HashMap::new();
        let mut inputs = Vec::new();
        for outlet in self.session.inputs() {
            let Some((dtype, shape)) = shapes.get(outlet.name()) else {
                return Err(ort::Error::new(format!("the input '{}' is missing", outlet.name())));
            };
            let wrong = || {
                let (name, kind) = (outlet.name(), outlet.dtype());
                ort::Error::new(format!("the input '{name}' is {kind} and not {dtype} {shape:?}"))
            };
            let (wanted, sizes, names) = tensor_type(outlet).ok_or_else(wrong)?;
            if wanted != *dtype || sizes.len() != shape.len() {
                return Err(wrong());
            }
            for ((&size, name), &given) in sizes.iter().zip(names).zip(shape) {
                let known = if size < 0 { *symbols.entry(name).or_insert(given) } else { size as usize };
                if known != given {
                    return Err(wrong());
                }
            }
            inputs.push(slot(&allocator, outlet.name(), *dtype, shape.clone())?);
        }
        let mut outputs = Vec::new();
        for outlet in self.session.outputs() {
            let unknown = || {
                let (name, kind) = (outlet.name(), outlet.dtype());
                ort::Error::new(format!(
                    "the output '{name}' is {kind}, whose size does not follow from the inputs"
                ))
            };
            let (dtype, sizes, names) = tensor_type(outlet).ok_or_else(unknown)?;
            let size = |(&size, name): (&i64, String)| {
                if size < 0 { symbols.get(&name).copied().ok_or_else(unknown) } else { Ok(size as usize) }
            };
            let shape = sizes.iter().zip(names).map(size).collect::<ort::Result<Vec<usize>>>()?;
            outputs.push(slot(&allocator, outlet.name(), dtype, shape)?);
        }
        for slot in &inputs {
            binding.bind_input(slot.name.as_str(), &slot._tensor)?;
        }
        for slot in &mut outputs {
            binding.bind_output(slot.name.clone(), &mut slot._tensor)?;
        }
        let mut run_options = RunOptions::new()?;
        if self.options.graph {
            // A number of its own, since a recording holds addresses. Each keeps memory, so there is an end to them.
            let number = i64::from(self.recordings) + 1;
            let number = if number > MOST_RECORDINGS { NO_RECORDING } else { number };
            run_options.set("gpu_graph_id", number.to_string())?;
        }
        Ok(Bound { inputs, outputs, allocator, binding, run_options, runs: 0 })
    }

    /// Brings the inputs to their places and runs the graph; `ahead` does not wait for it.
    fn compute(&mut self, inputs: &[(String, Value)], ahead: bool) -> Result<(), InferError> {
        let failed =
            |message: &str| InferError::Run { path: self.path.clone(), message: message.to_string() };
        let number = self.options.number;
        let Some(bound) = &mut self.bound else { return Err(failed("nothing is bound")) };
        for (name, value) in inputs {
            let Some(slot) = bound.inputs.iter_mut().find(|slot| slot.name == *name) else {
                return Err(failed(&format!("there is no input '{name}'")));
            };
            match value {
                Value::Host(tensor) => {
                    if !slot.held.as_ref().is_some_and(|held| Arc::ptr_eq(held, tensor)) {
                        upload(&self.stream, slot.address, tensor)
                            .map_err(|error| of_device(number, &error))?;
                        slot.held = Some(Arc::clone(tensor));
                    }
                }
                Value::Noise(noise) => {
                    slot.held = None;
                    draw(&self.stream, &bound.allocator, slot, noise, number)?;
                }
                Value::Resident { output, run } => {
                    let from = bound.outputs.get(*output).filter(|_| *run == bound.runs);
                    let Some(from) = from else {
                        return Err(failed("a result was overwritten before it was used"));
                    };
                    slot.held = None;
                    let bytes = from.shape.iter().product::<usize>() * width(from.dtype);
                    // SAFETY: both are of this device, and of one shape and type, which was checked when they were bound.
                    unsafe { self.stream.within(slot.address, from.address, bytes) }
                        .map_err(|error| of_device(number, &error))?;
                }
                Value::Runtime(_) => return Err(failed("values of the CPU's sessions cannot be inputs")),
            }
        }
        let mut run = || -> ort::Result<()> {
            if ahead {
                bound.run_options.disable_device_sync()?;
            } else {
                bound.run_options.set("disable_synchronize_execution_providers", "0")?;
            }
            self.session.run_binding_with_options(&bound.binding, &bound.run_options).map(drop)
        };
        run().map_err(|error| failed(&first_line(&error)))?;
        bound.runs += 1;
        Ok(())
    }

    fn failed(&self, message: &str) -> InferError {
        InferError::Run { path: self.path.clone(), message: message.to_string() }
    }
}

impl Drop for CudaSession {
    fn drop(&mut self) {
        // What is still running uses the memory.
        let _ = self.stream.wait();
    }
}

fn load(
    path: &Path,
    settings: &SessionOptions,
    model: &ModelProto,
    stream: &OwnStream,
) -> Result<Session, InferError> {
    let refused = |error: ort::Error| InferError::Model {
        path: path.to_path_buf(),
        message: format!("ONNX Runtime says: {}", first_line(&error)),
    };
    let mut builder = options()?;
    if model.opset_import.iter().any(|set| set.domain == DOMAIN) {
        let domain = on_cuda(&kernels(settings.number)?).map_err(refused)?;
        builder = builder.with_operators(domain).map_err(|error| refused(error.into()))?;
    }
    if let Some(profile) = &settings.tuning.profile {
        builder = builder.with_profiling(profile).map_err(|error| refused(error.into()))?;
    }
    let has_half = model
        .graph
        .iter()
        .flat_map(|graph| &graph.initializer)
        .any(|tensor| tensor.data_type == data_type::FLOAT16);
    let SessionOptions { number, tf32, graph, .. } = *settings;
    let Tuning { slow_rules, prefer_nhwc, .. } = settings.tuning;
    register(
        &mut builder,
        Provider { number, tf32: tf32 || has_half, graph, slow_rules, prefer_nhwc },
        stream,
    )?;
    alone_until_first(|| builder.commit_from_file(path)).map_err(refused)
}

/// Element type, sizes (-1 where they depend on the inputs) and the names of those, of an input or output.
fn tensor_type(outlet: &Outlet) -> Option<(DType, Vec<i64>, Vec<String>)> {
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else { return None };
    let dtype = match ty {
        TensorElementType::Float32 => DType::F32,
        TensorElementType::Float64 => DType::F64,
        TensorElementType::Int64 => DType::I64,
        TensorElementType::Uint8 => DType::U8,
        _ => return None,
    };
    Some((dtype, shape.to_vec(), dimension_symbols.iter().map(ToString::to_string).collect()))
}

fn slot(allocator: &Allocator, name: &str, dtype: DType, shape: Vec<usize>) -> ort::Result<Slot> {
    let element = match dtype {
        DType::F32 => TensorElementType::Float32,
        DType::F64 => TensorElementType::Float64,
        DType::I64 => TensorElementType::Int64,
        DType::U8 => TensorElementType::Uint8,
    };
    let sizes: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let mut tensor = DynTensor::new(allocator, element, sizes)?;
    let address = tensor.data_ptr_mut().cast_const();
    Ok(Slot { name: name.to_string(), dtype, shape, _tensor: tensor, address, held: None, keys: None })
}

/// Draws noise into an input.
fn draw(
    stream: &OwnStream,
    allocator: &Allocator,
    slot: &mut Slot,
    noise: &Noise,
    number: u16,
) -> Result<(), InferError> {
    let kernels = kernels(number)?;
    let images = slot.shape.first().copied().unwrap_or(0);
    let size = slot.shape.iter().skip(1).product();
    let keyed = noise.keys.len().min(images);
    let keys = match &mut slot.keys {
        Some(keys) => keys,
        none => none.insert(DynTensor::new(allocator, TensorElementType::Uint8, [images as i64, 32])?),
    };
    let address = keys.data_ptr_mut().cast_const();
    // SAFETY: there is room for a key of each image, and the input is of this shape, in float32.
    unsafe {
        stream
            .to_device(address, noise.keys[..keyed].as_flattened())
            .and_then(|()| kernels.noise(address, slot.address, [images, keyed, size], stream.raw()))
    }
    .map_err(|error| of_device(number, &error))
}

fn width(dtype: DType) -> usize {
    match dtype {
        DType::F32 => 4,
        DType::F64 | DType::I64 => 8,
        DType::U8 => 1,
    }
}

fn upload(stream: &OwnStream, to: Pointer, tensor: &Tensor) -> Result<(), CudaError> {
    // SAFETY: the place was made for a tensor of this shape and type.
    unsafe {
        match tensor.data() {
            Data::F32(values) => stream.to_device(to, values),
            Data::F64(values) => stream.to_device(to, values),
            Data::I64(values) => stream.to_device(to, values),
            Data::U8(values) => stream.to_device(to, values),
        }
    }
}

fn download(stream: &OwnStream, slot: &Slot) -> Result<Tensor, CudaError> {
    fn read<T: Copy + Default>(stream: &OwnStream, slot: &Slot) -> Result<Vec<T>, CudaError> {
        let mut values = vec![T::default(); slot.shape.iter().product()];
        // SAFETY: the place was made for this shape, and each type is read as what it is.
        unsafe { stream.to_host(&mut values, slot.address) }?;
        Ok(values)
    }
    let data = match slot.dtype {
        DType::F32 => Data::F32(read(stream, slot)?),
        DType::F64 => Data::F64(read(stream, slot)?),
        DType::I64 => Data::I64(read(stream, slot)?),
        DType::U8 => Data::U8(read(stream, slot)?),
    };
    let message = || CudaError::Shape(format!("the output {} does not fill its shape", slot.name));
    Tensor::new(&slot.shape, data).ok_or_else(message)
}
