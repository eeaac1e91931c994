//! What does not fit the board: the program, the cores it may use, and memory.

use super::{Finding, note, warning};
use crate::doctor::benchmark::Benchmark;
use crate::doctor::board::Board;
use crate::doctor::processor;

/// Memory that should be left at least, in bytes.
const LITTLE_MEMORY: u64 = 64 << 20;

/// The program does not fit the board.
pub(super) fn program(board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(sign) = &board.emulator {
        findings.push(warning(
            format!(
                "an emulator runs this program ({sign}): its times are not those of a board, and nothing was measured"
            ),
            "run deploy doctor on the board itself",
        ));
    }
    if board.debug_build {
        findings.push(warning("this program was built without optimisation", "build it with cargo build --release"));
    }
    if board.is_32_bit_on_64_bit() && board.emulator.is_none() {
        let what = "this is the 32-bit program (armv7) on a 64-bit kernel";
        findings.push(if board.runs_64_bit {
            warning(what, "install the 64-bit program (aarch64): this system runs it")
        } else {
            let remedy =
                "install the system's 64-bit edition and the 64-bit program (aarch64); the processor can do it";
            warning(format!("{what}: the system's other programs are 32-bit too"), remedy)
        });
    }
    let lacks =
        |name| board.features.iter().any(|feature| feature.name == name) && !processor::has(&board.features, name);
    if lacks("neon") {
        findings.push(warning(
            "the processor has no NEON: networks run number by number",
            "take a narrow network at a low resolution, or a board with NEON (Raspberry Pi 2 and later)",
        ));
    }
    if lacks("avx2") || lacks("fma") {
        findings.push(warning(
            "the processor, or the virtual machine, has no AVX2 or FMA, which most of the runtimes' fast kernels need",
            "on a virtual machine let the processor through (qemu: -cpu host)",
        ));
    }
    findings
}

/// Cores that cannot be used.
pub(super) fn cores(board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    let cores = board.cores;
    if let (Some(present), Some(online)) = (cores.present, cores.online)
        && online < present
    {
        findings.push(warning(
            format!("{online} of {present} cores are switched on"),
            "on a Jetson choose another power mode (sudo nvpmodel -q, then -m 0); elsewhere write 1 to \
             /sys/devices/system/cpu/cpu*/online",
        ));
    }
    if let Some(online) = cores.online
        && cores.usable < online
    {
        let usable = cores.usable;
        findings.push(match board.limits.processors {
            Some(quota) if quota < online as f64 => warning(
                format!(
                    "the control group allows {quota:.1} processors' worth of time: {usable} of {online} cores are used"
                ),
                "raise the limit of the container or service (docker --cpus, systemd CPUQuota=) if more is wanted",
            ),
            _ => note(
                format!("this process may use {usable} of {online} cores (its affinity)"),
                "start it without taskset, cpuset or CPUAffinity= if more is wanted",
            ),
        });
    }
    findings
}

/// Memory that may not do.
pub(super) fn memory(board: &Board, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let left = board.memory_left()?;
    let peak = benchmark.and_then(|benchmark| benchmark.peak_memory);
    let needed = peak.unwrap_or(0).max(LITTLE_MEMORY);
    (left < needed).then(|| {
        let took = peak.map_or_else(String::new, |peak| format!("; the benchmark took up to {}", mebibytes(peak)));
        let of_group = board.limits.memory.is_some_and(|limit| board.memory.is_none_or(|all| limit < all));
        let remedy = if of_group {
            "raise the limit of the container or service (docker --memory, systemd MemoryMax=), or take a smaller model"
        } else {
            "stop other programs, or take a smaller model: a system that swaps is many times slower"
        };
        warning(format!("little memory is left: {}{took}", mebibytes(left)), remedy)
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
