//! How clients reach the server: socket files, sockets of systemd, TLS, and web pages of other origins.

use crate::scene::{Scene, TRACT};
use crate::server::Server;
use crate::{eventually, picture};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;
use ureq::http::Request;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

#[test]
fn a_socket_file_is_served_and_removed() {
    let scene = Scene::new();
    let socket = scene.path("socket");
    let start = || {
        Command::new(env!("CARGO_BIN_EXE_deploy"))
            .args(["serve", "--log", "quiet", "--listen", &format!("unix:{}", socket.display())])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // One that was killed leaves its socket behind.
    for kill in [true, false] {
        let mut process = start();
        assert_live(&socket);
        let signal = if kill { "-KILL" } else { "-TERM" };
        assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
        process.wait().unwrap();
        assert_eq!(socket.exists(), kill);
    }
}

/// Connects to a socket file once the server listens, and asks whether it lives.
fn assert_live(socket: &Path) {
    let mut connection = None;
    eventually(|| {
        connection = UnixStream::connect(socket).ok();
        connection.is_some()
    });
    let mut connection = connection.unwrap();
    connection.write_all(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.ends_with(r#"{"live":true}"#), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_log_that_cannot_be_written_does_not_stop_answers() {
    let scene = Scene::new();
    let socket = scene.path("socket");
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_deploy"))
        .args(["serve", "--listen", &format!("unix:{}", socket.display())])
        .stderr(full)
        .spawn()
        .unwrap();
    assert_live(&socket);
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_socket_of_systemd_is_served() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // As systemd does it: the socket is file 3, and the variables name it and the process.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" serve --listen systemd";
    let mut command = Command::new("sh");
    command.current_dir(scene.folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_deploy")]);
    let server = Server::by(command.stdin(OwnedFd::from(listener)));
    assert_eq!(server.address, address.to_string());
    assert_eq!(server.get("/v2/health/live").0, 200);
    scene.assert_fails("serve --listen systemd", 1, &["expected one socket from systemd, but there are 0"]);
    // A connection, as units with Accept=yes hand it over.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_deploy")]).stdin(OwnedFd::from(listener.accept().unwrap().0));
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a listening TCP or Unix socket"), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    drop(client);
}

/// Writes a new certificate for 127.0.0.1 into the scene, and returns a client that trusts only that.
fn certified(scene: &Scene) -> Agent {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    fs::write(scene.path("key.pem"), signing_key.serialize_pem()).unwrap();
    fs::write(scene.path("cert.pem"), cert.pem()).unwrap();
    let trusted = RootCerts::new_with_certs(&[Certificate::from_pem(cert.pem().as_bytes()).unwrap()]);
    let tls = TlsConfig::builder().root_certs(trusted).build();
    Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into()
}

#[test]
fn tls_is_spoken_and_a_new_certificate_is_taken() {
    let scene = Scene::new();
    let first = certified(&scene);
    let mut server = Server::start(&scene, &format!("{TRACT} --tls-cert cert.pem --tls-key key.pem"));
    let url = format!("https://{}/predict", server.address);
    let image = picture(&scene, 0);
    assert_eq!(first.post(&url).send(&image[..]).unwrap().status(), 200);
    // Plain HTTP gets no answer.
    assert!(server.agent.get(server.url("/v2")).call().is_err());
    // A broken pair does not replace the good one.
    fs::write(scene.path("cert.pem"), "broken").unwrap();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(first.post(&url).send(&image[..]).unwrap().status(), 200);
    let second = certified(&scene);
    eventually(|| second.post(&url).send(&image[..]).is_ok_and(|response| response.status() == 200));
    // A client that has not begun TLS does not hold the server up when it stops.
    let idle = TcpStream::connect(&server.address).unwrap();
    assert_eq!(second.post(&url).send(&image[..]).unwrap().status(), 200);
    drop(second);
    let began = Instant::now();
    server.signal("-TERM");
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    drop(idle);
}

#[test]
fn wrong_certificates_are_refused() {
    let scene = Scene::new();
    certified(&scene);
    fs::rename(scene.path("key.pem"), scene.path("other.pem")).unwrap();
    certified(&scene);
    fs::write(scene.path("empty.pem"), "").unwrap();
    for (certificate, key, word) in [
        ("cert.pem", "other.pem", "cert.pem and other.pem cannot be used together"),
        ("key.pem", "key.pem", "key.pem contains no certificate"),
        ("empty.pem", "key.pem", "empty.pem contains no certificate"),
        ("missing.pem", "key.pem", "cannot read the certificate missing.pem"),
        ("cert.pem", "cert.pem", "cannot read the private key cert.pem"),
    ] {
        scene.assert_fails(&format!("serve --tls-cert {certificate} --tls-key {key}"), 1, &[word]);
    }
    scene.assert_fails("serve --tls-cert cert.pem", 2, &["--tls-key"]);
}

#[test]
fn only_pages_of_named_origins_may_ask() {
    let scene = Scene::new();
    fs::write(scene.path("token"), "sesame").unwrap();
    let asks = |server: &Server, origin: &str| {
        let request = Request::builder().method("OPTIONS").uri(server.url("/predict")).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        let request = request.header("access-control-request-headers", "authorization").body(()).unwrap();
        let response = server.agent.run(request).unwrap();
        let allowed = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        (allowed("access-control-allow-origin"), allowed("access-control-allow-headers"))
    };
    let closed = Server::start(&scene, TRACT);
    assert_eq!(asks(&closed, "https://a.example"), (None, None));
    // Browsers ask without the token.
    let named =
        Server::start(&scene, &format!("{TRACT} --token-file token --cors https://a.example --cors https://b.example"));
    let (origin, headers) = asks(&named, "https://b.example");
    assert_eq!(origin.as_deref(), Some("https://b.example"));
    assert!(headers.unwrap().contains("authorization"));
    assert_eq!(asks(&named, "https://c.example").0, None);
    let open = Server::start(&scene, &format!("{TRACT} --cors *"));
    assert_eq!(asks(&open, "https://c.example").0.as_deref(), Some("*"));
    scene.assert_fails("serve --cors example.org", 2, &["expected an origin such as https://example.org"]);
}
