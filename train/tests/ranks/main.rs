//! Several ranks: as threads of one process, and as the program's processes.

mod evaluation;
mod group;
mod labels;
mod nodes;
// That of the other tests of the program, which use more of it.
#[allow(dead_code)]
#[path = "../cli/program.rs"]
mod program;
mod reliability;
mod runs;
