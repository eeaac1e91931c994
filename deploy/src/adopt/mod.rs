//! Turns an ONNX classifier of another exporter into a file that follows our contract: images in, the preparation and the
//! card inside, the same answer in every engine.
//!
//! `sources` reads what the file and the files beside it say about its images ([`facts`]); [`plan`] decides, or asks
//! for facts that neither the graph, the files nor the flags give; `graph` and `constants` rewrite the file; [`check`]
//! compares the result with the original.

pub mod check;
mod constants;
pub mod facts;
mod graph;
pub mod plan;
pub mod sources;

use crate::interface::{Doubt, Maker, Origin, Scores};
use crate::model::Scored;
use anyhow::{Context, Result, bail, ensure};
use check::{Outcome, Reference};
use facts::{Facts, Source, Sources};
use models::card::{self, Adopted, LOGITS, ModelCard, PROBABILITIES, Precision};
use models::onnx::limits::{self, Footprint, Limits};
use models::onnx::proto::ModelProto;
use models::onnx::{self, external, versions};
use models::{dataset, files};
use ndarray::ArrayView4;
use plan::{Line, Plan};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// An adopted file in memory.
#[derive(Debug)]
pub struct Adoption {
    /// The file.
    pub bytes: Vec<u8>,
    /// Its card.
    pub card: ModelCard,
    /// What was decided and who said so.
    pub told: Vec<Line>,
    /// What the user should know.
    pub notes: Vec<String>,
    plan: Plan,
    /// The original for inference, with the same output.
    reference: ModelProto,
    scores: Scores,
}

impl Adoption {
    /// Reads a file and rewrites it. `flags` are what the user says, `described` further files that describe it. Fails
    /// with [`plan::Questions`] if something is not known.
    pub fn new(path: &Path, flags: Facts, described: &[PathBuf]) -> Result<Self> {
        let bytes = onnx::read_file(path)?;
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        let source = card::Origin {
            file: path.file_name().map_or_else(String::new, |name| files::name(Path::new(name))),
            sha256,
        };
        let bytes = external::embedded(bytes, path)?;
        Self::of(&bytes, path, source, flags, described)
            .with_context(|| format!("{} cannot be adopted", path.display()))
    }

    fn of(bytes: &[u8], path: &Path, source: card::Origin, flags: Facts, described: &[PathBuf]) -> Result<Self> {
        let limits = Limits::default();
        // Most nodes of many files compute shapes, and vanish below.
        let original = Limits { nodes: MOST_NODES, ..limits };
        let mut model = onnx::parse(bytes)?;
        let adopted = ModelCard::from_model(&model).is_ok_and(|card| card.is_some());
        ensure!(!adopted, "it has a model card: it can be used as it is");
        let names = sources::unpacked(&mut model);
        versions::check(&model)?;
        limits::check(&model, &original)?;
        let mut sources = Sources(vec![Source { name: String::new(), facts: flags }]);
        sources.0.extend(names);
        let (known, unused) = sources::known(&model, path, described)?;
        sources.0.extend(known);
        // A file that cannot be used may be why something is missing.
        let plan = unused.iter().fold(Plan::new(&model, &sources), |plan, note| plan.context(note.clone()))?;

        let (mut adopted, mut notes) = graph::prepared(&model, &plan)?;
        notes.extend(unused);
        constants::folded(&mut adopted, plan.batch, &original)?;
        let mut reference = graph::reference(&model, &plan)?;
        let images = plan.batch.unwrap_or(2) as u64;
        let footprint = Footprint::estimate(&adopted, images as usize, &limits)?;
        let shape = footprint.outputs.values().next().context("it has no outputs")?;
        if onnx::signature(&reference)?.outputs.iter().any(|output| output.element == "float16") {
            graph::widened(&mut reference)?;
        }
        for model in [&mut adopted, &mut reference] {
            graph::flattened(model, shape, images)?;
        }
        let mut classes = usize::try_from(shape.iter().product::<u64>() / images)?;
        let has_one_score = classes == 1;
        if has_one_score {
            let one = single(&adopted, &reference, &plan)?;
            for model in [&mut adopted, &mut reference] {
                graph::doubled(model, one)?;
            }
            notes.push(format!(
                "it has one score per image, a {}: taken as that of the second of two classes",
                if one == Scores::Logits { "logit" } else { "probability" }
            ));
            classes = 2;
        }
        for model in [&mut adopted, &mut reference] {
            graph::named(model, SCORES, plan.batch, classes)?;
        }
        let Scored { holds, reason, doubt, .. } = Scored::new("the adopted file", &onnx::encode(&adopted))?;
        if let Some(told) = plan.scores {
            ensure!(told == holds, "--scores says {told}, but its output '{}' holds {holds}: {reason}", plan.output);
        }
        match doubt.map(|doubt| (doubt, doubt.about(&plan.output))) {
            // `single` has settled it for one score per image.
            Some((Doubt::InRange, doubt)) => {
                ensure!(
                    plan.scores.is_some() || has_one_score,
                    "{doubt}. If it does, export the network without the nodes that make them; otherwise say --scores \
                     logits"
                );
            }
            Some((Doubt::Equal, doubt)) => notes.push(doubt),
            None => {}
        }
        graph::named(&mut adopted, if holds == Scores::Logits { LOGITS } else { PROBABILITIES }, plan.batch, classes)?;

        let mut told = plan.told.clone();
        told.push(Line { what: "scores", value: holds.to_string(), by: reason });
        let labels = labels(&plan, classes, &mut told, &mut notes)?;
        let mut described_by: Vec<String> = Vec::new();
        for Line { by, .. } in plan.told.iter().filter(|line| line.by.starts_with("--") || sources.names(&line.by)) {
            if !described_by.contains(by) {
                described_by.push(by.clone());
            }
        }
        let producer = format!("{} {}", model.producer_name, model.producer_version).trim().to_owned();
        let card = ModelCard {
            format: card::ADOPTED,
            architecture: None,
            labels,
            input: plan.input(),
            preprocessing: plan.preprocessing.clone(),
            takes: card::GraphInput::Images,
            precision: if check::is_quantized(&adopted) { Precision::Int8 } else { Precision::Fp32 },
            calibration: None,
            confidence: None,
            training: None,
            adopted: Some(Adopted { source, producer, described_by }),
        };
        card.embed(&mut adopted)?;
        Ok(Self { bytes: onnx::encode(&adopted), card, told, notes, plan, reference, scores: holds })
    }

    /// Compares the file with the original on images `[N, C, H, W]`, values 0 to 255, of the size that the card says.
    /// Calls `progress` before each engine.
    pub fn check(&self, images: ArrayView4<u8>, progress: &dyn Fn()) -> Result<Vec<(crate::backend::Engine, Outcome)>> {
        let Self { plan, reference, scores, card, .. } = self;
        let reference =
            Reference { model: reference, plan, output: SCORES, classes: card.labels.len(), scores: *scores };
        reference.compare("the adopted file", &self.bytes, images, progress)
    }
}

/// Most nodes of an original.
const MOST_NODES: usize = 50_000;

/// Name of the output until it is known what its scores are.
const SCORES: &str = "scores";

/// What a single score per image is: a probability if sigmoid makes it. Fails if it could be either.
fn single(adopted: &ModelProto, reference: &ModelProto, plan: &Plan) -> Result<Scores> {
    let graph = adopted.graph.as_ref().context("it has no graph")?;
    let origin = Origin::find(graph, &graph.output.first().context("it has no outputs")?.name);
    let known = match (origin.maker, plan.scores) {
        (Maker::Sorted, _) => bail!(origin.sorted(&plan.output)),
        (_, Some(told)) => Some(told),
        (Maker::Sigmoid, None) => Some(Scores::Probabilities),
        _ => None,
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let output = reference.graph.iter().flat_map(|graph| &graph.output).next().context("it has no outputs")?;
    let scores = Reference { model: reference, plan, output: &output.name, classes: 1, scores: Scores::Logits }
        .run(check::blocks(plan.image()).view())?;
    let open = origin.maker != Maker::Other || scores.iter().all(|score| (0.0..=1.0).contains(score));
    ensure!(
        !open,
        "its one score per image is made by {}, and may be a probability: say --scores probabilities if it is that of one \
         of two classes, or --scores logits",
        origin.path
    );
    Ok(Scores::Logits)
}

/// The names of the classes: those that somebody says, or their numbers.
fn labels(plan: &Plan, classes: usize, told: &mut Vec<Line>, notes: &mut Vec<String>) -> Result<Vec<String>> {
    let Some((labels, by)) = &plan.labels else {
        notes.push(
            "nobody names the classes: they are called by their numbers. Name them with --labels FILE".to_owned(),
        );
        told.push(Line { what: "classes", value: format!("{classes}, by number"), by: "the graph".to_owned() });
        return Ok((0..classes).map(|class| class.to_string()).collect());
    };
    let hint =
        if classes == labels.len() + 1 { ". Does the network count 'background' as its first class?" } else { "" };
    ensure!(
        labels.len() == classes,
        "{by} has {} labels, but the network tells {classes} classes apart: expected a file with {classes} names, as in \
         --labels FILE{hint}",
        labels.len()
    );
    let (labels, repeated) = dataset::numbered(labels.clone());
    notes.extend(
        repeated.iter().map(|label| format!("{by} repeats the name of a class: the later class is called {label}")),
    );
    told.push(Line { what: "classes", value: crate::text::class_list(&labels), by: by.clone() });
    Ok(labels)
}
