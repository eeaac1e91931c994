//! A memory budget shared by all images that the process decodes, on any number of threads.
//!
//! The need of each image is estimated from its header. The image then waits until enough of the budget is free, or is
//! refused if it would not fit even alone. A thread never waits while it holds a share, so there is no deadlock.

use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};

/// Images may use 1 / `PART` of the memory that is free when the first one is read. The rest is for the model, the
/// threads and other processes.
const PART: u64 = 2;

/// The budget in bytes if the system does not report its memory.
const UNKNOWN: u64 = 1 << 30;

/// A number of bytes that may be in use at the same time.
pub(super) struct Budget {
    total: u64,
    used: Mutex<u64>,
    returned: Condvar,
}

/// Bytes taken from a budget; returned on drop.
pub(super) struct Share<'a> {
    budget: &'a Budget,
    bytes: u64,
}

impl Budget {
    fn new(total: u64) -> Self {
        Self { total, used: Mutex::new(0), returned: Condvar::new() }
    }

    /// The budget of this process. Its size is set on first use.
    pub fn of_process() -> &'static Self {
        static BUDGET: OnceLock<Budget> = OnceLock::new();
        BUDGET.get_or_init(|| Self::new(free(Path::new("/")).map_or(UNKNOWN, |free| free / PART)))
    }

    /// Takes `bytes`, waiting until they are free. Fails if they exceed the whole budget.
    pub fn take(&self, bytes: u64) -> Result<Share<'_>> {
        ensure!(
            bytes <= self.total,
            "decoding it needs about {} MB of memory: expected at most {} MB, half of what was free; use a smaller \
             image or allow the program more memory",
            megabytes(bytes),
            megabytes(self.total),
        );
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used + bytes > self.total {
            used = self.returned.wait(used).unwrap_or_else(PoisonError::into_inner);
        }
        *used += bytes;
        Ok(Share { budget: self, bytes })
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.budget.used.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes;
        self.budget.returned.notify_all();
    }
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// Bytes that this process can still allocate: the minimum of what the machine (`MemAvailable`), the process limits
/// (`ulimit -v` and `-d`) and its control groups leave. `None` if the system reports none of them. `root` is the root
/// of the file system.
fn free(root: &Path) -> Option<u64> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let status = read("proc/self/status");
    let kilobytes =
        |text: &str, name: &str| Some(number(text.lines().find_map(|line| line.strip_prefix(name))?)? << 10);
    let limits = read("proc/self/limits");
    let limit = |name: &str, used: &str| {
        let limit = number(limits.lines().find_map(|line| line.strip_prefix(name))?)?;
        Some(limit.saturating_sub(kilobytes(&status, used)?))
    };
    let groups = read("proc/self/cgroup");
    let groups = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (folder, limit, used, cached) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max", "memory.current", ["active_file ", "inactive_file "]),
            _ if controllers.split(',').any(|name| name == "memory") => (
                "sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                ["total_active_file ", "total_inactive_file "],
            ),
            _ => return Vec::new(),
        };
        // A group's limit also applies to the groups below it.
        let groups = Path::new(path.trim_start_matches('/')).ancestors();
        let left = groups.filter_map(|group| {
            let text = |name: &str| fs::read_to_string(root.join(folder).join(group).join(name)).ok();
            // Cached files count as used, but the kernel frees them as soon as memory is needed.
            let stat = text("memory.stat").unwrap_or_default();
            let in_stat = |name: &str| number(stat.lines().find_map(|line| line.strip_prefix(name))?);
            let cached: u64 = cached.iter().filter_map(|name| in_stat(name)).sum();
            Some(number(&text(limit)?)?.saturating_sub(number(&text(used)?)?.saturating_sub(cached)))
        });
        left.collect()
    });
    let known = [
        kilobytes(&read("proc/meminfo"), "MemAvailable:"),
        limit("Max address space", "VmSize:"),
        limit("Max data size", "VmData:"),
    ];
    known.into_iter().flatten().chain(groups).min()
}

/// The first word as a number; `None` if it is not one, as in "max" and "unlimited".
fn number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn shares_never_exceed_the_budget_and_everybody_gets_one() {
        let budget = Budget::new(100);
        let (used, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for bytes in [100, 60, 50, 30, 10, 1] {
                let (budget, used, taken) = (&budget, &used, &taken);
                scope.spawn(move || {
                    for _ in 0..200 {
                        let share = budget.take(bytes).unwrap();
                        assert!(used.fetch_add(bytes, Ordering::SeqCst) + bytes <= 100);
                        thread::yield_now();
                        used.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                        taken.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 6 * 200);
        let message = budget.take(101).err().unwrap().to_string();
        assert!(message.contains("half of what was free"), "{message}");
    }

    /// The smallest limit counts. The files have the format that Linux uses.
    #[test]
    fn what_is_free_is_the_least_that_any_limit_leaves() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(free(root.path()), None);
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/meminfo", "MemTotal:       24000000 kB\nMemAvailable:   20000000 kB\n");
        write("proc/self/limits", "Max data size             unlimited            unlimited            bytes     \n");
        assert_eq!(free(root.path()), Some(20_000_000 << 10));
        write("proc/self/cgroup", "3:cpu:/x\n2:memory,foo:/old\n0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        write("sys/fs/cgroup/a/b/memory.current", "7\n");
        write("sys/fs/cgroup/a/memory.max", "9000000000\n");
        write("sys/fs/cgroup/a/memory.current", "1000000000\n");
        assert_eq!(free(root.path()), Some(8_000_000_000));
        write("sys/fs/cgroup/a/memory.stat", "anon 100\nactive_file 200\ninactive_file 3000\n");
        assert_eq!(free(root.path()), Some(8_000_003_200));
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000000000\n");
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n");
        let stat = "active_file 1\ninactive_file 1\ntotal_active_file 2000\ntotal_inactive_file 400\n";
        write("sys/fs/cgroup/memory/memory.stat", stat);
        assert_eq!(free(root.path()), Some(6_999_997_400));
        write("proc/self/status", "VmPeak:\t  900000 kB\nVmSize:\t  500000 kB\nVmData:\t     1000 kB\n");
        write("proc/self/limits", "Max address space         1024000000           unlimited            bytes     \n");
        assert_eq!(free(root.path()), Some(512_000_000));
    }
}
