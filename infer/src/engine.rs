//! One session of ONNX Runtime: a graph on a device.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use ddae_base::random::stream_of;
use ddae_model::tensor::{Data, Tensor};
use ddae_onnx::runtime::{self, RuntimeError, operators};
use ort::logging::LogLevel;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{Session, SessionInputValue};
use ort::value::{DynValue, Shape, TensorRef};

use crate::cuda::{CudaSession, SessionOptions};
use crate::device::Device;
use crate::error::{InferError, first_line};

/// A loaded graph. Not shared between threads: every worker opens its own.
///
/// On the CPU it computes in the calling thread alone. Each session has its own copy of the weights, in the runtime's
/// packed layouts: for the published network of 35.7 M parameters the first takes 280 MB (features at `out_6`) to 320
/// MB (sampler), every further one 140 to 230 MB. The runtime's container for shared weights does not help: it takes
/// only weights that the program hands over, and not those of a file or those that an optimisation has rearranged,
/// which here are nearly all.
///
/// On CUDA it computes in a thread of its own, on a stream of its own. Inputs and results have fixed places on the device
/// for each batch size, and after its first run the runtime replays its kernels as one graph.
pub struct Engine {
    path: PathBuf,
    inputs: Vec<String>,
    outputs: Vec<String>,
    place: Place,
    notes: Vec<String>,
    before: Option<Box<Engine>>,
}

enum Place {
    Cpu(Session),
    Cuda(CudaThread),
}

/// How a session on CUDA is set up besides what a [`Device`] says, to measure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    /// What names of files begin with to which the runtime writes how long each node takes.
    pub profile: Option<PathBuf>,
    /// Whether cuDNN's slower rules choose the algorithms of convolutions (ONNX Runtime's `EXHAUSTIVE`, which since cuDNN 9
    /// searches nothing), rather than the usual ones (`HEURISTIC`).
    pub slow_rules: bool,
    /// Whether the runtime makes standard convolutions channels-last by itself.
    pub prefer_nhwc: bool,
}

/// Where a result is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In this process's memory, to be read.
    Host,
    /// Where it was computed, to be an input of this engine's next run. On CUDA that run must be the next one.
    Device,
}

/// An input or a result.
#[derive(Debug)]
pub enum Value {
    /// In this process's memory.
    Host(Arc<Tensor>),
    /// Standard normal noise, to be drawn on the device.
    Noise(Arc<Noise>),
    /// A result on the CPU.
    Runtime(DynValue),
    /// A result that stayed on the device: its position, and the run that it is of.
    Resident {
        #[allow(missing_docs)]
        output: usize,
        #[allow(missing_docs)]
        run: u64,
    },
}

/// Standard normal noise that is yet to be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noise {
    /// The keys of the images' streams ([`ddae_base::random`]), those of the first images of a batch.
    pub keys: Vec<[u8; 32]>,
    /// The shape, `[B, …]`; images without a key have zeros.
    pub shape: Vec<usize>,
}

impl Noise {
    /// Draws it here.
    pub fn drawn(&self) -> Tensor {
        let size = self.shape.iter().skip(1).product::<usize>();
        let mut values = vec![0.0; self.shape.iter().product()];
        for (key, values) in self.keys.iter().zip(values.chunks_exact_mut(size.max(1))) {
            stream_of(*key).fill_normal(values);
        }
        Tensor::f32(&self.shape, values)
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Value {
        Value::Host(Arc::new(tensor))
    }
}

impl Value {
    /// Shape and values of a tensor of float32 in this process's memory.
    ///
    /// # Errors
    /// When it is none.
    pub fn floats(&self) -> Result<(Vec<usize>, &[f32]), InferError> {
        match self {
            Value::Host(tensor) => {
                let values = tensor.as_f32().ok_or_else(|| not_readable("floats"))?;
                Ok((tensor.shape().to_vec(), values))
            }
            Value::Runtime(value) => {
                let (shape, values) = value.try_extract_tensor::<f32>()?;
                Ok((sizes(shape), values))
            }
            Value::Resident { .. } | Value::Noise(_) => Err(not_readable("in memory")),
        }
    }

    /// The tensor of floats of 32 or 64 bits in this process's memory.
    ///
    /// # Errors
    /// When it is none.
    pub fn into_tensor(self) -> Result<Tensor, InferError> {
        match self {
            Value::Host(tensor) => Ok(Arc::unwrap_or_clone(tensor)),
            Value::Runtime(value) => {
                if let Ok((shape, values)) = value.try_extract_tensor::<f64>() {
                    return Ok(Tensor::f64(&sizes(shape), values.to_vec()));
                }
                let (shape, values) = value.try_extract_tensor::<f32>()?;
                Ok(Tensor::f32(&sizes(shape), values.to_vec()))
            }
            Value::Noise(noise) => Ok(noise.drawn()),
            Value::Resident { .. } => Err(not_readable("in memory")),
        }
    }

    /// The same value, for another thread.
    fn shared(&self) -> Result<Value, InferError> {
        match self {
            Value::Host(tensor) => Ok(Value::Host(Arc::clone(tensor))),
            Value::Noise(noise) => Ok(Value::Noise(Arc::clone(noise))),
            Value::Resident { output, run } => Ok(Value::Resident { output: *output, run: *run }),
            Value::Runtime(_) => Err(not_readable("of this device")),
        }
    }
}

fn not_readable(what: &str) -> InferError {
    InferError::Tensor(format!("a value is not {what}"))
}

fn sizes(shape: &Shape) -> Vec<usize> {
    shape.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect()
}

impl Engine {
    /// Loads the file at `path` with all optimisations.
    ///
    /// # Errors
    /// When the library is missing, the file is no ONNX model, or CUDA was asked for and cannot be had: nothing falls
    /// back to the CPU by itself.
    pub fn open(path: &Path, device: Device) -> Result<Engine, InferError> {
        Engine::open_tuned(path, device, &Tuning::default())
    }

    /// The same; on CUDA with `tuning`.
    ///
    /// # Errors
    /// Like [`Engine::open`].
    pub fn open_tuned(path: &Path, device: Device, tuning: &Tuning) -> Result<Engine, InferError> {
        let (place, inputs, outputs, note) = match device {
            Device::Cpu => {
                let session = runtime::load(options_with_operators()?, path)?;
                let inputs = session.inputs().iter().map(|input| input.name().to_string()).collect();
                let outputs = session.outputs().iter().map(|output| output.name().to_string()).collect();
                (Place::Cpu(session), inputs, outputs, None)
            }
            Device::Cuda { number, tf32, graph } => {
                let options = SessionOptions { number, tf32, graph, tuning: tuning.clone() };
                let (thread, opened) = CudaThread::open(path, options)?;
                (Place::Cuda(thread), opened.inputs, opened.outputs, opened.note)
            }
        };
        let notes = note.into_iter().collect();
        Ok(Engine { path: path.to_path_buf(), inputs, outputs, place, notes, before: None })
    }

    /// The same engine with another that makes its inputs.
    pub fn after(self, before: Option<Engine>) -> Engine {
        Engine { before: before.map(Box::new), ..self }
    }

    /// The engine that makes this one's inputs, if there is one.
    pub fn before(&mut self) -> Option<&mut Engine> {
        self.before.as_deref_mut()
    }

    /// Names of the inputs, in order.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of the outputs, in order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// What is not as it was asked for though it works: why kernels are not replayed as one graph. Each is given once.
    pub fn take_notes(&mut self) -> Vec<String> {
        let before = self.before.as_mut().map(|before| before.take_notes()).unwrap_or_default();
        std::mem::take(&mut self.notes).into_iter().chain(before).collect()
    }

    /// The error for a graph that does not do what its description says.
    pub fn unusable(&self, message: String) -> InferError {
        InferError::Model { path: self.path.clone(), message: format!("{message}; export it again") }
    }

    /// Computes all outputs, in order, and leaves them where `keep` says.
    ///
    /// # Errors
    /// When an input is missing or does not fit, or the runtime fails.
    pub fn run(&mut self, inputs: &[(&str, &Value)], keep: Keep) -> Result<Vec<Value>, InferError> {
        match &mut self.place {
            Place::Cpu(session) => on_cpu(session, &self.outputs, inputs)
                .map_err(|error| InferError::Run { path: self.path.clone(), message: first_line(&error) }),
            Place::Cuda(thread) => {
                let shared = |(name, value): &(&str, &Value)| Ok((name.to_string(), value.shared()?));
                let inputs = inputs.iter().map(shared).collect::<Result<Vec<_>, InferError>>()?;
                let answer = thread.run(inputs, keep)?;
                self.notes.extend(answer.note);
                Ok(answer.results)
            }
        }
    }
}

fn on_cpu(session: &mut Session, outputs: &[String], inputs: &[(&str, &Value)]) -> ort::Result<Vec<Value>> {
    let drawn: Vec<Option<Value>> = inputs
        .iter()
        .map(|(_, value)| match value {
            Value::Noise(noise) => Some(noise.drawn().into()),
            _ => None,
        })
        .collect();
    let named = inputs
        .iter()
        .zip(&drawn)
        .map(|((name, value), drawn)| Ok((*name, view(drawn.as_ref().unwrap_or(value))?)));
    let named = named.collect::<ort::Result<Vec<(&str, SessionInputValue<'_>)>>>()?;
    let mut results = session.run(named)?;
    let taken = outputs.iter().map(|name| results.remove(name).map(Value::Runtime));
    taken.collect::<Option<_>>().ok_or_else(|| ort::Error::new("an output is missing"))
}

/// A value as an input of the CPU's sessions.
fn view(value: &Value) -> ort::Result<SessionInputValue<'_>> {
    let tensor = match value {
        Value::Host(tensor) => tensor,
        Value::Runtime(value) => return Ok(value.into()),
        Value::Noise(_) | Value::Resident { .. } => return Err(ort::Error::new("a value is not in memory")),
    };
    let shape = tensor.shape();
    Ok(match tensor.data() {
        Data::F32(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::F64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::I64(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
        Data::U8(values) => TensorRef::from_array_view((shape, values.as_slice()))?.into(),
    })
}

/// The thread that a session on CUDA lives in.
struct CudaThread {
    requests: Option<Sender<(Vec<(String, Value)>, Keep)>>,
    answers: Receiver<Result<Answer, InferError>>,
    thread: Option<JoinHandle<()>>,
}

struct Answer {
    results: Vec<Value>,
    note: Option<String>,
}

/// What a session says of itself once it is open.
struct Opened {
    inputs: Vec<String>,
    outputs: Vec<String>,
    note: Option<String>,
}

impl CudaThread {
    fn open(path: &Path, options: SessionOptions) -> Result<(CudaThread, Opened), InferError> {
        let (requests, received) = channel::<(Vec<(String, Value)>, Keep)>();
        let (answer, answers) = channel();
        let (tell, told) = channel();
        let path = path.to_path_buf();
        let serve = move || {
            let mut session = match CudaSession::open(&path, options) {
                Ok(session) => session,
                Err(error) => {
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            let (inputs, outputs, note) = (session.inputs(), session.outputs(), session.take_note());
            let _ = tell.send(Ok(Opened { inputs, outputs, note }));
            for (inputs, keep) in received {
                let results = session.run(&inputs, keep);
                // The inputs are the next batch's memory: they go before the answer.
                drop(inputs);
                let result = results.map(|results| Answer { results, note: session.take_note() });
                if answer.send(result).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("cuda".to_string()).spawn(serve);
        let thread = thread.map_err(|_| InferError::Thread)?;
        let opened = told.recv().unwrap_or(Err(InferError::Thread))?;
        Ok((CudaThread { requests: Some(requests), answers, thread: Some(thread) }, opened))
    }

    fn run(&mut self, inputs: Vec<(String, Value)>, keep: Keep) -> Result<Answer, InferError> {
        let requests = self.requests.as_ref().ok_or(InferError::Thread)?;
        requests.send((inputs, keep)).map_err(|_| InferError::Thread)?;
        self.answers.recv().unwrap_or(Err(InferError::Thread))
    }
}

impl Drop for CudaThread {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A session's options, alike on all devices.
pub(crate) fn options() -> Result<SessionBuilder, InferError> {
    let environment = runtime::environment()?;
    let build = || -> ort::Result<SessionBuilder> {
        Ok(Session::builder(environment)?
            .with_log_level(LogLevel::Error)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?)
    };
    build().map_err(library)
}

fn options_with_operators() -> Result<SessionBuilder, InferError> {
    let operators = operators::on_cpu().map_err(library)?;
    options()?.with_operators(operators).map_err(|error| library(error.into()))
}

fn library(error: ort::Error) -> InferError {
    let (path, message) = (runtime::library_path(), first_line(&error));
    RuntimeError::Library { path, message }.into()
}
