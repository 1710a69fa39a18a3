//! Configurations that would take all time or memory are refused in one line, before anything is made.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use ddae_tests::programs;

use crate::program::Place;

#[test]
fn a_network_that_no_machine_holds() {
    let place = Place::new();
    let wide = "--config ddpm.yaml --set network.n_channels=65504 --set network.ch_mults=[1] --set network.is_attn=[False]";
    let wanted = "training this network needs at least … TiB of memory, and … are free: choose a smaller network (of a UNet \
                  n_channels and ch_mults, of a DiT hidden_size and depth) (where that is wrong, set DDAE_MEMORY)";
    place.refuses([(1, wide, wanted)]);
    let dry = format!("{wide} --dry-run");
    let shown = place.train(&dry.split(' ').collect::<Vec<_>>()).stdout;
    assert!(
        shown.contains("note        on the CPU of this machine, training this network needs at least "),
        "{shown}"
    );
}

/// The same network on a machine with less: what is said is what helps.
#[test]
fn what_is_needed_is_compared_with_what_is_free() {
    let place = Place::new();
    let run =
        |memory: &str| programs::run(place.command(&["--config", "ddpm.yaml"]).env("DDAE_MEMORY", memory));
    let short = run("1MiB");
    let error = short.error(&[1]);
    assert!(
        error.contains("training this network needs at least ") && error.contains("1.0 MiB are free"),
        "{error}"
    );
    // Once there is room for the parameters, that for the images is short.
    let batch =
        (2..).map(|mib| run(&format!("{mib}MiB"))).find(|ended| !ended.stderr.contains("this network"));
    let batch = batch.expect("enough for the parameters");
    let error = batch.error(&[1]);
    assert!(error.starts_with("error: a step of ") && error.contains(" are free: "), "{error}");
    let error = run("plenty");
    assert_eq!(
        error.error(&[1]),
        "error: DDAE_MEMORY is 'plenty'; a size is wanted, as in 8GiB, or 'unlimited'"
    );
    assert!(!place.path("run").exists());
}

#[test]
fn configurations_without_end() {
    let place = Place::new();
    place.write("deep.yaml", "[".repeat(60_000));
    place.write("long.yaml", "[".repeat(200_000));
    let device = "it is a device or a socket; a file or a pipe is wanted here";
    place.refuses([
        (2, "--config deep.yaml", "deep.yaml: its brackets nest more than 64 deep; no configuration does"),
        (
            1,
            "--config long.yaml",
            "long.yaml: it is longer than the 65536 bytes that are read of such a file",
        ),
        (1, "--config /dev/zero", &format!("/dev/zero: {device}")),
        (1, "--config /dev/null", &format!("/dev/null: {device}")),
    ]);
    let line = format!("--config ddpm.yaml --set network={}", "[".repeat(60_000));
    place.refuses([(
        2,
        line,
        "…its brackets nest more than 64 deep; no configuration does; try 'ddae-train diffusion --help'",
    )]);
}

/// A pipe is read like a file.
#[test]
fn a_configuration_from_a_pipe() {
    let place = Place::new();
    let mut command = std::process::Command::new("sh");
    let program = place.command(&["--config", "/dev/stdin", "--dry-run"]);
    let script = "cat ddpm.yaml | \"$0\" \"$@\"";
    command
        .current_dir(place.path(""))
        .arg("-c")
        .arg(script)
        .arg(program.get_program())
        .args(program.get_args());
    assert!(programs::run(&mut command).success().starts_with("data "));
}

#[test]
fn names_that_would_steer_a_terminal() {
    let place = Place::new();
    place.refuses([(
        1,
        "--config a\u{1b}[31m\u{9b}2J.yaml",
        r"a\u{1b}[31m\u{9b}2J.yaml: there is no such file or folder",
    )]);
    let name = OsString::from_vec(b"a\nerror: b\xff.yaml".to_vec());
    let ended = programs::run(place.command(&[]).arg("--config").arg(name));
    let error = ended.error(&[1]);
    assert!(error.starts_with(r"error: a\nerror: b"), "{error}");
    let ended =
        programs::run(&mut place.command(&["--config", "ddpm.yaml", "--epochs", "1\n\nerror: 2\u{1b}[2J"]));
    let error = ended.error(&[2]);
    assert!(
        error.contains(r"--epochs '1\n\nerror: 2\u{1b}[2J': a whole number of at least 1 is wanted"),
        "{error}"
    );
    let shown = place.train(&["--config", "ddpm.yaml", "--run", "a\nb\u{1b}[2J", "--dry-run"]).stdout;
    assert!(shown.contains("run folder  a\\nb\\u{1b}[2J\n"), "{shown}");
}
