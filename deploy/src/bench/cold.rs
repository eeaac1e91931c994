//! Cold starts: how long a process takes to load a model and to give its first answer. Each start is a new process.
//! Only the system's file cache is warm, and the memory is that of one runtime.

use super::statistics::Summary;
use crate::backend::Runtime;
use crate::machine;
use crate::model::Model;
use anyhow::{Context, Result, ensure};
use ndarray::Array4;
use serde::{Deserialize, Serialize};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What one process reports about its own start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The engine that ran the model.
    pub runtime: Runtime,
    /// Seconds to read the file, load the runtime's library if it has one, and load the model.
    pub load_seconds: f64,
    /// Seconds for the first image.
    pub first_seconds: f64,
    /// Peak memory of the process in bytes; `None` if the system does not report it.
    pub peak_memory: Option<u64>,
}

impl Start {
    /// Loads a model and runs one black image. The process should have done nothing else before.
    pub fn here(open: impl FnOnce() -> Result<Model>) -> Result<Self> {
        let start = Instant::now();
        let mut model = open()?;
        let load_seconds = start.elapsed().as_secs_f64();
        let input = model.input();
        let black = Array4::zeros((1, input.channels, input.height, input.width));
        let start = Instant::now();
        model.logits(black.view())?;
        let first_seconds = start.elapsed().as_secs_f64();
        Ok(Self { runtime: model.runtime().clone(), load_seconds, first_seconds, peak_memory: peak_memory() })
    }
}

/// The starts of one runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColdStart {
    /// The engine that ran the model.
    pub runtime: Runtime,
    /// Seconds until the model was loaded.
    pub load_seconds: Summary,
    /// Seconds for the first image after that.
    pub first_seconds: Summary,
    /// Seconds of the whole process, from its start to its end.
    pub process_seconds: Summary,
    /// Highest peak memory of all the processes in bytes; `None` if the system does not report it. It includes the
    /// program, the runtime's library and the model.
    pub peak_memory: Option<u64>,
}

/// Starts each command `count` times (at least once), in turn. Each must print a [`Start`] as JSON.
pub fn starts(commands: &mut [Command], count: usize) -> Result<Vec<ColdStart>> {
    let mut all = vec![Vec::new(); commands.len()];
    for _ in 0..count.max(1) {
        for (command, starts) in commands.iter_mut().zip(&mut all) {
            starts.push(start(command)?);
        }
    }
    all.iter().map(|starts| summary(starts).context("no process was started")).collect()
}

/// Runs one process. Returns what it reports and its lifetime in seconds.
fn start(command: &mut Command) -> Result<(Start, f64)> {
    let name = command.get_program().display().to_string();
    let begin = Instant::now();
    let output = command.stdin(Stdio::null()).output();
    let seconds = begin.elapsed().as_secs_f64();
    let output = output.with_context(|| format!("cannot start {name} again for a cold start"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    ensure!(output.status.success(), "a cold start failed: {}", said.strip_prefix("error: ").unwrap_or(said));
    let start = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("a cold start of {name} printed no result: was the program replaced just now?"))?;
    Ok((start, seconds))
}

fn summary(starts: &[(Start, f64)]) -> Option<ColdStart> {
    // Each process counts as a turn with a single time.
    let summary = |seconds: &dyn Fn(&(Start, f64)) -> f64| {
        Summary::from_turns(&starts.iter().map(|start| vec![seconds(start)]).collect::<Vec<_>>())
    };
    Some(ColdStart {
        runtime: starts.first()?.0.runtime.clone(),
        load_seconds: summary(&|(start, _)| start.load_seconds)?,
        first_seconds: summary(&|(start, _)| start.first_seconds)?,
        process_seconds: summary(&|(_, seconds)| *seconds)?,
        peak_memory: starts.iter().filter_map(|(start, _)| start.peak_memory).max(),
    })
}

/// Peak memory of this process so far, in bytes. `VmHWM` counts only the running program; `getrusage`'s `ru_maxrss`
/// would include the memory of the process that started it.
pub(crate) fn peak_memory() -> Option<u64> {
    machine::bytes(&machine::read("/proc/self/status"), "VmHWM")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn peak_memory_grows_with_what_is_used() {
        let before = peak_memory().unwrap();
        let block = vec![7_u8; 64 << 20];
        std::hint::black_box(&block);
        assert!(peak_memory().unwrap() >= before.max(64 << 20));
    }

    #[test]
    #[cfg(unix)]
    fn a_start_that_fails_says_why() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            starts(&mut [command], 1).unwrap_err().to_string()
        };
        assert_eq!(shell("echo error: no model >&2; exit 1"), "a cold start failed: no model");
        assert!(shell("echo nonsense").contains("printed no result"));
        let missing = starts(&mut [Command::new("/no/such/program")], 1).unwrap_err();
        assert!(missing.to_string().contains("cannot start /no/such/program"), "{missing}");
    }
}
