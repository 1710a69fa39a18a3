//! Ctrl-C, a killed process, two processes at once.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ddae_base::lock::Lock;
use ddae_tests::programs::Running;

use crate::scene::{assert_undisturbed, command, done, infer, names, shards};

/// Long enough to be met in the middle: 42 images in 14 shards.
const JOB: &str = "features FEATURES --data-root DATA --timesteps 11,21 --views 12 --shards 14 -o out";
const SAMPLE: &str = "sample DDPM --sampler ddpm --seeds 0-9 --batch 1 -o images";

fn start(folder: &Path, line: &str) -> Running {
    Running::start(&mut command(folder, line))
}

#[test]
fn an_interrupted_job_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let running = start(root, JOB).wait_until(|| shards(root) >= 2);
    let ended = running.interrupt().wait();
    assert_eq!(ended.error(&[130]), "error: interrupted; finished shards stay, and the same command goes on");
    // Only whole shards are left, of this and nothing else.
    let left = shards(root);
    assert!((2..14).contains(&left), "{:?}", names(root));
    assert_eq!(names(root).len(), left, "{:?}", names(root));
    let images = infer(root, &format!("{JOB} --json")).json()["images"].clone();
    assert_eq!(images, (14 - left) * 3);
    assert_undisturbed(root, JOB);
}

#[test]
fn a_killed_job_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    // Dropped, it is killed.
    drop(start(root, JOB).wait_until(|| shards(root) >= 1));
    assert!(shards(root) >= 1, "{:?}", names(root));
    done(root, JOB);
    assert_undisturbed(root, JOB);
}

#[test]
fn an_interrupted_overwriting_job_goes_on_without_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, "features FIXED --data-root DATA -o out");
    let running = start(root, &format!("{JOB} --overwrite")).wait_until(|| shards(root) >= 1);
    let ended = running.interrupt().wait();
    assert_eq!(
        ended.error(&[130]),
        "error: interrupted; finished shards stay, and the same command without --overwrite goes on"
    );
    let images = infer(root, &format!("{JOB} --json")).json()["images"].clone();
    assert!(images.as_u64().is_some_and(|images| images < 42 * 24), "{images}");
    assert_eq!(names(root), ["out.h5"]);
}

#[test]
fn an_output_has_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let refused = |line: &str, output: &str| {
        let wanted = "another ddae-infer is writing here; wait for it, or choose another output";
        assert_eq!(infer(root, line).error(&[1]), format!("error: {output}: {wanted}"));
    };
    let job = "features FIXED --data-root DATA -o out";
    let held = Lock::output(&root.join("out.h5")).expect("a lock");
    refused(job, "out.h5");
    // The shards' writers do not need the whole.
    let printed = done(root, &format!("{job} --shard 0/2"));
    assert!(printed.ends_with("\nshards still to come: 1\n"), "{printed}");
    let printed = done(root, &format!("{job} --shard 1/2"));
    assert!(
        printed.ends_with("\nall shards are here, and another ddae-infer is joining them\n"),
        "{printed}"
    );
    refused("merge out", "out.h5");
    drop(held);
    done(root, "merge out");
    let held = Lock::output(&root.join("out.0001-of-0002.h5")).expect("a lock");
    refused(&format!("{job} --shard 1/2 --overwrite"), "out.0001-of-0002.h5");
    drop(held);
    assert_eq!(names(root), ["out.h5"]);

    std::fs::create_dir(root.join("images")).expect("a folder");
    let _held = Lock::folder(&root.join("images")).expect("a lock");
    refused("sample DDPM --steps 1 --seeds 0 -o images", "images");
    assert_eq!(names(root), ["out.h5"]);
}

/// Whoever comes second is refused at the start, and what the first writes is whole.
#[test]
fn arrays_and_sheets_have_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let busy = "another process is writing here; wait for it, or choose another output";
    for (name, option) in [("array.npy", "--npy"), ("sheet.png", "--sheet")] {
        let long = format!("sample DDPM --sampler ddpm --seeds 0-2047 --threads 1 --no-png {option} {name}");
        let first = start(root, &long).wait_until(|| root.join(format!("{name}.lock")).is_file());
        let other = format!("sample DDPM --steps 1 --seeds 0-3 --no-png {option} {name}");
        let refusal = infer(root, &other).error(&[1]).to_string();
        assert!(
            refusal == format!("error: cannot write {name}: {busy}") || refusal.contains("is writing here"),
            "{refusal}"
        );
        assert!(!root.join(name).exists());
        first.interrupt().wait();
        assert!(names(root).is_empty(), "{:?}", names(root));
    }
}

/// What a killed process leaves is removed when the same output is written, and nothing of others is.
#[test]
fn the_next_run_clears_what_a_killed_one_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let left =
        |name: &str| names(root).iter().any(|found| found.starts_with(name) && found.ends_with(".partial"));
    for name in ["array", "other"] {
        let line = format!("sample DDPM --sampler ddpm --seeds 0-2047 --threads 1 --no-png --npy {name}.npy");
        drop(start(root, &line).wait_until(|| left(name)));
        assert!(left(name));
    }
    done(root, "sample DDPM --steps 1 --seeds 0-3 --no-png --npy array.npy");
    assert!(left("other") && !left("array"));
    done(root, "sample DDPM --steps 1 --seeds 0-3 --no-png --npy other.npy");
    assert_eq!(names(root), ["array.npy", "other.npy"]);
}

fn images(folder: &Path) -> usize {
    match folder.join("images").is_dir() {
        true => names(&folder.join("images")).iter().filter(|name| name.ends_with(".png")).count(),
        false => 0,
    }
}

#[test]
fn interrupted_sampling_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, &SAMPLE.replace("images", "whole"));
    let line = format!("{SAMPLE} --npy array.npy --sheet sheet.png");
    let running = start(root, &line).wait_until(|| images(root) >= 2);
    let ended = running.interrupt().wait();
    assert_eq!(
        ended.error(&[130]),
        "error: interrupted; the images drawn so far stay, and the same command goes on"
    );
    assert!(!names(root).iter().any(|name| name.contains("partial") || name.starts_with("array")));
    let left = images(root);
    let drawn = infer(root, &format!("{line} --json")).json()["drawn"].clone();
    assert_eq!(drawn, 10 - left);
    for name in names(&root.join("whole")) {
        let read = |folder: &str| std::fs::read(root.join(folder).join(&name)).expect("a file");
        assert!(read("images") == read("whole"), "{name}");
    }
    assert!(root.join("array.npy").is_file() && root.join("sheet.png").is_file());
}

/// A batch of ancestral sampling takes long; the stop comes between its steps.
#[test]
fn sampling_stops_within_a_batch() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let line = "sample DDPM --sampler ddpm --seeds 0-2047 --batch 1024 --threads 1 --no-png --npy array.npy";
    let running = start(root, line).wait_until(|| names(root).iter().any(|name| name.ends_with(".partial")));
    sleep(Duration::from_millis(50));
    let begun = Instant::now();
    let ended = running.interrupt().wait();
    assert_eq!(
        ended.error(&[130]),
        "error: interrupted; nothing is left, since --no-png keeps no images on the way"
    );
    assert!(names(root).is_empty(), "{:?}", names(root));
    // One of a hundred steps, not the batch; far from exact, so that a busy machine passes.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
