//! `deploy serve`: answers images and tensors over HTTP.

use super::{ModelArguments, ModelSource, say, usage};
use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum, ValueHint};
use deploy::arguments::{number, whole};
use deploy::embedded;
use deploy::serve::{Address, Authority, HeaderValue, Limits, ModelChoice, Options, TlsFiles, serve};
use models::files;
use models::image_file::MAX_PIXELS;
use std::io::stderr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const EXAMPLES: &str = "\
Addresses:
  GET  /                 a page to draw on, or to drop an image on
  POST /predict          an image, or a form of several; the JSON of predict --format json
                         ?model=NAME &top=3 &threshold=0.5 &input=true
  /v2/…                  tensors: the Open Inference Protocol of KServe and Triton
  GET  /metrics          for Prometheus
  GET  /openapi.json     a description for programs

A model file that changes is opened again while the server runs. SIGTERM and Ctrl-C stop it after the requests in \
progress.

Examples:
  deploy serve                                        the embedded model
  deploy serve --model pets.onnx --listen 0.0.0.0:8080 --token-file token
  deploy serve --listen 0.0.0.0:8443 --tls-cert cert.pem --tls-key key.pem
  deploy serve --model pets=runs/photos/model.onnx --model digits=model.onnx
  curl --data-binary @seven.png http://127.0.0.1:8080/predict";

/// Answers images and tensors over HTTP
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments<Models>,

    /// Where to listen: an IP address with a port, such as 0.0.0.0:8080; unix:PATH for a socket file; or systemd for
    /// the socket of its unit
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: Address,

    /// Answer only clients that send the contents of this file: Authorization: Bearer TOKEN
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    token_file: Option<PathBuf>,

    /// Use HTTPS with the certificates in this PEM file, the server's own first; read again when it changes
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Let web pages of another origin use the server (a scheme and a host), or of any origin with *; can be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    cors: Vec<HeaderValue>,

    /// Most images or tensors that wait for a thread of one model; while the queue is full, further requests get 503
    #[arg(long, value_name = "N", default_value_t = Limits::default().waiting as u32, value_parser = whole::<u32>(1..=1_000_000))]
    queue: u32,

    /// Most images of different requests that a thread runs together, with ONNX Runtime [default: 8]
    #[arg(long, value_name = "N", value_parser = whole::<u16>(1..=1024))]
    max_batch: Option<u16>,

    /// Milliseconds for which an image waits for others to run with, with ONNX Runtime; with 0, only images that are
    /// already waiting run together
    #[arg(long, value_name = "MS", default_value_t = 0.0, value_parser = number::<f32>(0.0..=1000.0))]
    max_delay: f32,

    /// Connections at the same time; further ones wait
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections as u32, value_parser = whole::<u32>(1..=100_000))]
    connections: u32,

    /// Most bytes in the body of a request
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body as u64, value_parser = whole::<u64>(1..=1 << 30))]
    max_body: u64,

    /// Most pixels per image; larger images are refused before they are decoded
    #[arg(long, value_name = "N", default_value_t = MAX_PIXELS, value_parser = whole::<u64>(1..=i64::MAX as u64))]
    max_pixels: u64,

    /// Seconds after which a request without an answer ends with 503
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().request_time.as_secs(), value_parser = whole::<u64>(1..=3600))]
    timeout: u64,

    /// The log on standard error: text, json, or quiet (only problems)
    #[arg(long, value_enum, value_name = "HOW", hide_possible_values = true, default_value_t = Log::Text)]
    log: Log,
}

/// The form of the log.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
enum Log {
    Text,
    Json,
    Quiet,
}

/// The models to serve.
#[derive(Args)]
struct Models {
    /// A model, as written by train export, and its name in addresses; can be repeated [default: the embedded model; a
    /// file without a name gets its own, without the ending]
    #[arg(long = "model", value_name = "[NAME=]FILE", value_hint = ValueHint::FilePath, value_parser = choice)]
    choices: Vec<ModelChoice>,
}

impl ModelSource for Models {
    fn path(&self) -> Option<&Path> {
        self.choices.first().and_then(|choice| choice.path.as_deref())
    }
}

/// Reads `NAME=FILE` or `FILE`.
fn choice(text: &str) -> Result<ModelChoice, String> {
    let (name, path) = if let Some((name, path)) = text.split_once('=').filter(|(name, _)| is_name(name)) {
        (name.to_owned(), PathBuf::from(path))
    } else {
        let path = PathBuf::from(text);
        (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path)
    };
    if !is_name(&name) {
        return Err("name the model with letters, digits, dots, dashes or underscores: NAME=FILE".to_owned());
    }
    if path.as_os_str().is_empty() {
        return Err("expected a file after =".to_owned());
    }
    Ok(ModelChoice { name, path: Some(path) })
}

/// Reads the origin of a web page, and returns it as browsers send it: a scheme and a host in lower case, and the port
/// if it is not the scheme's own.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let expected = || "expected an origin such as https://example.org or http://localhost:3000, or *".to_owned();
    if text == "*" {
        return Ok(HeaderValue::from_static("*"));
    }
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://").ok_or_else(expected)?;
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return Err(expected()),
    };
    let address: Authority = rest.parse().map_err(|_| expected())?;
    let port = &rest[address.host().len()..];
    let is_port = port.is_empty() || address.port_u16().is_some_and(|port| port > 0);
    let is_origin = is_port && address.as_str() == rest && !rest.contains(['@', '*']) && !address.host().is_empty();
    if !is_origin {
        return Err(expected());
    }
    let origin = format!("{scheme}://{}", rest.strip_suffix(own_port).unwrap_or(rest));
    origin.parse().map_err(|_| expected())
}

/// Whether a name can be part of an address as it is.
fn is_name(name: &str) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || "._-".contains(char);
    !name.is_empty() && name.chars().all(fits) && !name.chars().all(|char| char == '.')
}

pub fn run(arguments: Arguments) -> Result<()> {
    let backend = arguments.model.options()?;
    let mut models = arguments.model.model.choices;
    if models.is_empty() {
        models.push(ModelChoice { name: embedded::MODEL_NAME.to_owned(), path: None });
    }
    for (number, choice) in models.iter().enumerate() {
        let twice = models[..number].iter().any(|other| other.name == choice.name);
        ensure!(!twice, usage(format!("two models have the name {}: name one with --model NAME=FILE", choice.name)));
    }
    let token = arguments.token_file.as_deref().map(token).transpose()?;
    let tls = arguments.tls_cert.zip(arguments.tls_key).map(|(certificate, key)| TlsFiles { certificate, key });
    start_log(arguments.log);
    let limits = Limits {
        body: arguments.max_body as usize,
        waiting: arguments.queue as usize,
        connections: arguments.connections as usize,
        request_time: Duration::from_secs(arguments.timeout),
        ..Limits::default()
    };
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let (address, cors, max_pixels) = (arguments.listen, arguments.cors, arguments.max_pixels);
    let (max_batch, max_delay) =
        (arguments.max_batch.map(usize::from), Duration::from_secs_f32(arguments.max_delay / 1e3));
    let options = Options { address, models, backend, token, tls, cors, max_pixels, max_batch, max_delay, limits };
    serve(options, |address, report| {
        for line in report {
            say(line);
        }
        say(&format!("serving {} at {address}", names.join(", ")));
    })
}

/// Reads a token. Errors if the file is empty or has several lines.
fn token(path: &Path) -> Result<String> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read --token-file {}", files::name(path)))?;
    let token = text.trim_end_matches(['\r', '\n']);
    let is_token = !token.is_empty() && token.chars().all(|char| char.is_ascii_graphic());
    ensure!(
        is_token,
        "--token-file {}: expected one line of printable ASCII characters without spaces",
        files::name(path)
    );
    Ok(token.to_owned())
}

fn start_log(log: Log) {
    let level = if log == Log::Quiet { tracing::Level::WARN } else { tracing::Level::INFO };
    let lines = tracing_subscriber::fmt().with_writer(stderr).with_target(false).with_max_level(level);
    // A line that cannot be written, such as on a full disk, would be reported with `eprintln!`, which panics then.
    let lines = lines.log_internal_errors(false);
    match log {
        Log::Json => lines.json().flatten_event(true).init(),
        Log::Text | Log::Quiet => lines.with_ansi(false).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_those_that_browsers_send() {
        for (given, sent) in [
            ("*", "*"),
            ("https://example.org", "https://example.org"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://Example.org:443", "https://example.org"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(origin(given).unwrap(), sent, "{given}");
        }
        for bad in [
            "",
            "example.org",
            "https://",
            "https://example.org/",
            "https://*.example.org",
            "null",
            "https://a.org:",
            "https://a.org:99999",
            "https://a.org?x",
            "https://user@a.org",
            "ftp://a.org",
            "https://\u{fc}.de",
        ] {
            assert!(origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_model_is_named_by_its_file_or_by_the_user() {
        for (text, name, path) in [
            ("pets.onnx", "pets", "pets.onnx"),
            ("runs/photos/model.onnx", "model", "runs/photos/model.onnx"),
            ("pets=runs/a=b.onnx", "pets", "runs/a=b.onnx"),
            ("runs/a=b.onnx", "a=b", ""),
            ("=x.onnx", "=x", ""),
            ("pets=", "", ""),
            ("..", "", ""),
        ] {
            match choice(text) {
                Ok(found) => assert_eq!((found.name.as_str(), found.path.unwrap().to_str().unwrap()), (name, path)),
                Err(_) => assert!(path.is_empty(), "{text}"),
            }
        }
    }
}
