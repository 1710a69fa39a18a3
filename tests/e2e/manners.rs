//! What all programs have in common: `-q`, `-v`, versions, completions and manual pages.

use ddae_tests::programs::Program;

use crate::place::Place;
use crate::tiny::with;

/// Every command, in an order in which each finds what it needs; NEW is another name each time.
const COMMANDS: [&str; 15] = [
    "ddae-data info fashion-sample",
    "ddae-data prepare fashion-sample",
    "ddae-data preview fashion-sample -o sheet.png",
    "ddae-train diffusion --config ddpm.yaml --run NEW --epochs 1 --set n_sample=0 --data-root data --device cpu",
    "ddae-export run --graph sampler -o NEW.onnx",
    "ddae-export run --list-taps",
    "ddae-export inspect sampler.onnx",
    "ddae-infer features features.onnx --data-root data --timesteps 11 --views 2 -o NEW",
    "ddae-infer merge NEW",
    "ddae-infer sample sampler.onnx --seeds 0-1 --steps 2 -o NEW-images",
    "ddae-probe knn --train train.h5 --test test.h5",
    "ddae-probe linear --train train.h5 --test test.h5 --features t11/out_2 --epochs 1",
    "ddae-probe logistic --train train.h5 --test test.h5 --features t11/out_2 --c 1",
    "ddae-probe contrastive NEW.h5",
    "ddae-probe grid run --data-root data --timesteps 11 --layers out_2,out_3 -o NEW-grid.json",
];

fn place() -> Place {
    with(&["data", "ddpm.yaml", "run", "features.onnx", "sampler.onnx", "train.h5", "test.h5"])
}

#[test]
fn quiet_leaves_the_result_alone() {
    let place = place();
    for line in COMMANDS {
        let ended = place.run(&format!("{} -q", line.replace("NEW", "quiet")));
        assert!(!ended.success().is_empty(), "the result stays: {ended}");
        assert_eq!(ended.stderr, "", "{ended}");
        assert!(!ended.stdout.contains("next:"), "{ended}");
    }
}

#[test]
fn verbose_says_what_is_opened_and_how_long_it_takes() {
    let place = place();
    for line in COMMANDS {
        let (plain, verbose) = (line.replace("NEW", "plain"), line.replace("NEW", "verbose"));
        let (plain, verbose) = (place.run(&plain), place.run(&format!("{verbose} -v")));
        let (plain, verbose) = (plain.success().len(), {
            verbose.success();
            verbose.stderr
        });
        assert!(plain > 0, "{line}");
        let first = verbose.lines().next().unwrap_or_default();
        assert!(first.starts_with("ddae-") && first.contains(" cores"), "{line}: {verbose}");
        let last = verbose.lines().last().unwrap_or_default();
        assert!(last.starts_with("took ") || last.starts_with("next: "), "{line}: {verbose}");
        let between =
            verbose.lines().filter(|line| !line.starts_with("took ") && !line.starts_with("next: "));
        assert!(between.count() > 1, "something of its own: {line}: {verbose}");
    }
}

#[test]
fn every_command_knows_its_version() {
    let place = Place::new();
    for line in COMMANDS {
        let words: Vec<&str> = line.split(' ').take(2).collect();
        // The export has no name of its own.
        let words = if words[1] == "run" { &words[..1] } else { &words[..] };
        let shown = place.done(&format!("{} --version", words.join(" ")));
        assert_eq!(shown, format!("{} {}\n", words.join("-"), env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let place = Place::new();
    for program in Program::ALL {
        let name = program.name();
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            assert!(place.done(&format!("{name} completions {shell}")).contains(name), "{shell}");
        }
        assert_eq!(place.done(&format!("{name} man pages")), "");
        let page = place.text(&format!("pages/{name}.1"));
        assert!(page.contains("DDAE_DATA"), "environment variables are in it: {page}");
    }
    let pages = place.names("pages");
    for page in ["ddae-data-info.1", "ddae-export-inspect.1", "ddae-infer-features.1", "ddae-train-soda.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} of {pages:?}");
    }
    let script = "complete -p ddae-infer >/dev/null && COMP_WORDS=(ddae-infer sample --st) COMP_CWORD=2 && \
                  _ddae__infer ddae-infer --st sample && echo \"${COMPREPLY[@]}\"";
    let file = place.done("ddae-infer completions bash");
    place.write("completions.bash", file);
    let mut bash = std::process::Command::new("bash");
    bash.args(["-c", &format!("source completions.bash && {script}")]).current_dir(place.path(""));
    assert_eq!(ddae_tests::programs::run(&mut bash).success(), "--steps\n");
}
