//! `train list`.

use crate::checkpoint::{Checkpoint, Metadata};
use crate::lock;
use crate::recipe::Recipe;
use crate::run::{self, Run};
use crate::trainer::RunEnd;
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use deploy::text::{self, printable};
use models::architecture::{Architecture, Kind};
use serde::Serialize;
use std::fmt::Write;
use std::io::stdout;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

/// Minimum length of a shortened name.
const SHORTEST: usize = 8;

/// List the runs in a folder: state, data, network, epochs, accuracy of the best checkpoint, size and age
#[derive(Args)]
pub(super) struct Arguments {
    /// Folder with runs, or a run's folder
    #[arg(value_name = "DIR", default_value = run::RUNS)]
    folder: PathBuf,
    /// How to print
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// How a table is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One document, for programs
    Json,
    /// One line per run, for spreadsheets
    Csv,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// A process is training it.
    Running,
    /// It can be resumed.
    Interrupted,
    /// All epochs are done.
    Finished,
    /// Its patience ran out.
    StoppedEarly,
    /// Its weights were imported, not trained here.
    Imported,
    /// A file is missing or cannot be read.
    Broken,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Finished => "finished",
            Self::StoppedEarly => "stopped-early",
            Self::Imported => "imported",
            Self::Broken => "broken",
        }
    }
}

/// A run in the list. Accuracies are 0 to 1.
#[derive(Clone, Debug, Serialize)]
struct Row {
    run: String,
    folder: PathBuf,
    state: State,
    data: Option<String>,
    network: Option<Architecture>,
    epochs: usize,
    epochs_planned: Option<usize>,
    best_epoch: Option<usize>,
    held_out_accuracy: Option<f64>,
    test_accuracy: Option<f64>,
    /// Size of everything in the folder.
    bytes: u64,
    /// Seconds since 1970.
    started: f64,
    /// Why the run is broken.
    problem: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<ExitCode> {
        let folder = &self.folder;
        // Without the default folder nothing was trained here yet: print an empty list, not an error.
        ensure!(
            folder.is_dir() || folder == Path::new(run::RUNS),
            "{} is not a folder: expected one with runs, or a run's folder",
            folder.display()
        );
        let runs = if run::is_run(folder) { vec![Run::at(folder)] } else { Run::all(folder) };
        let rows: Vec<Row> = runs.iter().map(Row::new).collect();
        match self.format {
            Format::Json => text::print_json(&rows)?,
            Format::Csv => text::print(&csv(&rows)?)?,
            Format::Text if rows.is_empty() => text::print(&format!("no runs in {}\n", folder.display()))?,
            Format::Text => text::print(&to_text(&rows, columns(), lock::seconds(SystemTime::now())))?,
        };
        Ok(ExitCode::SUCCESS)
    }
}

impl Row {
    fn new(run: &Run) -> Self {
        // Resolves the folder's real name, in case it is given as `.`.
        let folder = run.folder().canonicalize().unwrap_or_else(|_| run.folder().to_owned());
        let name = folder.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        let running = lock::holder(run.folder()).is_some();
        let mut row = Self {
            run: name,
            folder: run.folder().to_owned(),
            state: if running { State::Running } else { State::Interrupted },
            data: None,
            network: None,
            epochs: 0,
            epochs_planned: None,
            best_epoch: None,
            held_out_accuracy: None,
            test_accuracy: None,
            bytes: bytes(run.folder()),
            started: run.started(),
            problem: None,
        };
        if let Err(error) = row.read(run) {
            row.state = State::Broken;
            row.problem = Some(format!("{error:#}"));
        }
        row
    }

    /// Fills in the columns from the run's files.
    fn read(&mut self, run: &Run) -> Result<()> {
        if !run.last().is_file() && !run.best().is_file() {
            // The run has not written its first checkpoint yet.
            self.epochs_planned = Some(recipe(run)?.epochs);
            return Ok(());
        }
        let metadata = Checkpoint::metadata(&run.last())?;
        let imported = metadata.is_imported();
        let Metadata { recipe, architecture, data, progress, history, .. } = metadata;
        let best = progress.exported();
        let epoch = history.iter().find(|epoch| epoch.epoch == best);
        self.data = Some(data.name);
        self.network = Some(architecture);
        self.epochs = progress.epochs;
        self.epochs_planned = Some(recipe.epochs);
        self.best_epoch = epoch.map(|epoch| epoch.epoch);
        self.held_out_accuracy = epoch.and_then(|epoch| epoch.held_out_accuracy);
        self.test_accuracy = epoch.map(|epoch| epoch.test_accuracy);
        if imported {
            (self.state, self.data, self.epochs_planned) = (State::Imported, None, None);
        } else if self.state != State::Running {
            match progress.outcome(&recipe) {
                Some(RunEnd::Finished) => self.state = State::Finished,
                Some(RunEnd::StoppedEarly) => self.state = State::StoppedEarly,
                _ => {}
            }
        }
        if progress.epochs > 0 {
            Checkpoint::metadata(&run.best())?;
        }
        Ok(())
    }

    fn cells(&self, now: f64) -> Vec<String> {
        let dash = || "–".to_owned();
        let share = |share: Option<f64>| share.map_or_else(dash, |share| format!("{:.2}%", share * 100.0));
        vec![
            printable(&self.run),
            self.state.word().to_owned(),
            self.data.as_deref().map_or_else(dash, printable),
            self.network.as_ref().map_or_else(dash, short),
            self.epochs_planned.map_or_else(dash, |planned| format!("{}/{planned}", self.epochs)),
            share(self.held_out_accuracy),
            share(self.test_accuracy),
            size(self.bytes),
            age(now - self.started),
        ]
    }
}

/// The recipe of a run without a checkpoint.
fn recipe(run: &Run) -> Result<Recipe> {
    let path = run.folder().join(run::RECIPE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Recipe::of_run(&text).with_context(|| format!("{} is not a valid recipe", path.display()))
}

/// The table for people, followed by the problems of broken runs.
fn to_text(rows: &[Row], columns: usize, now: f64) -> String {
    let heading = ["run", "state", "data", "network", "epochs", "held-out", "test", "size", "age"].map(str::to_owned);
    let mut table = vec![heading.to_vec()];
    table.extend(rows.iter().map(|row| row.cells(now)));
    // If the table is too wide, shorten the data set names first, then the run names.
    for column in [2, 0] {
        let too_much = text::table(&table).lines().map(|line| line.chars().count()).max().unwrap_or(0);
        let longest = table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let room = longest.saturating_sub(too_much.saturating_sub(columns)).max(SHORTEST);
        for row in &mut table {
            row[column] = text::shortened(&row[column], room);
        }
    }
    let mut text = text::table(&table);
    for row in rows {
        if let Some(problem) = &row.problem {
            let _ = writeln!(text, "{}: {}", printable(&row.run), printable(problem));
        }
    }
    text
}

fn csv(rows: &[Row]) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "run",
        "folder",
        "state",
        "data",
        "network",
        "epochs",
        "epochs_planned",
        "best_epoch",
        "held_out_accuracy",
        "test_accuracy",
        "bytes",
        "started",
        "problem",
    ])?;
    for row in rows {
        let number = |number: Option<usize>| number.map_or_else(String::new, |number| number.to_string());
        let share = |share: Option<f64>| share.map_or_else(String::new, |share| share.to_string());
        writer.write_record([
            row.run.clone(),
            row.folder.to_string_lossy().into_owned(),
            row.state.word().to_owned(),
            row.data.clone().unwrap_or_default(),
            row.network.as_ref().map(ToString::to_string).unwrap_or_default(),
            row.epochs.to_string(),
            number(row.epochs_planned),
            number(row.best_epoch),
            share(row.held_out_accuracy),
            share(row.test_accuracy),
            row.bytes.to_string(),
            row.started.to_string(),
            row.problem.clone().unwrap_or_default(),
        ])?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

/// A network in short form: `0.25@64`.
fn short(network: &Architecture) -> String {
    let kind = if network.kind == Kind::MobilenetV1 { String::new() } else { format!("{} ", network.kind) };
    format!("{kind}{}@{}", network.width, network.resolution)
}

/// Total size of the files in a folder, in bytes.
fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// `862 kB`, `5.2 MB`, `13 MB`.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        // 999.5 and above would round to 1000.
        if value < 999.5 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `12 s`, `5 min`, `3 h`, `2 d`.
fn age(seconds: f64) -> String {
    match seconds.max(0.0) {
        seconds if seconds < 60.0 => format!("{seconds:.0} s"),
        seconds if seconds < 3600.0 => format!("{:.0} min", (seconds / 60.0).floor()),
        seconds if seconds < 86_400.0 => format!("{:.0} h", (seconds / 3600.0).floor()),
        seconds => format!("{:.0} d", (seconds / 86_400.0).floor()),
    }
}

/// Width of the terminal on standard output in columns; 80 if it is not a terminal.
fn columns() -> usize {
    terminal_size::terminal_size_of(stdout()).map_or(80, |(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_short() {
        let sizes = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (862_345, "862 kB"),
            (5_234_000, "5.2 MB"),
            (999_960, "1.0 MB"),
        ];
        for (bytes, expected) in sizes {
            assert_eq!(size(bytes), expected);
        }
        for (seconds, expected) in
            [(-5.0, "0 s"), (59.0, "59 s"), (3599.0, "59 min"), (7200.0, "2 h"), (172_800.0, "2 d")]
        {
            assert_eq!(age(seconds), expected);
        }
    }

    #[test]
    fn broken_and_young_runs_are_listed_and_the_table_fits() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path
        };
        let broken = place("a-run-with-a-name-of-more-than-forty-characters");
        std::fs::write(broken.join("last.safetensors"), b"half").unwrap();
        let young = place("young");
        std::fs::write(young.join("recipe.toml"), crate::recipe::BUILT_IN[0].1).unwrap();
        let live = place("live");
        std::fs::write(live.join("recipe.toml"), crate::recipe::BUILT_IN[0].1).unwrap();
        let _lock = lock::Lock::acquire(&live, 5e9).unwrap();
        place("no-run");

        let rows: Vec<Row> = Run::all(folder.path()).iter().map(Row::new).collect();
        let states = |rows: &[Row]| rows.iter().map(|row| (row.run.clone(), row.state)).collect::<Vec<_>>();
        let found = states(&rows);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(found[2], ("live".to_owned(), State::Running));
        assert!(found.contains(&("young".to_owned(), State::Interrupted)), "{found:?}");
        let text = to_text(&rows, 80, 5e9 + 120.0);
        let (table, problems) = text.split_at(text.match_indices('\n').nth(3).unwrap().0 + 1);
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(table.contains("a-run") && table.contains("2 min"), "{text}");
        assert!(problems.contains("last.safetensors is truncated"), "{text}");
        assert_eq!(csv(&rows).unwrap().lines().count(), 4);
    }
}
