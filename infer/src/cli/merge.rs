//! `ddae-infer merge`.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ddae_base::arguments::values::whole;
use ddae_base::json;
use ddae_infer::InferError;
use ddae_infer::features::Join;
use ddae_store::MergeMode;
use serde_json::json;

use super::stop_on_signal;

/// Join the shards that `features --shard I/N` computed
///
/// The shards PREFIX.0000-of-0004.h5 to PREFIX.0003-of-0004.h5 become PREFIX.h5 and are removed.
#[derive(Args, Debug)]
pub struct Arguments {
    /// What was given to `features` as -o
    prefix: PathBuf,

    /// Number of shards, where there are shards of several jobs
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..))]
    shards: Option<usize>,

    /// Make a small file that refers to the shards, which stay and must move with it
    #[arg(long = "virtual")]
    refer: bool,

    /// Leave the shards where they are
    #[arg(long)]
    keep: bool,

    /// Replace PREFIX.h5 if it is there
    #[arg(long)]
    overwrite: bool,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut out = ddae_base::stdout();
    let join = Join {
        prefix: &arguments.prefix,
        shards: arguments.shards,
        mode: if arguments.refer { MergeMode::Virtual } else { MergeMode::Copy },
        keep: arguments.keep,
        overwrite: arguments.overwrite,
    };
    ddae_base::detail(|| format!("joining the shards of {}", ddae_base::plain(arguments.prefix.display())));
    let joined = join.run(&stop_on_signal()).map_err(|error| match error {
        InferError::Interrupted => {
            ddae_base::ending::stopped("interrupted; the shards stay, and the same command joins them")
        }
        other => other.into(),
    })?;
    if arguments.json {
        let object = json!({ "file": joined.path, "shards": joined.shards, "pictures": joined.rows });
        return Ok(json::print("ddae.merge/1", &object)?);
    }
    let file = ddae_base::plain(joined.path.display());
    match joined.shards {
        0 => writeln!(out, "{file} is complete already, {} images", joined.rows)?,
        shards if arguments.refer => {
            let rows = joined.rows;
            writeln!(
                out,
                "{file}: {rows} images of {shards} shards, which it refers to and needs beside it"
            )?;
        }
        shards => writeln!(out, "{file}: {} images of {shards} shards", joined.rows)?,
    }
    Ok(())
}
