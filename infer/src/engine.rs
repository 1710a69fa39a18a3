//! One session of ONNX Runtime: a graph on a device.

use std::path::{Path, PathBuf};

use ddae_onnx::runtime::{self, RuntimeError};
use ort::logging::LogLevel;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::DynValue;

use crate::cuda;
use crate::device::Device;
use crate::error::{InferError, first_line};

/// A loaded graph. Not shared between threads: every worker opens its own.
///
/// On the CPU it computes in the calling thread alone. Each session has its own copy of the weights, in the runtime's
/// packed layouts: for the published network of 35.7 M parameters the first takes 280 MB (features at `out_6`) to 320
/// MB (sampler), every further one 140 to 230 MB. The runtime's container for shared weights does not help: it takes
/// only weights that the program hands over, and not those of a file or those that an optimisation has rearranged,
/// which here are nearly all.
pub struct Engine {
    path: PathBuf,
    device: Device,
    session: Session,
    outputs: Vec<String>,
    before: Option<Box<Engine>>,
}

/// Where a result is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In this process's memory, to be read.
    Host,
    /// Where it was computed, to be an input of the next run.
    Device,
}

impl Engine {
    /// Loads the file at `path` with all optimisations.
    ///
    /// # Errors
    /// When the library is missing, the file is no ONNX model, or CUDA was asked for and cannot be had: nothing falls
    /// back to the CPU by itself.
    pub fn open(path: &Path, device: Device) -> Result<Engine, InferError> {
        let load = |error: ort::Error| InferError::Model {
            path: path.to_path_buf(),
            message: format!("ONNX Runtime says: {}", first_line(&error)),
        };
        let mut builder = options()?;
        if let Device::Cuda { number, tf32 } = device {
            cuda::register(&mut builder, number, tf32)?;
        }
        let session = match device {
            Device::Cpu => runtime::load(builder, path)?,
            Device::Cuda { .. } => builder.commit_from_file(path).map_err(load)?,
        };
        let outputs = session.outputs().iter().map(|output| output.name().to_string()).collect();
        Ok(Engine { path: path.to_path_buf(), device, session, outputs, before: None })
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
    pub fn inputs(&self) -> Vec<String> {
        self.session.inputs().iter().map(|input| input.name().to_string()).collect()
    }

    /// Names of the outputs, in order.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The error for a graph that does not do what its description says.
    pub fn unusable(&self, message: String) -> InferError {
        InferError::Model { path: self.path.clone(), message: format!("{message}; export it again") }
    }

    /// Computes all outputs, in order, and leaves them where `keep` says.
    ///
    /// # Errors
    /// When an input is missing or does not fit, or the runtime fails.
    pub fn run(&mut self, inputs: &[(&str, &DynValue)], keep: Keep) -> Result<Vec<DynValue>, InferError> {
        let mut compute = || -> ort::Result<Vec<DynValue>> {
            let mut binding = self.session.create_binding()?;
            for (name, value) in inputs {
                binding.bind_input(*name, *value)?;
            }
            let place = place(self.device, keep)?;
            for name in &self.outputs {
                binding.bind_output_to_device(name.as_str(), &place)?;
            }
            if self.device != Device::Cpu {
                // Inputs are on their way to the GPU.
                binding.synchronize_inputs()?;
            }
            let mut results = self.session.run_binding(&binding)?;
            if self.device != Device::Cpu {
                binding.synchronize_outputs()?;
            }
            let taken = self.outputs.iter().map(|name| results.remove(name));
            taken.collect::<Option<_>>().ok_or_else(|| ort::Error::new("an output is missing"))
        };
        compute().map_err(|error| InferError::Run { path: self.path.clone(), message: first_line(&error) })
    }
}

fn options() -> Result<SessionBuilder, InferError> {
    let environment = runtime::environment()?;
    let build = || -> ort::Result<SessionBuilder> {
        Ok(Session::builder(environment)?
            .with_log_level(LogLevel::Error)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?)
    };
    build().map_err(|error| {
        let (path, message) = (runtime::library_path(), first_line(&error));
        RuntimeError::Library { path, message }.into()
    })
}

/// The memory that a result goes to.
fn place(device: Device, keep: Keep) -> ort::Result<MemoryInfo<'static>> {
    match (device, keep) {
        (Device::Cuda { number, .. }, Keep::Device) => {
            MemoryInfo::new(AllocationDevice::CUDA, number.into(), AllocatorType::Device, MemoryType::Default)
        }
        _ => MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput),
    }
}
