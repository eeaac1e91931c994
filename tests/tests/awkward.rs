//! The embedded model understands images as users take them: its accuracy on each kind of awkward image.
//!
//! `AWKWARD_SHEETS=FOLDER` writes a contact sheet for each kind and one of all mistakes. `AWKWARD_KINDS=TEXT` runs only
//! the kinds with this text in their name.

use deploy::backend::Engine;
use deploy::embedded;
use deploy::model::Model;
use image::{DynamicImage, GrayImage};
use models::evaluation::argmax;
use models::image_file::Reader;
use ndarray::Axis;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tests::awkward::kinds::{self, Kind};
use tests::awkward::sheet::{self, Entry};
use tests::awkward::{Sources, Specimen};

/// Number of images of each kind.
const EACH: usize = 120;

/// The result for one image.
struct KindResult {
    kind: usize,
    index: usize,
    label: u8,
    origin: String,
    answer: Result<u8, String>,
    entry: Option<Entry>,
}

impl KindResult {
    fn right(&self) -> bool {
        self.answer == Ok(self.label)
    }
}

fn model() -> Model {
    let options = "tract".parse::<Engine>().unwrap().options(Some(1));
    Model::from_bytes(embedded::NAME, embedded::MODEL, &options).unwrap()
}

fn answered(model: &mut Model, specimen: &Specimen, sheets: bool) -> (Result<u8, String>, Option<Entry>) {
    let input = model.input().clone();
    let read = Reader::default().from_bytes("image", &specimen.bytes, &input);
    let seen = read
        .as_ref()
        .ok()
        .and_then(|seen| GrayImage::from_raw(input.width as u32, input.height as u32, seen.iter().copied().collect()));
    let answer = match read {
        Ok(seen) => {
            let logits = model.logits(seen.insert_axis(Axis(0)).view()).unwrap();
            Ok(argmax(logits.row(0)) as u8)
        }
        Err(error) => Err(format!("{error:#}")),
    };
    let entry = sheets.then(|| {
        let image = image::load_from_memory(&specimen.bytes).unwrap();
        // A sheet needs neither 16 bits nor 3,000 pixels.
        let image = if image.width() > 800 { image.thumbnail(800, 800) } else { image };
        Entry { image: DynamicImage::from(image.to_rgba8()), seen, right: answer == Ok(specimen.label) }
    });
    (answer, entry)
}

/// Runs the model on all images of the chosen kinds, with one thread per core.
fn outcomes(sources: &Sources, chosen: &[usize], sheets: bool) -> Vec<KindResult> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut model = model();
        let mut found = Vec::new();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            let Some(&kind) = chosen.get(task / EACH) else { return found };
            let index = task % EACH;
            let specimen = kinds::ALL[kind].image(sources, index).unwrap();
            let (answer, entry) = answered(&mut model, &specimen, sheets);
            found.push(KindResult { kind, index, label: specimen.label, origin: specimen.origin, answer, entry });
        }
    };
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let mut found: Vec<KindResult> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    found.sort_by_key(|outcome| (outcome.kind, outcome.index));
    found
}

fn share(outcomes: &[&KindResult]) -> f64 {
    outcomes.iter().filter(|outcome| outcome.right()).count() as f64 / outcomes.len().max(1) as f64
}

#[test]
fn the_embedded_model_reads_images_as_people_have_them() {
    let sources = Sources::load().unwrap();
    if !sources.have_fonts() {
        println!("skipped: printed digits: there are no fonts here: run scripts/fonts");
    }
    let wanted = std::env::var("AWKWARD_KINDS").unwrap_or_default();
    let here = |kind: &Kind| (sources.have_fonts() || !kind.printed) && kind.name.contains(&wanted);
    let chosen: Vec<usize> = (0..kinds::ALL.len()).filter(|&kind| here(&kinds::ALL[kind])).collect();
    let sheets = std::env::var_os("AWKWARD_SHEETS").map(PathBuf::from);
    let outcomes = outcomes(&sources, &chosen, sheets.is_some());

    let mut low = Vec::new();
    let mut shares = Vec::new();
    println!("{:26}  {:>8}  {:>5}  {:>7}  mistakes", "kind", "images", "right", "refused");
    for &kind in &chosen {
        let of_kind: Vec<&KindResult> = outcomes.iter().filter(|outcome| outcome.kind == kind).collect();
        let mut mistakes: BTreeMap<String, usize> = BTreeMap::new();
        for outcome in of_kind.iter().filter(|outcome| !outcome.right()) {
            let answer = outcome.answer.as_ref().map_or("-".to_owned(), u8::to_string);
            *mistakes.entry(format!("{}→{answer}", outcome.label)).or_default() += 1;
        }
        let mistakes: Vec<String> = mistakes.iter().map(|(pair, count)| format!("{pair} ×{count}")).collect();
        let refused = of_kind.iter().filter(|outcome| outcome.answer.is_err()).count();
        let share = share(&of_kind);
        shares.push(share);
        let Kind { name, floor, .. } = kinds::ALL[kind];
        println!("{name:26}  {:8}  {:4.1}%  {refused:7}  {}", of_kind.len(), share * 100.0, mistakes.join(" "));
        if share < floor {
            low.push(format!("{name}: {:.1} %, expected at least {:.1} %", share * 100.0, floor * 100.0));
        }
    }
    let overall = shares.iter().sum::<f64>() / shares.len() as f64;
    println!("{:26}  {:8}  {:5.2}%", "overall", outcomes.len(), overall * 100.0);

    let mut fonts: BTreeMap<&str, Vec<&KindResult>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| kinds::ALL[outcome.kind].printed) {
        fonts.entry(&outcome.origin).or_default().push(outcome);
    }
    for (font, of_font) in fonts {
        println!("  {font:30}  {:4.1}%", share(&of_font) * 100.0);
    }
    if let Some(folder) = sheets {
        write_sheets(&folder, outcomes);
    }
    assert!(low.is_empty(), "{}", low.join("\n"));
    assert!(overall >= 0.97 || !wanted.is_empty(), "{:.2} % overall", overall * 100.0);
}

fn write_sheets(folder: &std::path::Path, outcomes: Vec<KindResult>) {
    std::fs::create_dir_all(folder).unwrap();
    let mut sheets: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
    let mut mistakes: Vec<Entry> = Vec::new();
    for outcome in outcomes {
        let right = outcome.right();
        if !right {
            println!("{} {}: {} {:?}", kinds::ALL[outcome.kind].name, outcome.index, outcome.origin, outcome.answer);
        }
        let Some(entry) = outcome.entry else { continue };
        let name = kinds::ALL[outcome.kind].name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        if right { sheets.entry(name).or_default().push(entry) } else { mistakes.push(entry) }
    }
    for (name, mut entries) in sheets {
        entries.truncate(40);
        sheet::drawn(&entries).save(folder.join(format!("{name}.png"))).unwrap();
    }
    sheet::drawn(&mistakes).save(folder.join("mistakes.png")).unwrap();
}
