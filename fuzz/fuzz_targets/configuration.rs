//! Any text as a configuration: reading it ends in a result, and what was read can be written and read again.

#![no_main]

use ddae_model::config::{AnyConfig, RunConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(config) = AnyConfig::parse(text, "input", &[]) {
        let written = config.to_yaml();
        if let Err(error) = AnyConfig::parse(&written, "what was written", &[]) {
            panic!("{error}\n{written}");
        }
        let _ = config.resized([16, 24]);
    }
    let _ = RunConfig::parse(text, "input");
});
