//! What the control group of this process allows: the limits of containers and services, which `/proc/meminfo` omits.
//!
//! sysinfo's `cgroup_limits` is not enough: it reads only the group at the root, so it misses the limits of a service or
//! a slice. It also counts cached files as used memory, and does not read limits of processor time.

use super::files::Files;
use crate::machine::value;
use serde::Serialize;

/// The tightest limits between this process's group and the root; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// How much of that is in use and cannot be reclaimed at once, in bytes.
    pub memory_used: Option<u64>,
    /// Processor time, in processors: 1.5 is one and a half.
    pub processors: Option<f64>,
}

impl Limits {
    /// The limits of this process, under version 1 or 2 of control groups.
    #[must_use]
    pub fn read(files: &Files) -> Self {
        let mut limits = Self::default();
        for line in files.read("/proc/self/cgroup").lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            if controllers.is_empty() {
                for group in groups("/sys/fs/cgroup", path) {
                    limits.memory(files, &group, "memory.max", "memory.current");
                    limits.processors(files.read(&format!("{group}/cpu.max")).split_once(' '));
                }
            }
            for controller in controllers.split(',').filter(|name| ["memory", "cpu"].contains(name)) {
                for group in groups(&format!("/sys/fs/cgroup/{controller}"), path) {
                    limits.memory(files, &group, "memory.limit_in_bytes", "memory.usage_in_bytes");
                    let read = |name: &str| files.read(&format!("{group}/cpu.cfs_{name}_us"));
                    limits.processors(Some((&read("quota"), &read("period"))));
                }
            }
        }
        limits
    }

    fn memory(&mut self, files: &Files, group: &str, limit: &str, used: &str) {
        // No limit is "max" in version 2, and in version 1 a number near i64::MAX.
        let limit = files.number::<u64>(&format!("{group}/{limit}")).filter(|&limit| limit < 1 << 60);
        let Some(limit) = limit.filter(|&limit| self.memory.is_none_or(|known| limit < known)) else { return };
        let statistics = files.read(&format!("{group}/memory.stat"));
        let cached = value(&statistics, ' ', &["inactive_file"]).and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        let used = files.number::<u64>(&format!("{group}/{used}"));
        self.memory = Some(limit);
        self.memory_used = used.map(|used| used.saturating_sub(cached));
    }

    /// Microseconds of processor time per period, and the period's; `max` or -1 if unlimited.
    fn processors(&mut self, quota: Option<(&str, &str)>) {
        let Some((quota, period)) = quota else { return };
        let (Ok(quota), Ok(period)) = (quota.parse::<f64>(), period.parse::<f64>()) else { return };
        let share = quota / period;
        if share > 0.0 && share.is_finite() {
            self.processors = Some(self.processors.map_or(share, |known| known.min(share)));
        }
    }
}

/// The folders from a group to the root. In a container the path may be the host's; then only the root is visible.
fn groups(root: &str, path: &str) -> Vec<String> {
    let mut folders = Vec::new();
    let mut path = path.trim_end_matches('/');
    while !path.is_empty() && !path.contains("..") {
        folders.push(format!("{root}{path}"));
        path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    }
    folders.push(root.to_owned());
    folders
}

#[cfg(test)]
mod tests {
    use super::super::files::tests::tree;
    use super::*;

    #[test]
    fn the_tightest_limit_on_the_way_to_the_root_counts() {
        let (_folder, files) = tree(&[
            ("/proc/self/cgroup", "0::/system.slice/deploy.service\n"),
            ("/sys/fs/cgroup/system.slice/memory.max", "max\n"),
            ("/sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n"),
            ("/sys/fs/cgroup/system.slice/deploy.service/memory.max", "134217728\n"),
            ("/sys/fs/cgroup/system.slice/deploy.service/memory.current", "50000000\n"),
            ("/sys/fs/cgroup/system.slice/deploy.service/memory.stat", "anon 1\ninactive_file 20000000\nslab 3\n"),
            ("/sys/fs/cgroup/system.slice/deploy.service/cpu.max", "150000 100000\n"),
        ]);
        let limits = Limits { memory: Some(128 << 20), memory_used: Some(30_000_000), processors: Some(1.5) };
        assert_eq!(Limits::read(&files), limits);
    }

    #[test]
    fn version_1_is_read_too() {
        let groups = "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n";
        let (_folder, files) = tree(&[
            ("/proc/self/cgroup", groups),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        let limits = Limits { memory: Some(512 << 20), memory_used: None, processors: Some(2.0) };
        assert_eq!(Limits::read(&files), limits);
    }

    #[test]
    fn without_a_limit_there_is_none() {
        let (_folder, files) = tree(&[
            ("/proc/self/cgroup", "4:memory:/\n3:cpu:/\n0::/\nnonsense\n9::/../../etc\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/memory.max", "max\n"),
        ]);
        assert_eq!(Limits::read(&files), Limits::default());
        assert_eq!(Limits::read(&tree(&[]).1), Limits::default());
    }
}
