//! What this board is: all that stays as it is while a program runs.

use super::cgroup::Limits;
use super::emulation;
use super::files::Files;
use super::processor::{self, Cores, Feature};
use crate::bench::conditions::Conditions;
use crate::machine::{self, Machine, UNKNOWN};
use serde::Serialize;
use std::env::consts::ARCH;

/// A board, or any other machine.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// The name it has by its device tree or its firmware.
    pub model: Option<String>,
    /// The architecture that this program was built for, as Rust calls it.
    pub architecture: &'static str,
    /// The kernel's, such as `aarch64` or `armv7l`; of an emulator, the one that it shows.
    pub kernel_architecture: Option<String>,
    /// Whether there is a loader for 64-bit programs on a 64-bit kernel under a 32-bit program.
    pub runs_64_bit: bool,
    /// The processor's name.
    pub processor: String,
    /// Instruction sets that matter to networks.
    pub features: Vec<Feature>,
    /// Its cores.
    pub cores: Cores,
    /// All memory, in bytes.
    pub memory: Option<u64>,
    /// Memory that programs can still have without swapping, in bytes.
    pub memory_available: Option<u64>,
    /// What the control group allows.
    pub limits: Limits,
    /// The C library that this program uses, and its version.
    pub libc: String,
    /// The operating system and the kernel's release.
    pub system: String,
    /// Whether this is a virtual machine that says so.
    pub virtual_machine: bool,
    /// The sign by which an emulator was seen.
    pub emulator: Option<String>,
    /// Whether this program was built without optimisation.
    pub debug_build: bool,
}

impl Board {
    /// This one.
    #[must_use]
    pub fn here(files: &Files) -> Self {
        let cpuinfo = files.read("/proc/cpuinfo");
        let meminfo = files.read("/proc/meminfo");
        let emulator = emulation::sign(files, ARCH);
        let model = model(files);
        // qemu-user may show the file of the machine that it runs on.
        let name = processor::name(&cpuinfo).filter(|_| emulator.is_none());
        let kernel_architecture = kernel_architecture();
        Self {
            virtual_machine: Conditions::now().virtual_machine || model.as_deref() == Some("linux,dummy-virt"),
            model,
            architecture: ARCH,
            runs_64_bit: cfg!(target_arch = "arm")
                && ["/lib/ld-linux-aarch64.so.1", "/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"]
                    .iter()
                    .any(|loader| files.exists(loader)),
            kernel_architecture,
            processor: name.unwrap_or_else(|| UNKNOWN.to_owned()),
            features: processor::features(),
            cores: Cores::of(files),
            memory: machine::bytes(&meminfo, "MemTotal"),
            memory_available: machine::bytes(&meminfo, "MemAvailable"),
            limits: Limits::of(files),
            libc: libc_version(),
            system: Machine::here().system,
            emulator,
            debug_build: cfg!(debug_assertions),
        }
    }

    /// Memory that this process can still have, in bytes: what the system has left, or the control group if that is
    /// less.
    #[must_use]
    pub fn memory_left(&self) -> Option<u64> {
        let Limits { memory, memory_used, .. } = self.limits;
        let of_group = memory.map(|limit| limit.saturating_sub(memory_used.unwrap_or(0)));
        self.memory_available.into_iter().chain(of_group).min()
    }

    /// Whether a 32-bit program of ARM runs on a 64-bit kernel.
    #[must_use]
    pub fn is_32_bit_on_64_bit(&self) -> bool {
        // armv8l is what such a program is shown where it asked for a 32-bit kernel (setarch linux32).
        self.architecture == "arm"
            && self.kernel_architecture.as_deref().is_some_and(|kernel| kernel == "aarch64" || kernel == "armv8l")
    }
}

/// Boards name themselves in the device tree, other machines in their firmware.
fn model(files: &Files) -> Option<String> {
    files.text("/proc/device-tree/model").or_else(|| {
        let (vendor, product) =
            (files.text("/sys/class/dmi/id/sys_vendor"), files.text("/sys/class/dmi/id/product_name"));
        let parts: Vec<_> = vendor.into_iter().chain(product).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    })
}

/// By `uname`.
#[cfg(unix)]
fn kernel_architecture() -> Option<String> {
    // SAFETY: all bytes 0 is a valid `utsname`, and `uname` fills it with terminated strings.
    let name = unsafe {
        let mut name: libc::utsname = std::mem::zeroed();
        if libc::uname(&raw mut name) != 0 {
            return None;
        }
        name
    };
    let machine: Vec<u8> = name.machine.iter().map(|&byte| byte as u8).take_while(|&byte| byte != 0).collect();
    Some(String::from_utf8_lossy(&machine).into_owned()).filter(|machine| !machine.is_empty())
}

#[cfg(not(unix))]
fn kernel_architecture() -> Option<String> {
    None
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn libc_version() -> String {
    // SAFETY: it yields a terminated string that stays.
    let version = unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) };
    let linked = if cfg!(target_feature = "crt-static") { ", linked in" } else { "" };
    format!("glibc {}{linked}", version.to_string_lossy())
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn libc_version() -> String {
    let linked = if cfg!(target_feature = "crt-static") { ", linked in" } else { "" };
    format!("{}{linked}", if cfg!(target_env = "musl") { "musl" } else { UNKNOWN })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::files::tests::tree;
    use super::*;

    /// A Raspberry Pi 4 with nothing to complain about.
    pub(crate) fn pi_4() -> Board {
        Board {
            model: Some("Raspberry Pi 4 Model B Rev 1.4".to_owned()),
            architecture: "aarch64",
            kernel_architecture: Some("aarch64".to_owned()),
            runs_64_bit: false,
            processor: "4 × Cortex-A72".to_owned(),
            features: vec![Feature { name: "neon", present: true }, Feature { name: "dotprod", present: false }],
            cores: Cores { present: Some(4), online: Some(4), usable: 4 },
            memory: Some(3_884_728 << 10),
            memory_available: Some(3_312_404 << 10),
            limits: Limits::default(),
            libc: "glibc 2.36".to_owned(),
            system: "Debian GNU/Linux 12 (bookworm), linux 6.6.51+rpt-rpi-v8, aarch64".to_owned(),
            virtual_machine: false,
            emulator: None,
            debug_build: false,
        }
    }

    #[test]
    fn a_board_is_called_by_its_device_tree() {
        let (_folder, files) = tree(&[
            ("/proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
            ("/sys/class/dmi/id/sys_vendor", "nobody\n"),
            (
                "/proc/meminfo",
                "MemTotal:        3884728 kB\nMemFree:         2871932 kB\nMemAvailable:    3312404 kB\n",
            ),
            ("/sys/devices/system/cpu/present", "0-3\n"),
            ("/sys/devices/system/cpu/online", "0-1\n"),
        ]);
        let board = Board::here(&files);
        assert_eq!(board.model.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.4"));
        assert_eq!((board.memory, board.memory_left()), (Some(3_884_728 << 10), Some(3_312_404 << 10)));
        assert_eq!((board.cores.present, board.cores.online), (Some(4), Some(2)));
        assert_eq!(board.processor, UNKNOWN);
    }

    #[test]
    fn a_board_is_described_even_if_nothing_is_known_about_it() {
        let board = Board::here(&tree(&[]).1);
        assert_eq!((board.model.clone(), board.memory, board.memory_left()), (None, None, None));
        assert!(board.cores.usable >= 1 && !board.libc.is_empty());
    }

    #[test]
    fn memory_left_is_what_the_group_still_allows() {
        let limits = Limits { memory: Some(100), memory_used: Some(70), processors: None };
        assert_eq!(Board { limits, ..pi_4() }.memory_left(), Some(30));
        let limits = Limits { memory_used: Some(170), ..limits };
        assert_eq!(Board { limits, ..pi_4() }.memory_left(), Some(0));
    }

    #[test]
    fn a_32_bit_program_knows_its_kernel() {
        let board =
            |architecture, kernel: &str| Board { architecture, kernel_architecture: Some(kernel.into()), ..pi_4() };
        assert!(board("arm", "aarch64").is_32_bit_on_64_bit() && board("arm", "armv8l").is_32_bit_on_64_bit());
        assert!(!board("arm", "armv7l").is_32_bit_on_64_bit() && !board("aarch64", "aarch64").is_32_bit_on_64_bit());
    }
}
