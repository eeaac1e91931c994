//! The embedded model understands images as users take them, and does not take other things for digits: the share of
//! right answers on each kind of awkward image.
//!
//! `AWKWARD_SHEETS=FOLDER` writes a contact sheet for each kind and one of all mistakes. `AWKWARD_KINDS=TEXT` runs only
//! the kinds with this text in their name. `AWKWARD_HELD_BACK=1` adds the kinds that nothing may be adjusted to.

use deploy::backend::Engine;
use deploy::embedded;
use deploy::model::Model;
use image::{DynamicImage, GrayImage};
use models::card::Input;
use models::digit::{self, Choice, Reading};
use models::evaluation::argmax;
use models::image_file::Reader;
use ndarray::ArrayView4;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tests::awkward::answer::{Answer, Shows};
use tests::awkward::kinds::{self, Group, Kind};
use tests::awkward::sheet::{self, Entry};
use tests::awkward::{Needs, Sources, Specimen};

/// Number of images of each kind.
const EACH: usize = 80;
/// Images on a contact sheet of one kind, and on that of the mistakes.
const ON_SHEET: usize = 40;
const MISTAKES_ON_SHEET: usize = 400;

/// The result for one image.
struct Outcome {
    /// Index among the chosen kinds.
    kind: usize,
    index: usize,
    shows: Shows,
    origin: String,
    answer: Answer,
    entry: Option<Entry>,
}

impl Outcome {
    fn right(&self) -> bool {
        self.answer.suits(self.shows)
    }

    /// The mistake in short: `3→8`, or only the digit given for what is none.
    fn mistake(&self) -> String {
        let answer = match &self.answer {
            Answer::Digit(digit) => digit.to_string(),
            Answer::Several(count) => format!("{count} digits"),
            Answer::Unknown => "?".to_owned(),
            Answer::Refused(_) => "-".to_owned(),
        };
        match self.shows {
            Shows::Digit(digit) => format!("{digit}→{answer}"),
            Shows::Digits(_) | Shows::NoDigit => answer,
        }
    }
}

fn model() -> Model {
    let options = "tract".parse::<Engine>().unwrap().options(Some(1));
    Model::from_bytes(embedded::NAME, embedded::MODEL, &options).unwrap()
}

/// What `deploy predict` answers to an image file, and what the network saw.
fn answered(model: &mut Model, bytes: &[u8]) -> (Answer, Option<GrayImage>) {
    let Input { channels, height, width, .. } = *model.input();
    let readings = match Reader::default().from_bytes("image", bytes, model.input()) {
        Ok(readings) => readings,
        Err(error) => return (Answer::Refused(format!("{error:#}")), None),
    };
    let pixels: Vec<u8> = readings.iter().flat_map(|reading| &reading.pixels).copied().collect();
    let images = ArrayView4::from_shape((readings.len(), channels, height, width), &pixels).unwrap();
    let logits = model.logits(images).unwrap();
    let Choice { reading, known } = digit::choose(&readings, logits.view(), model.energies()).unwrap();
    let Reading { pixels, digits, .. } = &readings[reading];
    let answer = match (known, *digits) {
        (false, _) => Answer::Unknown,
        (true, 1) => Answer::Digit(argmax(logits.row(reading)) as u8),
        (true, several) => Answer::Several(several),
    };
    (answer, GrayImage::from_raw(width as u32, height as u32, pixels.clone()))
}

fn entry(specimen: &Specimen, answer: &Answer, seen: Option<GrayImage>) -> Entry {
    let image = image::load_from_memory(&specimen.bytes).unwrap();
    // A sheet needs neither 16 bits nor 3,000 pixels.
    let image = if image.width() > 800 { image.thumbnail(800, 800) } else { image };
    Entry { image: DynamicImage::from(image.to_rgba8()), seen, right: answer.suits(specimen.shows) }
}

/// Runs the model on all images of the chosen kinds, with one thread per core.
fn outcomes(sources: &Sources, chosen: &[&Kind], sheets: bool) -> Vec<Outcome> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut model = model();
        let mut found = Vec::new();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let (kind, index) = (task / EACH, task % EACH);
            let Some(&chosen) = chosen.get(kind) else { return found };
            let specimen = chosen.image(sources, index).unwrap();
            let (answer, seen) = answered(&mut model, &specimen.bytes);
            let entry = sheets.then(|| entry(&specimen, &answer, seen));
            found.push(Outcome { kind, index, shows: specimen.shows, origin: specimen.origin, answer, entry });
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let mut found: Vec<Outcome> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    found.sort_by_key(|outcome| (outcome.kind, outcome.index));
    found
}

fn share<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> f64 {
    let (mut right, mut all) = (0, 0);
    for outcome in outcomes {
        right += usize::from(outcome.right());
        all += 1;
    }
    f64::from(right as u32) / f64::from(all.max(1))
}

/// Prints the line of one kind.
fn print_kind(kind: &Kind, of_kind: &[Outcome]) {
    let mut mistakes: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in of_kind.iter().filter(|outcome| !outcome.right()) {
        *mistakes.entry(outcome.mistake()).or_default() += 1;
    }
    let mistakes: Vec<String> = mistakes.iter().map(|(pair, count)| format!("{pair} ×{count}")).collect();
    let count = |is: fn(&Answer) -> bool| of_kind.iter().filter(|outcome| is(&outcome.answer)).count();
    println!(
        "{:26}  {:6}  {:5.1}%  {:7}  {:7}  {:7}  {}",
        kind.name,
        of_kind.len(),
        share(of_kind) * 100.0,
        count(|answer| matches!(answer, Answer::Unknown)),
        count(|answer| matches!(answer, Answer::Several(_))),
        count(|answer| matches!(answer, Answer::Refused(_))),
        mistakes.join(" ")
    );
}

/// Prints the share of each source of which not all answers are right, for kinds with few sources.
fn print_sources(of_kind: &[Outcome]) {
    let mut sources: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
    for outcome in of_kind {
        sources.entry(&outcome.origin).or_default().push(outcome);
    }
    if sources.len() > 20 {
        return;
    }
    for (source, outcomes) in sources {
        let share = share(outcomes);
        if share < 1.0 {
            println!("  {source:30}  {:5.1}%", share * 100.0);
        }
    }
}

/// Prints the results of a group and returns what is below its limit. `every_kind`: whether the mean counts.
fn below_limit(group: &Group, results: &[(&Kind, &[Outcome])], every_kind: bool) -> Vec<String> {
    let mut low = Vec::new();
    let mut check = |name: &str, share: f64, floor: f64| {
        if share < floor {
            low.push(format!("{name}: {:.1} %, expected at least {:.1} %", share * 100.0, floor * 100.0));
        }
    };
    println!("\n{:26}  images   right  unknown  several  refused  mistakes", group.name);
    for (kind, of_kind) in results {
        print_kind(kind, of_kind);
        print_sources(of_kind);
        check(kind.name, share(*of_kind), kind.floor);
    }
    let mean = results.iter().map(|(_, of_kind)| share(*of_kind)).sum::<f64>() / results.len() as f64;
    println!("{:26}          {:5.2}%", "mean", mean * 100.0);
    if every_kind {
        check(group.name, mean, group.floor);
    }
    low
}

#[test]
fn the_embedded_model_reads_images_as_people_have_them_and_nothing_else() {
    let sources = Sources::load().unwrap();
    for (needed, left_out) in [
        (Needs::Fonts, "printed digits and letters: there are no fonts"),
        (Needs::Fashion, "Fashion-MNIST: it is not there"),
        (Needs::Photos, "photographs: there are none"),
    ] {
        if !sources.have(needed) {
            println!("skipped: {left_out}: run scripts/awkward-images");
        }
    }
    let wanted = std::env::var("AWKWARD_KINDS").unwrap_or_default();
    let held_back = std::env::var_os("AWKWARD_HELD_BACK").is_some().then_some(&kinds::HELD_BACK);
    let groups: Vec<&Group> = kinds::GROUPS.iter().chain(held_back).collect();
    let here = |kind: &&Kind| sources.have(kind.needs) && kind.name.contains(&wanted);
    let chosen: Vec<&Kind> = groups.iter().flat_map(|group| group.kinds).filter(here).collect();
    let sheets = std::env::var_os("AWKWARD_SHEETS").map(PathBuf::from);
    let outcomes = outcomes(&sources, &chosen, sheets.is_some());

    let mut results = chosen.iter().copied().zip(outcomes.chunks(EACH));
    let mut low = Vec::new();
    for group in groups {
        let of_group: Vec<_> = results.by_ref().take(group.kinds.iter().filter(here).count()).collect();
        if !of_group.is_empty() {
            low.extend(below_limit(group, &of_group, of_group.len() == group.kinds.len()));
        }
    }
    if let Some(folder) = sheets {
        write_sheets(&folder, &chosen, outcomes);
    }
    assert!(low.is_empty(), "{}", low.join("\n"));
}

/// Writes the first images of each kind, and the mistakes of all kinds.
fn write_sheets(folder: &Path, chosen: &[&Kind], outcomes: Vec<Outcome>) {
    std::fs::create_dir_all(folder).unwrap();
    for (kind, of_kind) in chosen.iter().zip(outcomes.chunks(EACH)) {
        let name = kind.name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        let entries = of_kind.iter().filter_map(|outcome| outcome.entry.as_ref()).take(ON_SHEET);
        sheet::drawn(entries).save(folder.join(format!("{name}.png"))).unwrap();
    }
    let mistakes: Vec<Outcome> = outcomes.into_iter().filter(|outcome| !outcome.right()).collect();
    for outcome in &mistakes {
        let Outcome { kind, index, origin, answer, .. } = outcome;
        println!("{} {index}: {origin} {answer:?}", chosen[*kind].name);
    }
    let entries = mistakes.iter().filter_map(|outcome| outcome.entry.as_ref()).take(MISTAKES_ON_SHEET);
    sheet::drawn(entries).save(folder.join("mistakes.png")).unwrap();
}
