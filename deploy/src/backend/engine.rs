//! What an engine is: its entry in the table [`ENGINES`], and a handle to one of them.

use super::engines::ENGINES;
use super::intermediate::{Exposed, Step};
use super::options::{Options, Selection};
use super::prepared::DirectCall;
use super::status::{Found, Status};
use super::{Backend, ImageBatch, ModelFile};
use anyhow::{Context, Result, bail};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// An engine: what the commands have to know about it, and its code.
pub struct Registration {
    /// What users type, such as `ort`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// The cargo feature that compiles it in; `None` if it always is.
    pub feature: Option<&'static str>,
    /// Whether `auto`, `deploy doctor` and a plain `deploy bench` consider it. The others are there to be compared.
    pub everyday: bool,
    /// Whether it runs on a CUDA device. Then its name takes the device's number (`ort-cuda:1`), the options of CUDA
    /// have an effect on it, and the number of threads has none.
    pub cuda: bool,
    /// The engine that `--device cuda` selects in its place.
    pub on_cuda: Option<&'static Registration>,
    /// The engine that shows its values between the nodes, if it cannot do so itself.
    pub for_layers: Option<&'static Registration>,
    /// What to do if its library is not found; `None` if it needs no library.
    pub library: Option<&'static str>,
    /// Its code; `None` if it is not compiled in.
    pub code: Option<Code>,
}

/// The code of an engine. Engines that run on the CPU ignore the number of the device.
pub struct Code {
    /// Finds out whether it can be used on this device. An error says why not, and what to do.
    pub find: fn(u16) -> Result<Found>,
    /// Makes a model ready to run.
    pub open: fn(ModelFile, u16, &Options) -> Result<Box<dyn Backend>>,
    /// The engine's own call, for `deploy bench`; `None` if that is [`Backend::run`].
    pub prepared: Option<Prepare>,
    /// Makes a model ready to show the tensors of these steps, for `deploy parity --layers`.
    pub layers: Option<Expose>,
}

/// Makes an engine's own call on these images ready, and nothing around it: no checks, no scores. It tells what
/// [`Backend::run`] and [`crate::model::Model::logits`] add. The backend is one that the engine opened.
pub type Prepare = for<'a> fn(&'a mut dyn Backend, ImageBatch) -> Result<DirectCall<'a>>;

/// Opens a model with every tensor as an output.
pub type Expose = fn(ModelFile, u16, &[Step]) -> Result<Box<dyn Exposed>>;

impl Registration {
    /// An engine for comparisons, without properties and without code: what entries of the table start from.
    pub const EMPTY: Self = Self {
        name: "",
        about: "",
        feature: None,
        everyday: false,
        cuda: false,
        on_cuda: None,
        for_layers: None,
        library: None,
        code: None,
    };
}

/// An engine of the table, on one of its devices.
#[derive(Clone, Copy)]
pub struct Engine {
    /// Its entry in the table.
    pub registration: &'static Registration,
    /// Number of the CUDA device; 0 on the CPU.
    pub device: u16,
}

/// Engines that cannot be used here, all for the same reason.
#[derive(Clone, Debug)]
pub struct Absent {
    /// Their names.
    pub engines: String,
    /// Why, and what to do.
    pub reason: String,
}

impl Engine {
    /// All engines, compiled in or not, in the order of the table.
    #[must_use]
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        ENGINES.iter().map(|registration| Self { registration, device: 0 })
    }

    /// Those for everyday use.
    #[must_use]
    pub fn everyday() -> impl DoubleEndedIterator<Item = Self> {
        Self::all().filter(|engine| engine.registration.everyday)
    }

    /// The names that a user can type, for messages.
    #[must_use]
    pub fn names() -> String {
        let name =
            |engine: Self| if engine.registration.cuda { format!("{engine}, {engine}:N") } else { engine.to_string() };
        Self::all().map(name).collect::<Vec<_>>().join(", ")
    }

    /// Splits engines into those that can be used here and the others.
    #[must_use]
    pub fn available(engines: impl IntoIterator<Item = Self>) -> (Vec<Self>, Vec<Absent>) {
        let (mut here, mut absent) = (Vec::new(), Vec::new());
        for engine in engines {
            match engine.check() {
                Ok(()) => here.push(engine),
                Err(error) => Absent::add(&mut absent, engine, &error),
            }
        }
        (here, absent)
    }

    /// Checks that the engine can be used here. The error says what to do.
    pub fn check(self) -> Result<()> {
        self.find().map(drop)
    }

    /// The state of the engine.
    #[must_use]
    pub fn status(self) -> Status {
        let (found, reason) = match self.find() {
            Ok(found) => (found, None),
            Err(error) => (Found::default(), Some(format!("{error:#}"))),
        };
        let (about, compiled_in) = (self.registration.about, self.registration.code.is_some());
        Status { engine: self, about, compiled_in, available: reason.is_none(), found, reason }
    }

    /// Its code. Errors if it is not compiled in.
    pub fn code(self) -> Result<&'static Code> {
        let Registration { name, feature, code, .. } = self.registration;
        code.as_ref().with_context(|| {
            let remedy = feature.map_or_else(String::new, |feature| format!(": rebuild it with --features {feature}"));
            format!("this program was built without {name}{remedy}")
        })
    }

    /// The engine that shows its values between the nodes: itself, or another one.
    #[must_use]
    pub fn for_layers(self) -> Self {
        self.registration.for_layers.map_or(self, |registration| Self { registration, ..self })
    }

    /// The options that open a model on this engine.
    #[must_use]
    pub fn options(self, threads: Option<usize>) -> Options {
        Options::new(Selection::Engine(self), threads)
    }

    fn find(self) -> Result<Found> {
        (self.code()?.find)(self.device)
    }
}

impl Absent {
    /// Adds an engine, to those with the same reason if there are any.
    pub(super) fn add(all: &mut Vec<Self>, engine: Engine, error: &anyhow::Error) {
        let reason = format!("{error:#}");
        match all.iter_mut().find(|absent| absent.reason == reason) {
            Some(Self { engines, .. }) => *engines = format!("{engines}, {engine}"),
            None => all.push(Self { engines: engine.to_string(), reason }),
        }
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}: {}", self.engines, self.reason)
    }
}

impl FromStr for Engine {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let named = |registration: &Registration| registration.name == name && (registration.cuda || number.is_none());
        let Some(registration) = ENGINES.iter().find(|registration| named(registration)) else {
            bail!("expected {}", Self::names());
        };
        let device = number.map_or(Ok(0), str::parse);
        let device = device.with_context(|| format!("'{}' is not a device number", number.unwrap_or_default()))?;
        Ok(Self { registration, device })
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.device {
            0 => f.write_str(self.registration.name),
            number => write!(f, "{}:{number}", self.registration.name),
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        (self.registration.name, self.device) == (other.registration.name, other.device)
    }
}

impl Eq for Engine {}

/// Serialized as its name.
impl Serialize for Engine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn engines_are_read_as_they_are_written() {
        let on_cuda =
            Engine::all().filter(|engine| engine.registration.cuda).map(|engine| Engine { device: 3, ..engine });
        for engine in Engine::all().chain(on_cuda) {
            assert_eq!(engine.to_string().parse::<Engine>().unwrap(), engine);
            engine.options(None).validate().unwrap();
        }
        assert_eq!("ort-cuda:0".parse::<Engine>().unwrap().to_string(), "ort-cuda", "one engine has one name");
        for (text, word) in [
            ("ort-cpu", &*format!("expected {}", Engine::names())),
            ("cuda", "expected tract"),
            ("tract:1", "expected tract"),
            ("", "expected tract"),
            ("ort-cuda:x", "'x' is not a device number"),
            ("ort-cuda:", "'' is not a device number"),
        ] {
            let message = text.parse::<Engine>().unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }

    #[test]
    fn every_engine_is_registered_once_and_described() {
        let names: BTreeSet<_> = ENGINES.iter().map(|engine| engine.name).collect();
        assert_eq!(names.len(), ENGINES.len());
        for engine in ENGINES {
            assert!(!engine.name.contains([':', ',', ' ']) && !engine.about.is_empty(), "{}", engine.name);
            assert!(engine.code.is_some() || engine.feature.is_some(), "{}", engine.name);
            for other in engine.on_cuda.iter().chain(&engine.for_layers) {
                assert!(names.contains(other.name), "{} names an engine that is not in the table", engine.name);
            }
            assert!(engine.on_cuda.is_none_or(|other| other.cuda && !engine.cuda), "{}", engine.name);
        }
    }

    #[test]
    fn what_is_not_here_says_what_to_do() {
        let (here, absent) = Engine::available(Engine::all());
        let names: usize = absent.iter().map(|absent| absent.engines.split(", ").count()).sum();
        assert_eq!(here.len() + names, ENGINES.len(), "{here:?} {absent:?}");
        for engine in Engine::all() {
            let status = engine.status();
            assert_eq!((status.available, status.reason.is_none()), (here.contains(&engine), status.available));
            assert_eq!(status.compiled_in, engine.code().is_ok());
            if let Err(error) = engine.code() {
                let feature = engine.registration.feature.unwrap();
                let expected = format!("this program was built without {engine}: rebuild it with --features {feature}");
                assert_eq!(error.to_string(), expected);
                let told = format!("{engine}: {expected}");
                assert!(absent.iter().any(|absent| absent.to_string() == told), "{absent:?}");
            }
        }
    }
}
