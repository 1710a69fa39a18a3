//! The workspace's programs, run as a user runs them: built if needed, output captured, ended after a time limit.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Names a folder with the programs that are to be tested, of a distribution for example. Without it they are built.
pub const FOLDER_VARIABLE: &str = "DDAE_PROGRAMS";

/// The longest that a program may run.
pub const TIME_LIMIT: Duration = Duration::from_secs(300);

/// The number of the signal of Ctrl-C.
const SIGINT: u32 = 2;

/// Between two looks at a running program.
const PAUSE: Duration = Duration::from_millis(2);

/// A program of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `ddae-data`
    Data,
    /// `ddae-train`
    Train,
    /// `ddae-export`
    Export,
    /// `ddae-infer`
    Infer,
    /// `ddae-probe`
    Probe,
}

impl Program {
    /// All of them.
    pub const ALL: [Program; 5] =
        [Program::Data, Program::Train, Program::Export, Program::Infer, Program::Probe];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Program::Data => "ddae-data",
            Program::Train => "ddae-train",
            Program::Export => "ddae-export",
            Program::Infer => "ddae-infer",
            Program::Probe => "ddae-probe",
        }
    }

    /// The program called `name`.
    pub fn named(name: &str) -> Option<Program> {
        Program::ALL.into_iter().find(|program| program.name() == name)
    }

    /// The file, of the same profile as the running test.
    ///
    /// # Panics
    /// When the programs cannot be built: a test cannot go on without them.
    pub fn path(self) -> PathBuf {
        static FOLDER: OnceLock<PathBuf> = OnceLock::new();
        FOLDER.get_or_init(folder).join(format!("{}{}", self.name(), env::consts::EXE_SUFFIX))
    }

    /// A command that runs it, without settings of the user's environment that would change what it does.
    pub fn command(self) -> Command {
        let mut command = Command::new(self.path());
        command.env_remove("DDAE_DATA").env("COLUMNS", "100").stdin(Stdio::null());
        command
    }
}

/// The folder of the programs: the one that [`FOLDER_VARIABLE`] names, or that of the running test's profile, after a
/// build.
fn folder() -> PathBuf {
    if let Some(folder) = env::var_os(FOLDER_VARIABLE).filter(|value| !value.is_empty()) {
        let folder = PathBuf::from(folder);
        return folder
            .canonicalize()
            .unwrap_or_else(|e| panic!("{FOLDER_VARIABLE}={}: {e}", folder.display()));
    }
    let test = env::current_exe().expect("the running test has a path");
    let build = Build::of(&test).unwrap_or_else(|| panic!("{}: not in a target folder", test.display()));
    let output = build.command().output().expect("cargo starts");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the programs cannot be built:\n{messages}");
    build.folder
}

/// How a test was built, read from where it lies: `TARGET/[TRIPLE/]PROFILE/deps/NAME-HASH`.
#[derive(Debug, PartialEq, Eq)]
struct Build {
    /// Where the programs of the same build lie.
    folder: PathBuf,
    target: PathBuf,
    triple: Option<OsString>,
    profile: OsString,
}

impl Build {
    fn of(test: &Path) -> Option<Build> {
        let folder = test.parent()?.parent()?;
        let above = folder.parent()?;
        // cargo marks the target folder; a folder between it and the profile's is that of `--target`.
        let (target, triple) = if above.join("CACHEDIR.TAG").is_file() {
            (above, None)
        } else {
            (above.parent()?, Some(above.file_name()?.to_os_string()))
        };
        let profile = match folder.file_name()? {
            name if name == OsStr::new("debug") => OsString::from("dev"),
            name => name.to_os_string(),
        };
        Some(Build { folder: folder.to_path_buf(), target: target.to_path_buf(), triple, profile })
    }

    fn command(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        let mut command = Command::new(cargo);
        // All packages at once: dependencies then get the features that `cargo test --workspace` gives them, and are
        // built once for both.
        command.args(["build", "--quiet", "--workspace", "--bins"]).current_dir(repository());
        command.arg("--profile").arg(&self.profile).arg("--target-dir").arg(&self.target);
        if let Some(triple) = &self.triple {
            command.arg("--target").arg(triple);
        }
        // cargo describes this package to the running test. Build scripts that watch such variables would run again
        // each time the same crate is built now from here and now by hand.
        for (key, _) in env::vars_os() {
            let name = key.to_string_lossy();
            if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(&key);
            }
        }
        command.stdin(Stdio::null());
        command
    }
}

/// The root of the checkout.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("this package lies in the workspace").to_path_buf()
}

/// A command line as one would type it, without quoting.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// How a program ended, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The command line.
    pub command: String,
    /// The exit code; none after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended { command, code, stdout, stderr } = self;
        let code = code.map_or("a signal".to_string(), |code| format!("exit code {code}"));
        write!(f, "$ {command}\n{stdout}--- standard error:\n{stderr}--- ended with {code}")
    }
}

impl Ended {
    /// Standard output of a program that must have succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn success(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self}");
        &self.stdout
    }

    /// The one JSON value on the standard output of a program that must have succeeded.
    ///
    /// # Panics
    /// When it did not, or printed something else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.success()).unwrap_or_else(|e| panic!("{e}: {self}"))
    }

    /// The one line that says why the program failed: it begins with `error: `, nothing follows it, and there is no
    /// other such line and no trace of a panic.
    ///
    /// # Panics
    /// When the program ended otherwise than with one of `codes`, or its last words are others.
    #[track_caller]
    pub fn error(&self, codes: &[i32]) -> &str {
        assert!(self.code.is_some_and(|code| codes.contains(&code)), "expected {codes:?}: {self}");
        for trace in ["panicked at", "RUST_BACKTRACE", "terminate called", "stack backtrace"] {
            assert!(!self.stderr.contains(trace), "{self}");
        }
        let mut errors = self.stderr.lines().filter(|line| line.starts_with("error: "));
        let error = errors.next().unwrap_or_else(|| panic!("no line begins with 'error: ': {self}"));
        assert_eq!(errors.next(), None, "one line says it: {self}");
        assert_eq!(self.stderr.lines().last(), Some(error), "something follows the error: {self}");
        error
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started or takes longer than [`TIME_LIMIT`].
#[track_caller]
pub fn run(command: &mut Command) -> Ended {
    Running::start(command).wait()
}

/// A program at work. It is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    line: String,
    child: Child,
    begun: Instant,
    stdout: Reader,
    stderr: Reader,
}

impl Running {
    /// Starts a command.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn start(command: &mut Command) -> Running {
        let line = line_of(command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{line}: {e}"));
        let stdout = Reader::of(child.stdout.take().expect("a pipe"));
        let stderr = Reader::of(child.stderr.take().expect("a pipe"));
        Running { line, child, begun: Instant::now(), stdout, stderr }
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// When the program ends before, or it takes longer than [`TIME_LIMIT`].
    #[track_caller]
    pub fn wait_until(mut self, condition: impl Fn() -> bool) -> Running {
        while !condition() {
            if self.status().is_some() {
                panic!("ended too early: {}", self.wait());
            }
            thread::sleep(PAUSE);
        }
        self
    }

    /// Waits until a line of its standard error holds `words`.
    ///
    /// # Panics
    /// As [`Running::wait_until`].
    #[track_caller]
    pub fn wait_until_it_says(self, words: &str) -> Running {
        let said = Arc::clone(&self.stderr.read);
        self.wait_until(|| text(&said).lines().any(|line| line.contains(words)))
    }

    /// What Ctrl-C does.
    ///
    /// # Panics
    /// When there is no shell to send the signal.
    #[track_caller]
    pub fn interrupt(self) -> Running {
        self.signal("INT")
    }

    /// Sends the signal of this name.
    ///
    /// # Panics
    /// As [`Running::interrupt`].
    #[track_caller]
    pub fn signal(self, name: &str) -> Running {
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "{}: ended before the signal", self.line);
        self
    }

    /// Whether the program has begun to listen to signals of this number.
    fn listens_to(&self, signal: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught >> (signal - 1) & 1 == 1
    }

    /// Waits until the program listens to signals.
    ///
    /// # Panics
    /// As [`Running::wait_until`].
    #[track_caller]
    pub fn wait_until_it_listens(mut self) -> Running {
        while !self.listens_to(SIGINT) {
            if self.status().is_some() {
                panic!("ended too early: {}", self.wait());
            }
            thread::sleep(PAUSE);
        }
        self
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it takes longer than [`TIME_LIMIT`].
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        let status = loop {
            match self.status() {
                Some(status) => break status,
                None => thread::sleep(PAUSE),
            }
        };
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        Ended { command: std::mem::take(&mut self.line), code: status.code(), stdout, stderr }
    }

    #[track_caller]
    fn status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("the state of a child");
        let late = status.is_none() && self.begun.elapsed() > TIME_LIMIT;
        assert!(!late, "{}: still running after {TIME_LIMIT:?}", self.line);
        status
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After its end both do nothing.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads a pipe to its end beside the test, so that the program never waits for it.
#[derive(Debug)]
struct Reader {
    read: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn of(mut pipe: impl Read + Send + 'static) -> Reader {
        let read = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&read);
        let thread = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // What came before an error is what there is to show.
            while let Ok(length @ 1..) = pipe.read(&mut bytes) {
                all.lock().expect("no panic").extend_from_slice(&bytes[..length]);
            }
        });
        Reader { read, thread: Some(thread) }
    }

    /// What has come when the pipe is closed.
    fn end(&mut self) -> String {
        let _ = self.thread.take().map(JoinHandle::join);
        text(&self.read)
    }
}

fn text(read: &Mutex<Vec<u8>>) -> String {
    String::from_utf8_lossy(&read.lock().expect("no panic")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_is_read_from_the_place_of_the_test() {
        let root = env::temp_dir().join(format!("ddae-build-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("a folder");
        std::fs::write(root.join("CACHEDIR.TAG"), "").expect("a file");
        let read = |path: &str| {
            let build = Build::of(&root.join(path)).expect("a build");
            assert_eq!(build.target, root);
            (build.profile.into_string().expect("text"), build.triple.map(|t| t.into_string().expect("text")))
        };
        assert_eq!(read("debug/deps/e2e-1"), ("dev".into(), None));
        assert_eq!(read("release/deps/e2e-1"), ("release".into(), None));
        let triple = "x86_64-unknown-linux-gnu";
        assert_eq!(read(&format!("{triple}/fast/deps/e2e-1")), ("fast".into(), Some(triple.into())));
        std::fs::remove_dir_all(&root).expect("removed");
    }

    #[test]
    fn output_and_exit_code_are_captured() {
        let ended = run(Command::new("sh").args(["-c", "echo out; echo 'error: no' >&2; exit 3"]));
        assert_eq!((ended.code, &*ended.stdout, &*ended.stderr), (Some(3), "out\n", "error: no\n"));
        assert_eq!(ended.error(&[3]), "error: no");
    }

    #[test]
    fn an_interrupt_reaches_the_program() {
        let script = "trap 'echo stopped; exit 7' INT; echo ready >&2; while :; do sleep 0.01; done";
        // A shell cannot trap a signal that was ignored when it started, as where tests run in the background.
        let shell = ["--default-signal=INT", "sh", "-c", script];
        let running = Running::start(Command::new("env").args(shell));
        let ended = running.wait_until_it_says("ready").interrupt().wait();
        assert_eq!((ended.code, &*ended.stdout), (Some(7), "stopped\n"));
    }
}
