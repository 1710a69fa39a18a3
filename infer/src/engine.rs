//! One session of ONNX Runtime: a graph on a device.

use std::path::{Path, PathBuf};

use ddae_export::runtime;
use ort::ep::{self, ExecutionProvider};
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::DynValue;

use crate::device::Device;
use crate::error::InferError;

/// A loaded graph. Not shared between threads: every worker opens its own.
pub struct Engine {
    path: PathBuf,
    device: Device,
    session: Session,
}

/// Where a result is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// In this process's memory, to be read.
    Host,
    /// Where it was computed, to be the input of the next run.
    Device,
}

impl Engine {
    /// Loads the file at `path` with all optimisations, on the CPU with `threads` threads.
    ///
    /// # Errors
    /// When the library is missing, the file is no ONNX model, or CUDA was asked for and cannot be had: nothing falls
    /// back to the CPU by itself.
    pub fn open(path: &Path, device: Device, threads: usize) -> Result<Engine, InferError> {
        check_file(path)?;
        let load =
            |source: ort::Error| InferError::Load { path: path.to_path_buf(), message: one_line(&source) };
        let mut builder = options(threads).map_err(load)?;
        if let Device::Cuda(number) = device {
            let cuda = ep::CUDA::default()
                .with_device_id(number)
                // The exhaustive search of the default costs minutes at the first batch and seldom finds better.
                .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic);
            cuda.register(&mut builder)
                .map_err(|source| InferError::Cuda { device: number, message: one_line(&source) })?;
        }
        let session = builder.commit_from_file(path).map_err(load)?;
        Ok(Engine { path: path.to_path_buf(), device, session })
    }

    /// The execution provider that runs the graph.
    pub fn provider(&self) -> &'static str {
        match self.device {
            Device::Cpu => "CPUExecutionProvider",
            Device::Cuda(_) => "CUDAExecutionProvider",
        }
    }

    /// An entry of the file's metadata.
    pub fn metadata(&self) -> Vec<(String, String)> {
        let Ok(metadata) = self.session.metadata() else { return Vec::new() };
        let keys = metadata.custom_keys().unwrap_or_default();
        keys.into_iter()
            .filter_map(|key| Some((metadata.custom(&key)?, key)))
            .map(|(value, key)| (key, value))
            .collect()
    }

    /// Names of the outputs, in order.
    pub fn outputs(&self) -> Vec<String> {
        self.session.outputs().iter().map(|output| output.name().to_string()).collect()
    }

    /// Names of the inputs, in order.
    pub fn inputs(&self) -> Vec<String> {
        self.session.inputs().iter().map(|input| input.name().to_string()).collect()
    }

    /// Computes all outputs, in order, and leaves them where `keep` says.
    ///
    /// # Errors
    /// When an input is missing or does not fit, or the runtime fails.
    pub fn run(&mut self, inputs: &[(&str, &DynValue)], keep: Keep) -> Result<Vec<DynValue>, InferError> {
        let names = self.outputs();
        let path = self.path.clone();
        let mut compute = || -> ort::Result<Vec<DynValue>> {
            let mut binding = self.session.create_binding()?;
            for (name, value) in inputs {
                binding.bind_input(*name, *value)?;
            }
            let place = place(self.device, keep)?;
            for name in &names {
                binding.bind_output_to_device(name.as_str(), &place)?;
            }
            let mut outputs = self.session.run_binding(&binding)?;
            names
                .iter()
                .map(|name| outputs.remove(name).ok_or_else(|| ort::Error::new("an output is missing")))
                .collect()
        };
        compute().map_err(|source| InferError::Run { path, message: one_line(&source) })
    }
}

/// The memory that a result goes to.
fn place(device: Device, keep: Keep) -> ort::Result<MemoryInfo<'static>> {
    match (device, keep) {
        (Device::Cuda(number), Keep::Device) => {
            MemoryInfo::new(AllocationDevice::CUDA, number, AllocatorType::Device, MemoryType::Default)
        }
        _ => MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::CPUOutput),
    }
}

fn options(threads: usize) -> ort::Result<SessionBuilder> {
    let environment = runtime::environment().map_err(|e| ort::Error::new(e.to_string()))?;
    Ok(Session::builder(environment)?
        .with_log_level(ort::logging::LogLevel::Error)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?)
}

/// What the runtime would say in a paragraph about a file that is no model at all.
fn check_file(path: &Path) -> Result<(), InferError> {
    let problem = |message: &str| InferError::Load { path: path.to_path_buf(), message: message.to_string() };
    let info = std::fs::metadata(path).map_err(|source| problem(&source.to_string()))?;
    if info.is_dir() {
        return Err(problem("it is a folder; an ONNX file written by ddae-export is wanted here"));
    }
    if info.len() == 0 {
        return Err(problem("it is empty; write it again with ddae-export"));
    }
    Ok(())
}

fn one_line(error: &ort::Error) -> String {
    let text = error.to_string();
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given").to_string()
}
