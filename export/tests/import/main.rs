//! Weights of every network that can be imported, in the files that others publish, through the program into ONNX files
//! that compute what the published code computed.

mod diffusers;
mod edm;
mod forms;
mod networks;
mod options;
mod place;
mod ready_made;
mod schedulers;
mod sets;
mod soda;
mod told;
#[path = "../../../crates/checkpoint/tests/checkpoint/torch_save.rs"]
#[allow(dead_code)]
mod torch_save;
