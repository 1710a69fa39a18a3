//! The program `ddae-train` as a user meets it.

mod bad_input;
mod bounds;
mod help;
mod program;
mod resume;
mod soda;
mod training;
