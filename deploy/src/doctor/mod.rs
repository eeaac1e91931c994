//! `deploy doctor`: what this board is, what to run on it, and what is wrong.
//!
//! The facts are plain structs. [`board`] collects those that stay the same, with [`processor`], [`cgroup`] and
//! [`emulation`]; [`state`] those that change. sysinfo reads what it knows, and [`files`] the rest, from a folder that
//! a test can replace. [`benchmark`] measures the engines, and [`choice`] recommends one from these times alone.
//! [`findings`] says what is wrong and what to do about it.

pub mod benchmark;
pub mod board;
pub mod cgroup;
pub mod choice;
pub mod emulation;
pub mod files;
pub mod findings;
pub mod processor;
pub mod state;

use crate::backend::status::Status;
use benchmark::Benchmark;
use board::Board;
use choice::Choice;
use findings::Finding;
use serde::Serialize;
use state::State;

/// The document that `deploy doctor --format json` prints.
#[derive(Debug, Serialize)]
pub struct Diagnosis {
    /// Version of this program.
    pub deploy: &'static str,
    /// The board.
    pub board: Board,
    /// Temperatures and frequencies before the benchmark.
    pub state: State,
    /// Every engine, usable or not.
    pub runtimes: Vec<Status>,
    /// What was measured, if anything.
    pub benchmark: Option<Benchmark>,
    /// What to use, according to the benchmark: for one image at a time, and for many if that was measured.
    pub choices: Vec<Choice>,
    /// What is wrong, the most severe first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Draws the conclusions from the facts.
    #[must_use]
    pub fn new(board: Board, state: State, runtimes: Vec<Status>, benchmark: Option<Benchmark>) -> Self {
        let choices = benchmark.iter().flat_map(|benchmark| choice::recommend(&benchmark.entries)).collect();
        let findings = findings::find(&board, &state, &runtimes, benchmark.as_ref());
        Self { deploy: env!("CARGO_PKG_VERSION"), board, state, runtimes, benchmark, choices, findings }
    }
}
