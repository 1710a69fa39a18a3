//! The memory that may still be had, and whether something fits into it.
//!
//! What a command is about to allocate is known before it does; what does not fit is refused then, in one line, and not by
//! a library that aborts the process, or a system that kills it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The environment variable that says how much memory may be taken, in place of what the machine has free: `8GiB`,
/// `500MB`, a number of bytes, or `unlimited`.
pub const VARIABLE: &str = "DDAE_MEMORY";

/// Something does not fit into the memory that is free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// More is needed than there is.
    #[error(
        "{what} needs at least {} of memory, and {} are free: {advice} (where that is wrong, set {VARIABLE})",
        Size(*needed),
        Size(*free)
    )]
    Short {
        /// What needs it.
        what: String,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// What to change.
        advice: String,
    },
    /// The environment variable is no size.
    #[error("{VARIABLE} is '{0}'; a size is wanted, as in 8GiB, or 'unlimited'")]
    Variable(String),
}

/// Refuses what needs more than is free; `advice` says what to change. Where it is not known what is free, everything
/// fits.
///
/// # Errors
/// [`MemoryError::Short`] where it does not fit, [`MemoryError::Variable`] where the user's own limit makes no sense.
pub fn check(what: impl fmt::Display, needed: u64, advice: impl fmt::Display) -> Result<(), MemoryError> {
    check_against(free()?, what, needed, advice)
}

/// The same against a given amount; `None` where it is not known.
///
/// # Errors
/// [`MemoryError::Short`].
pub fn check_against(
    free: Option<u64>,
    what: impl fmt::Display,
    needed: u64,
    advice: impl fmt::Display,
) -> Result<(), MemoryError> {
    match free {
        Some(free) if needed > free => {
            let (what, advice) = (what.to_string(), advice.to_string());
            Err(MemoryError::Short { what, needed, free, advice })
        }
        _ => Ok(()),
    }
}

/// Bytes that may be taken: what the user's [`VARIABLE`] says; else what the system counts as available, with its free
/// swap space, and no more than the control groups of this process leave. `None` where it is not known.
///
/// # Errors
/// [`MemoryError::Variable`].
pub fn free() -> Result<Option<u64>, MemoryError> {
    match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => match (text.as_str(), bytes_of(&text)) {
            ("unlimited", _) => Ok(None),
            (_, Some(bytes)) => Ok(Some(bytes)),
            _ => Err(MemoryError::Variable(crate::text::excerpt(text, 40))),
        },
        _ => Ok(free_below(Path::new("/"))),
    }
}

/// The most memory that this process had at a time, in bytes, where the system says.
pub fn peak() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    field(&status, "VmHWM:").map(|kib| kib.saturating_mul(1024))
}

/// What the system in the folder `root` says: `proc/meminfo`, and the groups of `proc/self/cgroup` in `sys/fs/cgroup`.
fn free_below(root: &Path) -> Option<u64> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).unwrap_or_default();
    let of_system = field(&meminfo, "MemAvailable:").map(|available| {
        let swap = field(&meminfo, "SwapFree:").unwrap_or(0);
        available.saturating_add(swap).saturating_mul(1024)
    });
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let of_groups = groups.lines().flat_map(|line| folders(root, line)).filter_map(|folder| left_in(&folder));
    of_system.into_iter().chain(of_groups).min()
}

/// The folders of a line of `/proc/self/cgroup` and of the groups above it, as they are mounted: `0::/path` of version 2,
/// `4:memory:/path` of version 1.
fn folders(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let mount = match controllers {
        "" => "sys/fs/cgroup",
        names if names.split(',').any(|name| name == "memory") => "sys/fs/cgroup/memory",
        _ => return Vec::new(),
    };
    // In a container the path may be that outside of it, and the group itself is what is mounted: the last of these.
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().map(|path| root.join(mount).join(path)).collect()
}

/// Bytes that a control group leaves: its limit, less what is used and could not be dropped.
fn left_in(folder: &Path) -> Option<u64> {
    let text = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
    let limit = number("memory.max").or_else(|| number("memory.limit_in_bytes"))?;
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes")).unwrap_or(0);
    let stat = text("memory.stat").unwrap_or_default();
    let dropped = |name: &str| field(&stat, name);
    let cache = dropped("total_inactive_file").or_else(|| dropped("inactive_file")).unwrap_or(0);
    let active = dropped("total_active_file").or_else(|| dropped("active_file")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cache.saturating_add(active))))
}

/// The number after `name` at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let mut fields = text.lines().map(str::split_whitespace);
    fields.find_map(|mut line| if line.next() == Some(name) { line.next()?.parse().ok() } else { None })
}

/// A size as it is typed.
fn bytes_of(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1024f64.powi(2),
        "g" | "gib" => 1024f64.powi(3),
        "t" | "tib" => 1024f64.powi(4),
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * unit;
    bytes.is_finite().then_some(bytes as u64)
}

/// A number of bytes as people read it: `12.3 GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut scaled = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while scaled >= 1024.0 && unit + 1 < units.len() {
            scaled /= 1024.0;
            unit += 1;
        }
        write!(f, "{scaled:.1} {}", units[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine as its files say it is.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        root
    }

    const MEMINFO: (&str, &str) =
        ("proc/meminfo", "MemTotal: 4096 kB\nMemAvailable:   2048 kB\nSwapFree: 1024 kB\n");

    #[test]
    fn the_system_says_what_is_available() {
        assert_eq!(free_below(machine(&[MEMINFO]).path()), Some(3 << 20));
        assert_eq!(free_below(machine(&[]).path()), None);
    }

    #[test]
    fn control_groups_of_both_versions_and_those_above_them_bound_it() {
        let group = ("proc/self/cgroup", "0::/a/b\n");
        let own = [MEMINFO, group, ("sys/fs/cgroup/a/b/memory.max", "max\n")];
        assert_eq!(free_below(machine(&own).path()), Some(3 << 20));
        let above = [
            MEMINFO,
            group,
            ("sys/fs/cgroup/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/a/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a/memory.current", "700000\n"),
            ("sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 100000\nactive_file 50000\n"),
        ];
        assert_eq!(free_below(machine(&above).path()), Some(450_000));
        // What is mounted in a container is the group itself, whatever its path outside.
        let inside = [MEMINFO, group, ("sys/fs/cgroup/memory.max", "5000\n")];
        assert_eq!(free_below(machine(&inside).path()), Some(5000));
        let first = [
            MEMINFO,
            ("proc/self/cgroup", "5:cpu:/x\n4:hugetlb,memory:/a\n"),
            ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "9000\n"),
            ("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "8000\n"),
            ("sys/fs/cgroup/memory/a/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n"),
        ];
        assert_eq!(free_below(machine(&first).path()), Some(1500));
    }

    #[test]
    fn a_shortage_says_how_much_and_what_to_change() {
        let error = check_against(Some(3 << 29), "this network", 13_194_139_533_312, "make it narrower");
        assert_eq!(
            error.expect_err("too much").to_string(),
            "this network needs at least 12.0 TiB of memory, and 1.5 GiB are free: make it narrower (where that is \
             wrong, set DDAE_MEMORY)"
        );
        assert_eq!(check_against(Some(5), "this", 5, ""), Ok(()));
        assert_eq!(check_against(None, "this", u64::MAX, ""), Ok(()));
    }

    #[test]
    fn sizes_are_written_and_read() {
        for (text, bytes) in
            [("5", 5), ("8GiB", 8 << 30), ("1.5 MiB", 3 << 19), ("500MB", 500_000_000), ("2t", 2 << 40)]
        {
            assert_eq!(bytes_of(text), Some(bytes), "{text}");
        }
        for text in ["much", "-1", "5 apples", "1e9", ""] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
        assert_eq!(Size(1023).to_string(), "1023 bytes");
        assert_eq!(Size(u64::MAX).to_string(), "16.0 EiB");
    }
}
