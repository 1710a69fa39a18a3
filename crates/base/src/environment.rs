//! The environment variables that programs heed, in one place: for their help, and for `docs/environment.md`.

/// A variable that a user may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// The programs that heed it; none for all.
    pub programs: &'static [&'static str],
    /// What it is for, in a line.
    pub about: &'static str,
}

impl Variable {
    const fn of_all(name: &'static str, about: &'static str) -> Variable {
        Variable { name, programs: &[], about }
    }

    const fn of(name: &'static str, programs: &'static [&'static str], about: &'static str) -> Variable {
        Variable { name, programs, about }
    }
}

/// All that programs heed.
pub const VARIABLES: [Variable; 11] = [
    Variable::of_all("DDAE_DATA", "Folder of the data sets, where no option names one [default: ./datasets]"),
    Variable::of_all("DDAE_MAX_MEGAPIXELS", "Largest image that is decoded [default: 50]"),
    Variable::of_all("DDAE_MEMORY", "Memory to count on, as in 8GiB [default: what is free]"),
    Variable::of(
        "DDAE_CACHE",
        &["ddae-train", "ddae-infer", "ddae-probe"],
        "Folder of compiled CUDA kernels [default: ~/.cache/ddae]",
    ),
    Variable::of(
        "ORT_DYLIB_PATH",
        &["ddae-export", "ddae-infer", "ddae-probe"],
        "The library of ONNX Runtime to load",
    ),
    Variable::of("OMP_NUM_THREADS", &["ddae-train"], "Threads of libtorch, where --threads does not say"),
    Variable::of(
        "LIBTORCH",
        &["ddae-train"],
        "Folder of libtorch, in which its CUDA libraries are looked for",
    ),
    Variable::of(
        "SLURM_ARRAY_TASK_ID",
        &["ddae-infer"],
        "The shard, where --shard does not say, with the count of tasks",
    ),
    Variable::of("JOB_COMPLETION_INDEX", &["ddae-infer"], "Likewise, of as many as --shards says"),
    Variable::of("RANK", &["ddae-infer", "ddae-train"], "The shard or rank of this process, of WORLD_SIZE"),
    Variable::of_all("COLUMNS", "Width of help texts, where the terminal does not tell"),
];

/// Those that a program heeds.
pub fn of_program(program: &str) -> impl Iterator<Item = Variable> {
    VARIABLES
        .into_iter()
        .filter(move |variable| variable.programs.is_empty() || variable.programs.contains(&program))
}

/// The section of a program's help.
pub fn help(program: &str) -> String {
    let width = of_program(program).map(|variable| variable.name.len()).max().unwrap_or(0);
    let lines = of_program(program).map(|Variable { name, about, .. }| format!("\n  {name:width$}  {about}"));
    std::iter::once("Environment variables:".to_string()).chain(lines).collect()
}
