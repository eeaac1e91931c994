//! What the control group of this process allows it: containers and services have limits of their own, which
//! `/proc/meminfo` does not tell.

use super::files::Files;
use serde::Serialize;

/// The tightest limits on the way from this process's group to the root; `None` where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory: Option<u64>,
    /// Of that, in use and not to be reclaimed at once, in bytes.
    pub memory_used: Option<u64>,
    /// Processors' worth of time: 1.5 is one and a half.
    pub processors: Option<f64>,
}

impl Limits {
    /// Those of this process, of version 2 of control groups and of version 1.
    #[must_use]
    pub fn of(files: &Files) -> Self {
        let groups = files.read("/proc/self/cgroup");
        let mut limits = Self::default();
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let has = |name| controllers.split(',').any(|controller| controller == name);
            if controllers.is_empty() {
                for folder in folders("/sys/fs/cgroup", path) {
                    limits.memory(files, &folder, "memory.max", "memory.current");
                    let quota = files.read(&format!("{folder}/cpu.max"));
                    limits.processors(quota.split_once(' '));
                }
            }
            if has("memory") {
                for folder in folders("/sys/fs/cgroup/memory", path) {
                    limits.memory(files, &folder, "memory.limit_in_bytes", "memory.usage_in_bytes");
                }
            }
            if has("cpu") {
                for folder in folders("/sys/fs/cgroup/cpu", path) {
                    let read = |name: &str| files.read(&format!("{folder}/cpu.cfs_{name}_us"));
                    limits.processors(Some((read("quota").as_str(), read("period").as_str())));
                }
            }
        }
        limits
    }

    fn memory(&mut self, files: &Files, folder: &str, limit: &str, used: &str) {
        // "max" of version 2 is no number; version 1 has one near i64::MAX.
        let Some(limit) = files.number::<u64>(&format!("{folder}/{limit}")).filter(|&limit| limit < 1 << 60) else {
            return;
        };
        if self.memory.is_none_or(|known| limit < known) {
            let statistics = files.read(&format!("{folder}/memory.stat"));
            let file = statistics.lines().filter_map(|line| line.split_once(' '));
            let file = file.filter(|(name, _)| *name == "inactive_file").find_map(|(_, bytes)| bytes.parse().ok());
            let used = files.number::<u64>(&format!("{folder}/{used}"));
            self.memory = Some(limit);
            self.memory_used = used.map(|used| used.saturating_sub(file.unwrap_or(0)));
        }
    }

    /// Microseconds of processor time in a period of microseconds; `max` or -1 for no limit.
    fn processors(&mut self, quota: Option<(&str, &str)>) {
        let Some((quota, period)) = quota else { return };
        let (Ok(quota), Ok(period)) = (quota.parse::<f64>(), period.parse::<f64>()) else { return };
        let share = quota / period;
        if share > 0.0 && share.is_finite() {
            self.processors = Some(self.processors.map_or(share, |known| known.min(share)));
        }
    }
}

/// The folders from a group to the root. In a container the group's path may be the host's, of which only the root can
/// be seen.
fn folders(root: &str, path: &str) -> Vec<String> {
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
        assert_eq!(Limits::of(&files), limits);
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
        assert_eq!(Limits::of(&files), limits);
    }

    #[test]
    fn no_limit_is_none() {
        let (_folder, files) = tree(&[
            ("/proc/self/cgroup", "4:memory:/\n3:cpu:/\n0::/\nnonsense\n9::/../../etc\n"),
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("/sys/fs/cgroup/cpu.max", "max 100000\n"),
            ("/sys/fs/cgroup/memory.max", "max\n"),
        ]);
        assert_eq!(Limits::of(&files), Limits::default());
        assert_eq!(Limits::of(&tree(&[]).1), Limits::default());
    }
}
