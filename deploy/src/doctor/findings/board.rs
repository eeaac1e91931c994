//! What does not suit the board: the program, the cores that it may use, and memory.

use super::{Finding, note, warning};
use crate::doctor::benchmark::Benchmark;
use crate::doctor::board::Board;

/// Memory that should be left at least, in bytes.
const LITTLE_MEMORY: u64 = 64 << 20;

/// Whether this is the right program for the board, and whether its processor suits networks.
pub(super) fn program(board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(sign) = &board.emulator {
        findings.push(warning(
            format!("this program runs under an emulator ({sign}), so nothing was measured"),
            "run deploy doctor on the board itself",
        ));
    }
    if board.debug_build {
        findings.push(warning("this program was built without optimisation", "build it with cargo build --release"));
    }
    if board.is_32_bit_on_64_bit() && board.emulator.is_none() {
        let remedy = if board.runs_64_bit {
            "install the 64-bit program (aarch64): this system can run it"
        } else {
            "install the 64-bit edition of the system and the 64-bit program (aarch64): the processor can run them"
        };
        findings.push(warning("this is the 32-bit program (armv7) on a 64-bit kernel", remedy));
    }
    let lacks = |name| board.features.iter().any(|feature| feature.name == name && !feature.present);
    if lacks("neon") {
        findings.push(warning(
            "the processor has no NEON, so networks run slowly, one number at a time",
            "use a narrow network at a low resolution, or a board with NEON (Raspberry Pi 2 and later)",
        ));
    }
    if lacks("avx2") || lacks("fma") {
        findings.push(warning(
            "the processor or virtual machine has no AVX2 or FMA, which most fast kernels need",
            "on a virtual machine, pass the host's processor through (qemu: -cpu host)",
        ));
    }
    findings
}

/// Cores that cannot be used.
pub(super) fn cores(board: &Board) -> Vec<Finding> {
    let mut findings = Vec::new();
    let cores = board.cores;
    let Some(online) = cores.online else { return findings };
    if let Some(present) = cores.present.filter(|&present| online < present) {
        findings.push(warning(
            format!("only {online} of {present} cores are switched on"),
            "on a Jetson, choose another power mode (sudo nvpmodel -q, then -m 0); elsewhere write 1 to \
             /sys/devices/system/cpu/cpu*/online",
        ));
    }
    let usable = cores.usable;
    let used = format!("{usable} of {online} cores");
    match board.limits.processors.filter(|&quota| quota < online as f64) {
        _ if usable >= online => {}
        Some(quota) => findings.push(warning(
            format!("the control group allows the time of {quota:.1} processors, so this process uses {used}"),
            "to use more, raise the limit of the container or service (docker --cpus, systemd CPUQuota=)",
        )),
        None => findings.push(note(
            format!("this process may use only {used} (its affinity)"),
            "to use more, start it without taskset, cpuset or CPUAffinity=",
        )),
    }
    findings
}

/// Memory that may not be enough.
pub(super) fn memory(board: &Board, benchmark: Option<&Benchmark>) -> Option<Finding> {
    let left = board.memory_left()?;
    let peak = benchmark.and_then(|benchmark| benchmark.peak_memory);
    let mebibytes = |bytes: u64| format!("{} MiB", bytes >> 20);
    (left < peak.unwrap_or(0).max(LITTLE_MEMORY)).then(|| {
        let used = peak.map_or_else(String::new, |peak| format!("; the benchmark used up to {}", mebibytes(peak)));
        let of_group = board.limits.memory.is_some_and(|limit| board.memory.is_none_or(|all| limit < all));
        let remedy = if of_group {
            "raise the limit of the container or service (docker --memory, systemd MemoryMax=), or use a smaller model"
        } else {
            "stop other programs, or use a smaller model: swapping makes a system many times slower"
        };
        warning(format!("little memory is left: {}{used}", mebibytes(left)), remedy)
    })
}
