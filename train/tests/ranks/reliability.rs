//! Full disks, suspended jobs, and other jobs in the run folder.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ddae_tests::programs::{self, Ended, Running};

use crate::nodes::not_tested;
use crate::program::Place;
use crate::runs::{COMMON, by_environment, steps, with};

/// In which all have ended once one has met a full disk.
const MINUTE: Duration = Duration::from_secs(60);

/// 12 epochs of 3 steps.
const RANKS: [&str; 6] = ["--nproc", "2", "--save-every", "1", "--epochs", "12"];
/// The first three of them.
const BEGUN: [&str; 6] = ["--nproc", "2", "--save-every", "1", "--epochs", "3"];
const LAST: &str = "checkpoints/epoch_0012.safetensors";

/// The same command where files end at 500 kB, far below a checkpoint; the signal that comes with it is ignored, so that writing
/// fails as on a full disk.
fn limited(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1000; exec \"$0\" \"$@\""]).arg(command.get_program());
    limited.args(command.get_args());
    wrapped(limited, command)
}

/// In the folder and the environment of another command.
fn wrapped(mut command: Command, of: &Command) -> Command {
    command.current_dir(of.get_current_dir().expect("a folder")).env_remove("DDAE_DATA");
    command.envs(of.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// What goes on with the run that was begun.
fn goes_on(place: &Place) -> Command {
    place.command(&with(&COMMON, &with(&RANKS, &["--resume"])))
}

/// A place with a run that goes on behind its last epoch so far.
fn begun() -> Place {
    let place = Place::new();
    place.train(&with(&COMMON, &BEGUN));
    place
}

/// A start without room ended in time, named the reason, and left a run that goes on to the end of an undisturbed one.
#[track_caller]
fn assert_goes_on(place: &Place, ended: &Ended, reason: &str) {
    // Its last line is the reason, too.
    let log = fs::metadata(place.path("run/log.txt")).and_then(|log| log.modified()).expect("a log");
    let took = SystemTime::now().duration_since(log).expect("a time");
    assert_eq!(ended.code, Some(1), "{ended}");
    let is_reason =
        |line: &str| line.starts_with("[0] error: run/checkpoints/epoch_") && line.contains(reason);
    assert!(ended.stderr.lines().any(is_reason), "{ended}");
    assert!(took < MINUTE, "{took:?}: {ended}");
    assert!(!place.path("run").join(LAST).exists());
    programs::run(&mut goes_on(place)).success();
    place.train(&with(&COMMON, &with(&RANKS, &["--run", "straight"])));
    place.checkpoint(&format!("run/{LAST}")).assert_same(&place.checkpoint(&format!("straight/{LAST}")));
}

#[test]
fn a_rank_without_room_for_a_checkpoint_ends_all_with_the_reason() {
    let place = begun();
    let ended = programs::run(&mut limited(&goes_on(&place)));
    assert_goes_on(&place, &ended, "the file would be too large");
}

/// A disk of its own, with room for half a checkpoint more than there are.
#[test]
fn a_rank_on_a_full_disk_ends_all_with_the_reason() {
    let place = begun();
    let script = "mount -t tmpfs -o size=${ROOM}k none run && cp -a kept/. run/ || exit 99
        \"$0\" \"$@\"; code=$?
        rm -rf kept && cp -a run kept
        exit $code";
    fs::rename(place.path("run"), place.path("kept")).expect("renamed");
    fs::create_dir(place.path("run")).expect("a folder");
    let mount = ["-rm", "mount", "-t", "tmpfs", "none", "run"];
    let mut probe = Command::new("unshare");
    probe.args(mount).current_dir(place.path("")).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return not_tested("a disk of its own (unshare -rm mount -t tmpfs)");
    }
    let used = Command::new("du").args(["-sk", "kept"]).current_dir(place.path("")).output().expect("du");
    let used = String::from_utf8_lossy(&used.stdout).split_whitespace().next().map(str::parse::<u64>);
    let used = used.expect("a size").expect("a number");
    let latest = fs::metadata(place.path("kept/checkpoints/latest.safetensors")).expect("a checkpoint");
    let room = used + latest.len() / 1024 / 2;
    let command = goes_on(&place);
    let mut small = Command::new("unshare");
    small.args(["-rm", "sh", "-c", script]).arg(command.get_program()).args(command.get_args());
    let ended = programs::run(wrapped(small, &command).env("ROOM", room.to_string()));
    fs::remove_dir(place.path("run")).expect("removed");
    fs::rename(place.path("kept"), place.path("run")).expect("renamed");
    assert_goes_on(&place, &ended, "no space is left on its disk");
}

/// As torchrun starts them: each rank tells why it ends.
#[test]
fn the_others_name_the_rank_without_room() {
    let place = Place::new();
    let mut commands = by_environment(&place, &with(&COMMON, &["--epochs", "1"]), 2);
    commands[0] = limited(&commands[0]);
    let ranks: Vec<Running> = commands.iter_mut().map(Running::start).collect();
    let (mut errors, mut first_ended) = (Vec::new(), None);
    for rank in ranks {
        errors.push(rank.wait().error(&[1]).to_string());
        first_ended = first_ended.or(Some(Instant::now()));
    }
    assert!(first_ended.is_some_and(|first| first.elapsed() < MINUTE));
    let reason = "run/checkpoints/epoch_0000.safetensors: the file would be too large";
    assert!(errors[0].starts_with(&format!("error: {reason}")), "{errors:?}");
    assert!(errors[1].starts_with(&format!("error: rank 0 ended: {reason}")), "{errors:?}");
}

#[test]
fn two_jobs_over_ranks_in_one_folder_are_refused_by_name() {
    let place = Place::new();
    let stats = place.path("run/stats.jsonl");
    let long = with(&COMMON, &["--nproc", "2", "--epochs", "4000"]);
    let mut running = Running::start(&mut place.command(&long)).wait_until(|| steps(&stats) >= 1);
    for second in ["--resume", "--force"] {
        let begun = steps(&stats);
        let ended = place.run(&with(&COMMON, &["--nproc", "2", second]));
        assert_eq!(ended.code, Some(1), "{ended}");
        let wanted = "[0] error: run: another process is training in this folder";
        assert!(ended.stderr.contains(wanted), "{ended}");
        // The first is as it was.
        running = running.wait_until(|| steps(&stats) > begun);
    }
    assert_eq!(running.signal("INT").wait().code, Some(130));
}

fn signal(rank: &Running, name: &str) {
    let status = Command::new("kill").args([name, &rank.id().to_string()]).status().expect("kill");
    assert!(status.success(), "rank {} has ended", rank.id());
}

/// As schedulers suspend jobs: nobody is to blame for a silence that was everybody's.
#[test]
fn ranks_that_were_suspended_together_go_on() {
    let place = Place::new();
    let stats = place.path("run/stats.jsonl");
    let arguments = with(&COMMON, &["--epochs", "120", "--rank-timeout", "8"]);
    let mut commands = by_environment(&place, &arguments, 2);
    let second = Running::start(&mut commands[1]);
    let first = Running::start(&mut commands[0]).wait_until(|| steps(&stats) >= 1);
    signal(&first, "-STOP");
    signal(&second, "-STOP");
    // 3 in each epoch.
    assert!(steps(&stats) < 360, "the run was over before it was suspended");
    thread::sleep(Duration::from_secs(12));
    // The first to go on sees that the other has said nothing.
    signal(&first, "-CONT");
    thread::sleep(Duration::from_millis(500));
    signal(&second, "-CONT");
    for rank in [first, second] {
        rank.wait().success();
    }
    assert_eq!(steps(&stats), 360);
}

/// The third of three ranks does not come, and the machine of the first is cut off meanwhile.
#[test]
fn a_store_that_falls_silent_while_ranks_meet_is_missed() {
    let place = Place::new();
    let mut commands = by_environment(&place, &with(&COMMON, &["--rank-timeout", "2"]), 3);
    let first = Running::start(&mut commands[0]);
    let second = Running::start(&mut commands[1]);
    let threads = format!("/proc/{}/task", second.id());
    let is_guard = |thread: fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim() == "ddae-guard")
    };
    let has_guard = || fs::read_dir(&threads).is_ok_and(|all| all.flatten().any(is_guard));
    let second = second.wait_until(has_guard);
    signal(&first, "-STOP");
    let ended = second.wait();
    let wanted = "error: rank 0 of 3 was lost: its store at 127.0.0.1:";
    assert!(ended.error(&[1]).starts_with(wanted), "{ended}");
}
