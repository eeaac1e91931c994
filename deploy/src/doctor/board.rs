//! What this board is: facts that stay the same while a program runs.

use super::cgroup::Limits;
use super::emulation;
use super::files::Files;
use super::processor::{self, Cores, Feature};
use crate::bench::conditions::Conditions;
use crate::machine::{self, UNKNOWN};
use serde::Serialize;
use std::env::consts::ARCH;
use sysinfo::{Product, System};

/// A board, or any other machine.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// Its name in the device tree or the firmware.
    pub model: Option<String>,
    /// The architecture that this program was built for, as Rust calls it.
    pub architecture: &'static str,
    /// The kernel's architecture, such as `aarch64` or `armv7l`; under an emulator, the emulated one.
    pub kernel_architecture: String,
    /// Whether a loader for 64-bit programs is installed, if this program is 32-bit.
    pub runs_64_bit: bool,
    /// The processor's name.
    pub processor: String,
    /// Instruction sets that matter to networks.
    pub features: Vec<Feature>,
    /// Its cores.
    pub cores: Cores,
    /// All memory, in bytes.
    pub memory: Option<u64>,
    /// Memory that programs can still allocate without swapping, in bytes.
    pub memory_available: Option<u64>,
    /// What the control group allows.
    pub limits: Limits,
    /// The C library that this program uses, and its version.
    pub libc: String,
    /// The operating system and the kernel's release.
    pub system: String,
    /// Whether this is a virtual machine that says so.
    pub virtual_machine: bool,
    /// Why this program seems to run under an emulator, if it does.
    pub emulator: Option<String>,
    /// Whether this program was built without optimisation.
    pub debug_build: bool,
}

impl Board {
    /// This board.
    #[must_use]
    pub fn here(files: &Files) -> Self {
        let seen = machine::seen();
        let emulator = emulation::sign(files, ARCH);
        let names: Vec<_> = Product::vendor_name().into_iter().chain(Product::name()).collect();
        let model = Some(names.join(" ")).filter(|model| !model.trim().is_empty());
        // The processor's name may be that of the machine that runs the emulator.
        let processor = machine::processor(&seen).filter(|_| emulator.is_none());
        let loaders = ["/lib/ld-linux-aarch64.so.1", "/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"];
        Self {
            virtual_machine: Conditions::now().virtual_machine || model.as_deref() == Some("linux,dummy-virt"),
            model,
            architecture: ARCH,
            kernel_architecture: System::cpu_arch(),
            runs_64_bit: cfg!(target_arch = "arm") && loaders.iter().any(|loader| files.exists(loader)),
            processor: processor.unwrap_or_else(|| UNKNOWN.to_owned()),
            features: processor::features(),
            cores: Cores::read(files),
            memory: machine::known(seen.total_memory()),
            memory_available: machine::known(seen.available_memory()),
            limits: Limits::read(files),
            libc: libc_version(),
            system: machine::system(),
            emulator,
            debug_build: cfg!(debug_assertions),
        }
    }

    /// Memory that this process can still allocate, in bytes: what the system or the control group has left, whichever
    /// is less.
    #[must_use]
    pub fn memory_left(&self) -> Option<u64> {
        let Limits { memory, memory_used, .. } = self.limits;
        let of_group = memory.map(|limit| limit.saturating_sub(memory_used.unwrap_or(0)));
        self.memory_available.into_iter().chain(of_group).min()
    }

    /// Whether this is the 32-bit ARM program on a 64-bit kernel.
    #[must_use]
    pub fn is_32_bit_on_64_bit(&self) -> bool {
        // A 64-bit kernel reports armv8l to programs that asked for a 32-bit one (setarch linux32).
        self.architecture == "arm" && ["aarch64", "armv8l"].contains(&self.kernel_architecture.as_str())
    }
}

fn libc_version() -> String {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the result is a terminated string that is never freed.
    let name = format!("glibc {}", unsafe { std::ffi::CStr::from_ptr(libc::gnu_get_libc_version()) }.to_string_lossy());
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let name = if cfg!(target_env = "musl") { "musl" } else { UNKNOWN };
    format!("{name}{}", if cfg!(target_feature = "crt-static") { ", linked statically" } else { "" })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::files::tests::tree;
    use super::*;

    /// A Raspberry Pi 4 without any problem.
    pub(crate) fn pi_4() -> Board {
        Board {
            model: Some("Raspberry Pi 4 Model B Rev 1.4".to_owned()),
            architecture: "aarch64",
            kernel_architecture: "aarch64".to_owned(),
            runs_64_bit: false,
            processor: "4 × Cortex-A72".to_owned(),
            features: vec![Feature { name: "neon", present: true }, Feature { name: "dotprod", present: false }],
            cores: Cores { present: Some(4), online: Some(4), usable: 4 },
            memory: Some(3_884_728 << 10),
            memory_available: Some(3_312_404 << 10),
            limits: Limits::default(),
            libc: "glibc 2.36".to_owned(),
            system: "Linux (Debian GNU/Linux 12), kernel 6.6.51+rpt-rpi-v8, aarch64".to_owned(),
            virtual_machine: false,
            emulator: None,
            debug_build: false,
        }
    }

    #[test]
    fn a_board_is_described_even_without_proc_and_sys() {
        let board = Board::here(&tree(&[]).1);
        assert!(board.cores.present.is_none() && board.limits == Limits::default() && board.emulator.is_none());
        assert!(board.model.is_none_or(|model| !model.is_empty()) && !board.processor.is_empty());
        assert!(board.memory_available <= board.memory && board.memory.is_some() == cfg!(target_os = "linux"));
        assert!(!board.kernel_architecture.is_empty() && !board.system.is_empty() && !board.libc.is_empty());
    }

    #[test]
    fn memory_left_is_what_system_and_group_both_allow() {
        assert_eq!(pi_4().memory_left(), Some(3_312_404 << 10));
        let limits = Limits { memory: Some(100), memory_used: Some(70), processors: None };
        assert_eq!(Board { limits, ..pi_4() }.memory_left(), Some(30));
        let limits = Limits { memory_used: Some(170), ..limits };
        assert_eq!(Board { limits, ..pi_4() }.memory_left(), Some(0));
        assert_eq!(Board { memory_available: None, ..pi_4() }.memory_left(), None);
    }

    #[test]
    fn a_32_bit_program_knows_its_kernel() {
        let board = |architecture, kernel: &str| Board { architecture, kernel_architecture: kernel.into(), ..pi_4() };
        assert!(board("arm", "aarch64").is_32_bit_on_64_bit() && board("arm", "armv8l").is_32_bit_on_64_bit());
        assert!(!board("arm", "armv7l").is_32_bit_on_64_bit() && !board("aarch64", "aarch64").is_32_bit_on_64_bit());
    }
}
