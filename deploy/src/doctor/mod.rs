//! `deploy doctor`: what this board is, what to run on it, and what is wrong.
//!
//! [`files`] reads what Linux tells of itself, or what a test puts in its place. [`board`] gathers what stays as it is,
//! from [`processor`], [`cgroup`] and [`emulation`]; [`state`] what changes: temperatures and frequencies.
//! [`benchmark`] measures the engines, [`choice`] says which to take by these figures alone, and [`findings`] says in
//! plain words what is wrong and what to do about it.

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
    /// What this board is.
    pub board: Board,
    /// Temperatures and frequencies before the benchmark.
    pub state: State,
    /// Every engine, usable or not.
    pub runtimes: Vec<Status>,
    /// What was measured, if anything.
    pub benchmark: Option<Benchmark>,
    /// What to take, by the benchmark: for one image at a time, and for many if that was measured.
    pub choices: Vec<Choice>,
    /// What is wrong, the gravest first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    /// Draws the conclusions from what was seen.
    #[must_use]
    pub fn new(board: Board, state: State, runtimes: Vec<Status>, benchmark: Option<Benchmark>) -> Self {
        let choices = benchmark.iter().flat_map(|benchmark| choice::of(&benchmark.entries)).collect();
        let findings = findings::of(&board, &state, &runtimes, benchmark.as_ref());
        Self { deploy: env!("CARGO_PKG_VERSION"), board, state, runtimes, benchmark, choices, findings }
    }
}
