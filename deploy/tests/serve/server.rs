//! A running `deploy serve`.

use crate::scene::Scene;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use ureq::Agent;
use ureq::http::Response;

/// A running server, killed when dropped.
pub struct Server {
    pub process: Child,
    pub address: String,
    pub agent: Agent,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A status and a JSON body.
pub type Answer = (u16, Value);

impl Server {
    /// Starts a server in the scene's folder on a free port.
    pub fn start(scene: &Scene, arguments: &str) -> Self {
        Self::by(
            Command::new(env!("CARGO_BIN_EXE_deploy"))
                .current_dir(scene.folder.path())
                .args(["serve", "--listen", "127.0.0.1:0"])
                .args(arguments.split_whitespace()),
        )
    }

    /// Starts a server that listens on a TCP port.
    pub fn by(command: &mut Command) -> Self {
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("serving") {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended");
        }
        // The rest of the log is read, so that the server never waits for us.
        thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
        let (_, address) = line.trim().split_once("://").unwrap();
        let address = address.to_owned();
        let agent = Agent::config_builder().http_status_as_error(false).build().into();
        Self { process, address, agent }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> Answer {
        answer(self.agent.get(self.url(path)).call().unwrap())
    }

    pub fn post(&self, path: &str, body: &[u8]) -> Answer {
        answer(self.agent.post(self.url(path)).send(body).unwrap())
    }

    pub fn infer(&self, request: &Value) -> Answer {
        self.post("/v2/models/example/infer", request.to_string().as_bytes())
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap().success());
    }
}

pub fn answer(mut response: Response<ureq::Body>) -> Answer {
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string().unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
