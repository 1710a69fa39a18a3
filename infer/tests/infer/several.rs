//! Jobs over several processes of this machine (`--nproc`): what they compute is, to the last byte, what one process computes, and
//! what ends one of them ends all in good order.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ddae_tests::programs::{Ended, Running, run};
use serde_json::{Value, json};

use crate::codes::{dit, export, latent, latent_encoder};
use crate::scene::{Export, assert_undisturbed, command, data, done, infer, names, refuses, result, shards};

const FEATURES: &str = "features FEATURES --data-root DATA --timesteps 5";
const SAMPLE: &str = "sample DDPM --steps 4 --seeds 3-13";
/// Long enough to be met in the middle, in three processes too: 42 images in 14 shards.
const JOB: &str =
    "features FEATURES --data-root DATA --timesteps 11,21 --views 36 --shards 14 --threads 1 -o out";

fn bytes(path: PathBuf) -> Vec<u8> {
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What results of the same job have in common, whoever computed it.
fn common(mut object: Value, differing: &[&str]) -> Value {
    let keys = object.as_object_mut().expect("an object");
    for key in ["seconds", "images_per_second", "sessions", "peak_memory_bytes"].iter().chain(differing) {
        assert!(keys.remove(*key).is_some(), "{key}");
    }
    object
}

#[test]
fn processes_compute_the_features_of_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let alone = common(result(root, &format!("{FEATURES} -o whole --json")), &["file"]);
    for count in [1_u64, 2, 3, 4] {
        let name = format!("of-{count}");
        let object = result(root, &format!("{FEATURES} --nproc {count} -o {name} --json"));
        assert_eq!(object["processes"], count);
        assert!(object["sessions"].as_u64().is_some_and(|sessions| sessions >= count), "{object}");
        assert_eq!(common(object, &["file", "processes"]), alone);
        assert!(bytes(root.join(format!("{name}.h5"))) == bytes(root.join("whole.h5")), "{name}");
    }
    let printed = done(root, &format!("{FEATURES} --nproc 2 --threads 1 -o of-2"));
    assert!(printed.starts_with("of-2.h5 is complete already\n"), "{printed}");
    let printed = done(root, &format!("{FEATURES} --nproc 2 --threads 1 -o of-2 --overwrite"));
    assert!(
        printed.starts_with("42 images in ") && printed.contains(", 2 sessions in 2 processes, "),
        "{printed}"
    );
    // More processes than images, and files in another format.
    for (name, count) in [("few", 1), ("few-of-5", 5)] {
        done(root, &format!("{FEATURES} --limit 3 --nproc {count} -o {name} --format safetensors"));
    }
    for end in ["h5", "safetensors"] {
        assert!(
            bytes(root.join(format!("few.{end}"))) == bytes(root.join(format!("few-of-5.{end}"))),
            "{end}"
        );
    }
    let left: Vec<String> = names(root).into_iter().filter(|name| name.contains("-of-000")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn processes_compute_latents_and_features_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    export(root, "dit", &dit(), Export::features(&["layer-0"]));
    export(root, "vae", &latent_encoder([8, 8]), latent());
    let images = "--data folder --data-root DATA --split test";
    let latents = format!("features vae.onnx {images} --views 2 --crop --flip --seed 5");
    done(root, &format!("{latents} -o latents"));
    done(root, &format!("{latents} --nproc 3 -o parts"));
    assert!(bytes(root.join("parts.h5")) == bytes(root.join("latents.h5")));
    let of_file = "features dit.onnx --latents latents.h5 --timesteps 0,81 --seed 5";
    done(root, &format!("{of_file} -o features"));
    done(root, &format!("{of_file} --nproc 2 -o of-file"));
    let by_the_way = format!(
        "features dit.onnx --latents vae.onnx {images} --views 2 --crop --flip --timesteps 0,81 --seed 5"
    );
    done(root, &format!("{by_the_way} --nproc 2 -o by-the-way"));
    for name in ["of-file.h5", "by-the-way.h5"] {
        assert!(bytes(root.join(name)) == bytes(root.join("features.h5")), "{name}");
    }
}

#[test]
fn processes_draw_the_images_of_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let files = |name: &str| format!("-o {name} --npy {name}.npy --sheet {name}.png --json");
    let alone = common(result(root, &format!("{SAMPLE} {}", files("whole"))), &["folder", "npy", "sheet"]);
    for count in [1_u64, 2, 3, 20] {
        let name = format!("of-{count}");
        let object = result(root, &format!("{SAMPLE} --nproc {count} {}", files(&name)));
        assert_eq!(object["processes"], count.min(11));
        assert_eq!(common(object, &["folder", "npy", "sheet", "processes"]), alone);
        assert_eq!(names(&root.join(&name)), names(&root.join("whole")));
        for image in names(&root.join("whole")) {
            assert!(
                bytes(root.join(&name).join(&image)) == bytes(root.join("whole").join(&image)),
                "{image}"
            );
        }
        for end in ["npy", "png"] {
            assert!(
                bytes(root.join(format!("{name}.{end}"))) == bytes(root.join(format!("whole.{end}"))),
                "{end}"
            );
        }
    }
    // More seeds later, and nothing to draw.
    let more = SAMPLE.replace("3-13", "3-16");
    assert_eq!(result(root, &format!("{more} --nproc 2 -o of-2 --json"))["drawn"], 3);
    let object = result(root, &format!("{more} --nproc 2 -o of-2 --json"));
    assert_eq!((&object["drawn"], &object["processes"]), (&json!(0), &json!(0)));
}

#[test]
fn a_machines_shard_is_divided_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    done(root, &format!("{FEATURES} -o whole"));
    let object = result(root, &format!("{FEATURES} --shard 1/2 --nproc 2 -o parts --json"));
    let wanted = (&json!("1/2"), &json!(21), &json!([0, 1]));
    assert_eq!((&object["shard"], &object["images"], &object["missing_shards"]), wanted);
    let mut array = command(root, &format!("{FEATURES} --nproc 2 -o parts --json"));
    array.env("SLURM_ARRAY_TASK_ID", "0").env("SLURM_ARRAY_TASK_COUNT", "2");
    let object = run(&mut array).json();
    assert_eq!((&object["shard"], &object["file"]), (&json!("0/2"), &json!("parts.h5")));
    assert!(bytes(root.join("parts.h5")) == bytes(root.join("whole.h5")));
    assert_eq!(names(root), ["parts.h5", "whole.h5"]);

    done(root, &format!("{SAMPLE} -o all"));
    let printed = done(root, &format!("{SAMPLE} -o images --shard 0/2 --nproc 2"));
    assert!(printed.contains("part    0/2: 6 of 11 are still to come from others\n"), "{printed}");
    done(root, &format!("{SAMPLE} -o images --shard 1/2 --nproc 3"));
    assert_eq!(names(&root.join("images")), names(&root.join("all")));
}

/// The processes whose parent is `parent`, as the system lists them.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("a list").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|number| state(*number).is_some_and(|(_, of)| of == parent)).collect()
}

/// The state of a process, and its parent; none where there is no such process.
fn state(number: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}

/// Waits for the end of processes that nobody of this test waits for.
fn gone(processes: &[u32]) {
    let begun = Instant::now();
    while processes.iter().any(|number| state(*number).is_some_and(|(state, _)| state != 'Z')) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{processes:?} still run");
        sleep(Duration::from_millis(10));
    }
}

/// The job in three processes, met in the middle, and their numbers. The one that started them is suspended, so that it hands
/// nothing out until it is [continued](Running::signal).
fn met(root: &Path) -> (Running, Vec<u32>) {
    let running = Running::start(&mut command(root, &format!("{JOB} --nproc 3")));
    let running = running.wait_until(|| shards(root) >= 2).signal("STOP");
    let number = running.id();
    let running = running.wait_until(|| state(number).is_some_and(|(state, _)| state == 'T'));
    let members = children(number);
    assert_eq!(members.len(), 3);
    (running, members)
}

/// Sends a signal to a process.
fn send(signal: &str, number: u32) {
    let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {number}")]).status();
    assert!(kill.expect("a shell").success());
}

/// A job with --skip-broken that has found what it would compute, and stands before it starts the processes until the file is
/// dropped: it reads whether its list of broken images is there, which is a pipe.
fn standing(root: &Path, line: &str) -> (Running, File) {
    /// A pipe that nobody reads yet is an error then.
    const O_NONBLOCK: i32 = 0o4000;
    let list = root.join("out.broken.txt");
    let made = Command::new("mkfifo").arg(&list).status();
    assert!(made.expect("mkfifo").success());
    let opened = RefCell::new(None);
    let running = Running::start(&mut command(root, &format!("{line} --skip-broken -o out")));
    let running = running.wait_until(|| {
        *opened.borrow_mut() = OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&list).ok();
        opened.borrow().is_some()
    });
    fs::remove_file(list).expect("removed");
    (running, opened.into_inner().expect("a pipe"))
}

/// What was left goes on, on as many processes as `options` say, to the file of a job that nothing ended.
#[track_caller]
fn goes_on(root: &Path, options: &str) {
    let left = shards(root);
    assert!((2..14).contains(&left), "{:?}", names(root));
    assert_eq!(names(root).len(), left, "nothing but whole shards: {:?}", names(root));
    assert_eq!(infer(root, &format!("{JOB} {options} --json")).json()["images"], (14 - left) * 3);
    assert_undisturbed(root, JOB);
}

#[test]
fn a_process_that_is_killed_ends_the_others_and_the_job_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (running, members) = met(root);
    send("KILL", members[1]);
    let ended = running.signal("CONT").wait();
    let error = ended.error(&[1]);
    assert!(
        error.starts_with("error: process ") && error.contains(" of 3 was ended by signal 9 (SIGKILL), "),
        "{error}"
    );
    assert!(
        error.ends_with("and the others with it; finished shards stay, and the same command goes on"),
        "{error}"
    );
    gone(&members);
    // Of the one that was killed, a lock and the beginning of a shard are left; the next run clears them.
    let left: Vec<String> = names(root).into_iter().filter(|name| !name.ends_with(".h5")).collect();
    assert!(left.iter().all(|name| name.ends_with(".lock") || name.ends_with(".partial")), "{left:?}");
    let whole = shards(root);
    assert_eq!(infer(root, &format!("{JOB} --nproc 3 --json")).json()["images"], (14 - whole) * 3);
    assert_undisturbed(root, JOB);
}

#[test]
fn an_interrupt_ends_all_processes_in_good_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (running, members) = met(root);
    let ended = running.interrupt().signal("CONT").wait();
    assert_eq!(ended.error(&[130]), "error: interrupted; finished shards stay, and the same command goes on");
    assert_eq!(ended.stderr.matches("stopping (again to stop at once)").count(), 1, "{ended}");
    gone(&members);
    goes_on(root, "--nproc 2");
}

#[test]
fn a_process_that_alone_is_asked_to_end_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (running, members) = met(root);
    send("TERM", members[1]);
    gone(&members[1..2]);
    let ended = running.signal("CONT").wait();
    let error = ended.error(&[143]);
    let wanted =
        " of 3: interrupted, and the others with it; finished shards stay, and the same command goes on";
    assert!(error.starts_with("error: process ") && error.ends_with(wanted), "{error}");
    gone(&members);
}

#[test]
fn an_interrupt_before_processes_are_started_is_heeded() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (running, list) = standing(root, &format!("{FEATURES} --nproc 2"));
    let running = running.interrupt();
    // Until it is taken; later it goes to the processes, which is as good.
    sleep(Duration::from_millis(300));
    drop(list);
    let ended = running.wait();
    assert_eq!(ended.error(&[130]), "error: interrupted; finished shards stay, and the same command goes on");
    assert_eq!(ended.stderr.matches("stopping (again to stop at once)").count(), 1, "{ended}");
    assert!(names(root).is_empty(), "{:?}", names(root));
}

#[test]
fn what_another_run_has_computed_meanwhile_is_not_computed_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let job = format!("{FEATURES} --shards 4");
    done(root, &format!("{job} -o whole"));
    // A shard of it, or all.
    for other in [format!("{FEATURES} --shard 1/4"), job.clone()] {
        let (running, list) = standing(root, &format!("{job} --nproc 2 --json"));
        let images = result(root, &format!("{other} -o out --json"))["images"].as_u64().expect("a number");
        drop(list);
        let object = running.wait().json();
        assert_eq!((&object["images"], &object["file"]), (&json!(42 - images), &json!("out.h5")));
        assert_eq!(names(root), ["out.h5", "whole.h5"]);
        assert!(bytes(root.join("out.h5")) == bytes(root.join("whole.h5")));
        fs::remove_file(root.join("out.h5")).expect("removed");
    }
}

#[test]
fn processes_end_when_the_one_that_started_them_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let (running, members) = met(root);
    // Dropped, it is killed.
    drop(running);
    gone(&members);
    let lock = root.join("out.h5.lock");
    assert!(lock.is_file());
    fs::remove_file(lock).expect("removed");
    goes_on(root, "");
}

#[test]
fn interrupted_drawing_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    let line = "sample DDPM --sampler ddpm --seeds 0-29 --batch 1 --threads 1 -o images";
    let images = || match root.join("images").is_dir() {
        true => names(&root.join("images")).iter().filter(|name| name.ends_with(".png")).count(),
        false => 0,
    };
    let running = Running::start(&mut command(root, &format!("{line} --nproc 2 --npy all.npy")));
    let ended = running.wait_until(|| images() >= 2).interrupt().wait();
    assert_eq!(
        ended.error(&[130]),
        "error: interrupted; the images drawn so far stay, and the same command goes on"
    );
    assert!(!root.join("all.npy").exists());
    let left = images();
    assert_eq!(infer(root, &format!("{line} --nproc 2 --json")).json()["drawn"], 30 - left);
    done(root, &line.replace("images", "whole"));
    for name in names(&root.join("whole")) {
        assert!(bytes(root.join("images").join(&name)) == bytes(root.join("whole").join(&name)), "{name}");
    }
}

/// Copies of the images to train with, of which `broken` is none, and `large` is larger than the others.
fn copied(root: &Path, broken: &str, large: &str) {
    for name in names(&data().join("train")) {
        let path = root.join("images").join(&name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::copy(data().join("train").join(&name), path).expect("copied");
    }
    if !broken.is_empty() {
        let path = root.join("images").join(broken);
        let whole = bytes(path.clone());
        fs::write(path, &whole[..whole.len() / 2]).expect("written");
    }
    if !large.is_empty() {
        image::GrayImage::new(30, 20).save(root.join("images").join(large)).expect("an image");
    }
}

#[test]
fn the_process_that_fails_is_named_with_its_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    // Among the last images.
    copied(root, "light/41.png", "");
    let line = "features FEATURES --data images --timesteps 5 --threads 1";
    let of_one = infer(root, &format!("{line} -o out --json"));
    let named = |error: &str| error.replace("error: ", "error: process 1 of 2: ");
    let error = named(of_one.error(&[1]));
    let of_two = infer(root, &format!("{line} --nproc 2 -o parts --json"));
    assert_eq!(of_two.error(&[1]), error);
    let object = |ended: &Ended| serde_json::from_str::<Value>(&ended.stdout).expect("one object");
    let (one, two) = (object(&of_one), object(&of_two));
    assert_eq!(
        (&two["schema"], &two["kind"], &two["exit_code"]),
        (&one["schema"], &one["kind"], &one["exit_code"])
    );
    assert_eq!(format!("error: {}", two["error"].as_str().expect("text")), error);
    // Left out, it is listed as one process lists it, and found once.
    let skipping = format!("{line} --skip-broken");
    done(root, &format!("{skipping} -o fewer"));
    let ended = infer(root, &format!("{skipping} --nproc 2 -o fewer-parts"));
    ended.success();
    assert_eq!(ended.stderr.matches("note: 1 of 42 images").count(), 1, "{ended}");
    for end in ["h5", "broken.txt"] {
        assert!(
            bytes(root.join(format!("fewer.{end}"))) == bytes(root.join(format!("fewer-parts.{end}"))),
            "{end}"
        );
    }
}

#[test]
fn what_is_to_be_known_is_said_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    copied(root, "", "dark/00.png");
    let line = "features FEATURES --data images --timesteps 5 --threads 1";
    let stderr = |options: &str| {
        let ended = infer(root, &format!("{line} {options}"));
        ended.success();
        ended.stderr
    };
    let of_one = stderr("-o out");
    assert!(of_one.contains("note: images of 2 sizes, from 12x12 to 20x30 "), "{of_one}");
    assert_eq!(stderr("-o parts --nproc 3"), of_one);
    assert_eq!(stderr("-o quiet --nproc 3 -q"), "");
    let printed = done(root, &format!("{line} -o new --nproc 3 --dry-run"));
    assert!(
        printed.contains("\nprocesses 3 at a time\n3 of 3 shards to compute (42 images) for new.h5\n"),
        "{printed}"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    refuses(
        root,
        [
            (
                2,
                &*format!("{FEATURES} -o out --device cuda:1 --nproc 2"),
                "--device cuda:1 names one GPU, and each of --nproc 2 wants its own: give --device cuda",
            ),
            (
                2,
                &*format!("{SAMPLE} -o out --device cuda:all --nproc 2"),
                "--device cuda:all starts a process for every GPU: leave --nproc out, or give --device cuda with it",
            ),
            (
                2,
                &*format!("{SAMPLE} --no-png --npy all.npy --nproc 2"),
                "2 processes draw into one folder, and --no-png keeps none…",
            ),
            (
                2,
                &*format!("{FEATURES} -o out --nproc 40 --shard 0/2"),
                "--shard 0/2 of 40 processes each is one of 80 shards of 42 images: give 1 to 42",
            ),
            (2, &*format!("{FEATURES} -o out --nproc 0"), "--nproc…"),
            (
                2,
                "reconstruct a.png --encoder FEATURES --sampler DDPM -o out.png --device cuda:all",
                "--device cuda:all is for `ddae-infer features` and `ddae-infer sample`: give cuda or cuda:N",
            ),
        ],
    );
    let mut launched = command(root, &format!("{FEATURES} -o out --nproc 2"));
    launched.env("RANK", "0").env("WORLD_SIZE", "4").env("LOCAL_WORLD_SIZE", "4");
    let ended = run(&mut launched);
    assert!(ended.error(&[2]).contains("(LOCAL_WORLD_SIZE): let it start one for each machine"), "{ended}");
    assert!(names(root).is_empty());
    // A job of more shards than there are images now is another.
    done(root, &format!("{FEATURES} -o begun --shard 0/14"));
    let ended = infer(root, &format!("{FEATURES} -o begun --limit 3 --nproc 2"));
    assert!(ended.error(&[1, 2]).contains("a shard of a run in 14 shards, and this one has 2: "), "{ended}");
}
