//! Whole pages: what is in them, what is said to be missing, that nothing from outside becomes HTML, and, where a browser is
//! installed, that nothing fails in it.

mod browser;
mod content;
mod dom;
mod fixture;
