//! `scripts/setup` does not trust anything it downloads. Each test runs it in its own folder against a local HTTP
//! server that serves MNIST, correctly or not.
//!
//! The tests show: Sources are tried in order and named. A file with the wrong SHA-256, a broken connection or a killed
//! run leaves nothing that a later run would take for MNIST. Two simultaneous runs download only once. A run with
//! nothing to do needs no network and less than two seconds.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

const FILES: [&str; 4] =
    ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
/// The file that bad servers damage: the smaller of the two image files.
const PICTURES: &str = "t10k-images-idx3-ubyte";
const PICTURES_SHA256: &str = "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7";

#[test]
fn the_second_mirror_serves_and_is_named_when_the_first_is_dead() {
    let Some(mnist) = mnist() else { return };
    let sandbox = Sandbox::new("dead-mirror");
    let dead = "http://127.0.0.1:1"; // a privileged port that nobody serves
    let good = Mirror::serving(mnist);

    let run = Run::new(sandbox.setup(&[dead, &good.url]));

    assert!(run.succeeded, "{run:?}");
    run.assert_says(&format!("{dead} did not serve {}.gz", FILES[0]));
    run.assert_says(&format!("MNIST came from {}", good.url));
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    assert_eq!(words, ["MNIST", "(70,000", "digits)", "ready", ".deps/mnist"]);
    for name in FILES {
        let (served, linked) = (real_mnist().join(name), sandbox.linked(name));
        assert_eq!(sha256(&linked), sha256(&served), "{name}");
    }
}

#[test]
fn an_image_file_with_a_flipped_byte_is_refused() {
    let Some(mnist) = mnist() else { return };
    let sandbox = Sandbox::new("flipped-byte");
    let mut images = fs::read(real_mnist().join(PICTURES)).unwrap();
    images[1000] ^= 1;
    let flipped = sandbox.dir.join("flipped");
    fs::write(&flipped, images).unwrap();
    let mut spoiled = mnist.clone();
    spoiled.insert(PICTURES, Reply::whole(gzip(&flipped)));

    let bad = Mirror::serving(spoiled);
    let run = Run::new(sandbox.setup(&[&bad.url]));

    assert_eq!(run.code, Some(1), "{run:?}");
    run.assert_says(&format!("refused {PICTURES} from {}", bad.url));
    run.assert_says(&format!("expected  {PICTURES_SHA256}"));
    run.assert_says(&format!("found     {}", sha256(&flipped)));
    sandbox.assert_nothing_is_trusted();
    sandbox.assert_a_good_mirror_mends_it(mnist);
}

#[test]
fn a_download_cut_in_the_middle_is_not_trusted() {
    let Some(mnist) = mnist() else { return };
    // If the length is announced, curl notices the broken connection; otherwise gzip does.
    for (length_announced, complaint) in [(true, "did not serve"), (false, "served a damaged")] {
        let sandbox = Sandbox::new("cut");
        let mut spoiled = mnist.clone();
        spoiled.insert(PICTURES, mnist[PICTURES].but(End::Cut { length_announced }));

        let bad = Mirror::serving(spoiled);
        let run = Run::new(sandbox.setup(&[&bad.url]));

        assert_eq!(run.code, Some(1), "{run:?}");
        run.assert_says(&format!("{} {complaint} {PICTURES}.gz", bad.url));
        sandbox.assert_nothing_is_trusted();
        sandbox.assert_a_good_mirror_mends_it(mnist.clone());
    }
}

#[test]
fn a_run_killed_in_the_middle_of_a_download_leaves_nothing_that_is_trusted() {
    let Some(mnist) = mnist() else { return };
    let sandbox = Sandbox::new("killed");
    let mut stalling = mnist.clone();
    stalling.insert(PICTURES, mnist[PICTURES].but(End::Stall));

    let mirror = Mirror::serving(stalling);
    let mut killed = sandbox.setup(&[&mirror.url]);
    mirror.stalled.recv_timeout(Duration::from_mins(1)).expect("the download reaches the images");
    killed.kill().unwrap(); // SIGKILL: no trap of the script runs
    killed.wait().unwrap();
    assert_eq!(sandbox.leftovers().len(), 1, "killed while it was writing");
    drop(mirror); // and curl, which outlived the script, loses its connection

    assert!(!sandbox.dir.join(".deps/mnist").exists());
    sandbox.assert_a_good_mirror_mends_it(mnist);
}

#[test]
fn a_file_damaged_in_the_cache_is_fetched_again() {
    let Some(mnist) = mnist() else { return };
    let sandbox = Sandbox::new("damaged-cache");
    let good = Mirror::serving(mnist.clone());
    assert!(Run::new(sandbox.setup(&[&good.url])).succeeded);
    let labels = sandbox.linked("t10k-labels-idx1-ubyte");
    let mut bytes = fs::read(&labels).unwrap();
    bytes[8] ^= 1;
    fs::write(&labels, bytes).unwrap();

    sandbox.assert_a_good_mirror_mends_it(mnist);
}

#[test]
fn a_second_run_needs_no_network() {
    let Some(mnist) = mnist() else { return };
    let sandbox = Sandbox::new("second-run");
    let good = Mirror::serving(mnist.clone());
    let first = Run::new(sandbox.setup(&[&good.url]));
    assert!(first.succeeded, "{first:?}");
    assert_eq!(good.requests(), FILES.len());

    let second = Run::new(sandbox.setup(&[&good.url]));

    assert!(second.succeeded, "{second:?}");
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(second.stderr, "");
    assert_eq!(good.requests(), FILES.len(), "the second run fetched again");
}

#[test]
fn two_runs_at_once_fetch_once() {
    let Some(mnist) = mnist() else { return };
    let sandbox = Sandbox::new("two-at-once");
    let good = Mirror::serving(mnist.clone());

    let both = [sandbox.setup(&[&good.url]), sandbox.setup(&[&good.url])].map(Run::new);

    assert!(both.iter().all(|run| run.succeeded), "{both:?}");
    assert_eq!(good.requests(), FILES.len());
}

/// Other scripts call this one without a flag, which must not switch a user from CUDA to the CPU.
#[test]
fn the_chosen_set_stays_until_another_is_asked_for() {
    let sandbox = Sandbox::new("variant");
    for variant in ["cpu", "cuda"] {
        let torch = sandbox.dir.join(format!("cache/libtorch-2.13.0-{variant}/torch"));
        fs::create_dir_all(torch.join("lib")).unwrap();
        fs::write(torch.join("lib/libtorch_cpu.so"), "").unwrap();
        fs::write(torch.join("VARIANT"), variant).unwrap();
    }
    for (flag, expected) in
        [(None, "cpu"), (Some("--cuda"), "cuda"), (None, "cuda"), (Some("--cpu"), "cpu"), (None, "cpu")]
    {
        let mut arguments = vec!["--only", "libtorch"];
        arguments.extend(flag);
        let run = Run::new(sandbox.spawn(&arguments, &[]));
        assert!(run.succeeded, "{run:?}");
        assert_eq!(fs::read_to_string(sandbox.dir.join(".deps/libtorch/VARIANT")).unwrap(), expected, "{flag:?}");
    }
    // Each part keeps its own: a machine that only deploys has no libtorch.
    for variant in ["cpu", "cuda"] {
        let folder = sandbox.dir.join(format!("cache/onnxruntime-{}-{variant}", onnxruntime(variant)));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("libonnxruntime.so"), "").unwrap();
        fs::write(folder.join("VERSION"), "").unwrap();
    }
    for flag in [Some("--cuda"), None] {
        let mut arguments = vec!["--only", "onnxruntime"];
        arguments.extend(flag);
        let run = Run::new(sandbox.spawn(&arguments, &[]));
        assert!(run.succeeded, "{run:?}");
        let link = fs::read_link(sandbox.dir.join(".deps/onnxruntime")).unwrap();
        assert!(link.to_str().unwrap().ends_with("-cuda"), "{flag:?}: {link:?}");
    }
}

/// The version that `scripts/setup` fetches.
fn onnxruntime(variant: &str) -> String {
    let script = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/setup")).unwrap();
    let key = format!("onnxruntime_{variant}=");
    script.lines().find_map(|line| line.strip_prefix(&key)).unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn an_option_that_is_unknown_or_has_no_effect_is_an_error() {
    let sandbox = Sandbox::new("options");
    for (arguments, complaint) in [
        (&["--gpu"][..], "unknown option '--gpu'"),
        (&["--only"][..], "--only needs libtorch, onnxruntime or mnist"),
        (&["--only", "cifar"][..], "not 'cifar'"),
        (&["--cuda", "--only", "mnist"][..], "--cuda has no effect on MNIST"),
    ] {
        let run = Run::new(sandbox.spawn(arguments, &[]));
        assert_eq!(run.code, Some(2), "{arguments:?}: {run:?}");
        run.assert_says(complaint);
    }
    assert!(!sandbox.dir.join(".deps").exists(), "a refused run touched something");
}

/// A stand-in for the repository: a folder with a copy of the script and a cache. Deleted on drop.
struct Sandbox {
    dir: PathBuf,
}

impl Sandbox {
    fn new(name: &str) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mobilenet-setup-{}-{next}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("scripts")).unwrap();
        fs::copy(repository().join("scripts/setup"), dir.join("scripts/setup")).unwrap();
        Self { dir }
    }

    /// Starts `scripts/setup --only mnist` with these mirrors and no other source.
    fn setup(&self, mirrors: &[&str]) -> Child {
        self.spawn(&["--only", "mnist"], mirrors)
    }

    fn spawn(&self, arguments: &[&str], mirrors: &[&str]) -> Child {
        Command::new("bash")
            .arg(self.dir.join("scripts/setup"))
            .args(arguments)
            .env("MOBILENET_CACHE", self.dir.join("cache"))
            .env("MNIST_MIRRORS", mirrors.join(" "))
            .env("no_proxy", "127.0.0.1")
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs scripts/setup")
    }

    /// The path at which the programs look for this file.
    fn linked(&self, name: &str) -> PathBuf {
        self.dir.join(".deps/mnist").join(name)
    }

    /// Temporary folders in the cache.
    fn leftovers(&self) -> Vec<PathBuf> {
        fs::read_dir(self.dir.join("cache"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_dir() && !path.ends_with("mnist"))
            .collect()
    }

    fn assert_nothing_is_trusted(&self) {
        assert!(!self.dir.join(".deps/mnist").exists());
        assert!(!self.dir.join("cache/mnist").exists());
        assert_eq!(self.leftovers(), [] as [PathBuf; 0]);
    }

    fn assert_a_good_mirror_mends_it(&self, mnist: Files) {
        let good = Mirror::serving(mnist);
        let run = Run::new(self.setup(&[&good.url]));
        assert!(run.succeeded, "{run:?}");
        assert_eq!(good.requests(), FILES.len(), "something of the earlier run was trusted");
        assert_eq!(sha256(&self.linked(PICTURES)), PICTURES_SHA256);
        assert_eq!(self.leftovers(), [] as [PathBuf; 0]);
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The result of a finished run of the script.
#[derive(Debug)]
struct Run {
    succeeded: bool,
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Run {
    fn new(child: Child) -> Self {
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        Self {
            succeeded: status.success(),
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
        }
    }

    #[track_caller]
    fn assert_says(&self, text: &str) {
        assert!(self.stderr.contains(text), "no {text:?} in {self:?}");
    }
}

type Files = HashMap<&'static str, Reply>;

/// How to serve one gzipped file.
#[derive(Clone)]
struct Reply {
    body: Arc<[u8]>,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Whole,
    /// Half of the file, then the connection is closed.
    Cut {
        length_announced: bool,
    },
    /// Half of the file, then nothing until the mirror is dropped.
    Stall,
}

impl Reply {
    fn whole(body: Vec<u8>) -> Self {
        Self { body: body.into(), end: End::Whole }
    }

    fn but(&self, end: End) -> Self {
        Self { end, ..self.clone() }
    }
}

/// An HTTP server for the four files. It serves one connection at a time until the test process ends.
struct Mirror {
    url: String,
    requests: Arc<AtomicUsize>,
    /// Receives a message when a reply has stalled.
    stalled: Receiver<()>,
    _release: Sender<()>,
}

impl Mirror {
    fn serving(files: Files) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/mnist", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let (stall, stalled) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for connection in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                // An error is expected: in some tests the client hangs up.
                let _ = connection.and_then(|connection| serve(connection, &files, &stall, &released));
            }
        });
        Self { url, requests, stalled, _release: release }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(mut connection: TcpStream, files: &Files, stall: &Sender<()>, released: &Receiver<()>) -> io::Result<()> {
    let path = requested_path(&mut connection)?;
    let name = path.strip_prefix("/mnist/").and_then(|path| path.strip_suffix(".gz"));
    let Some(Reply { body, end }) = name.and_then(|name| files.get(name)) else {
        return connection.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let half = &body[..body.len() / 2];
    let (sent, length_announced) = match *end {
        End::Whole => (&body[..], true),
        End::Cut { length_announced } => (half, length_announced),
        End::Stall => (half, true),
    };
    connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")?;
    if length_announced {
        write!(connection, "Content-Length: {}\r\n", body.len())?;
    }
    connection.write_all(b"\r\n")?;
    connection.write_all(sent)?;
    if let End::Stall = end {
        let _ = stall.send(());
        let _ = released.recv(); // an error: the mirror was dropped
    }
    Ok(())
}

/// Returns the path in the first line of a request (`GET /mnist/t10k-labels-idx1-ubyte.gz HTTP/1.1`). Reads to the end
/// of the header.
fn requested_path(connection: &mut TcpStream) -> io::Result<String> {
    let mut header = Vec::new();
    let mut chunk = [0; 1024];
    while !header.ends_with(b"\r\n\r\n") {
        match connection.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => header.extend_from_slice(&chunk[..read]),
        }
    }
    let header = String::from_utf8_lossy(&header);
    Ok(header.split(' ').nth(1).unwrap_or_default().to_owned())
}

/// The four files as a good mirror serves them. If there is no MNIST to serve, prints that the test is skipped and
/// returns `None`.
fn mnist() -> Option<Files> {
    static GZIPPED: OnceLock<Option<Files>> = OnceLock::new();
    let files = GZIPPED.get_or_init(|| {
        let read = |name: &'static str| (name, Reply::whole(gzip(&real_mnist().join(name))));
        real_mnist().exists().then(|| FILES.into_iter().map(read).collect())
    });
    if files.is_none() {
        // Not `println`, which the test harness shows only for tests that fail.
        let name = thread::current().name().unwrap_or("setup").to_owned();
        let _ = writeln!(io::stderr(), "skipped: {name}: no .deps/mnist to serve (run scripts/setup)");
    }
    files.clone()
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn real_mnist() -> PathBuf {
    repository().join(".deps/mnist")
}

fn gzip(path: &Path) -> Vec<u8> {
    let output = Command::new("gzip").args(["-1", "--stdout"]).arg(path).output().expect("gzip runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn sha256(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum runs");
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}
