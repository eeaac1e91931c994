//! Accepts connections over TCP or a Unix socket, and ends them in order.

use super::Limits;
use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("the path after unix: is empty".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "expected an address with a port, such as 127.0.0.1:8080 or [::]:8080, or unix:PATH".to_owned()
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A bound socket.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Binds the address. A socket file that nobody listens on is replaced.
    pub async fn bind(address: &Address) -> Result<Self> {
        let context = || format!("cannot listen on {address}");
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await.with_context(context)?)),
            Address::Unix(path) => {
                let is_left_over = std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
                if is_left_over {
                    fs::remove_file(path).with_context(context)?;
                }
                Ok(Self::Unix(UnixListener::bind(path).with_context(context)?, path.clone()))
            }
        }
    }

    /// The address, with the port that was taken.
    pub fn address(&self) -> Result<Address> {
        Ok(match self {
            Self::Tcp(listener) => Address::Tcp(listener.local_addr()?),
            Self::Unix(_, path) => Address::Unix(path.clone()),
        })
    }

    /// Serves until SIGTERM or SIGINT, then finishes the requests in progress. `stopping` is called in between.
    pub async fn serve(self, router: Router, limits: Limits, stopping: impl Fn()) -> Result<()> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let room = Arc::new(Semaphore::new(limits.connections));
        let open = GracefulShutdown::new();
        loop {
            // A connection beyond the limit waits in the system's queue.
            let permit = tokio::select! {
                permit = Arc::clone(&room).acquire_owned() => permit?,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            };
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
            };
            let stream = match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Such as too many open files.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let service = TowerToHyperService::new(router.clone());
            let mut builder = http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(limits.header_time);
            let connection = open.watch(builder.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(permit);
            });
        }
        stopping();
        tracing::info!("stopping: requests in progress are finished");
        if timeout(limits.stop_time, open.shutdown()).await.is_err() {
            tracing::warn!("some requests did not end within {} s", limits.stop_time.as_secs());
        }
        if let Self::Unix(_, path) = &self {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Self::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_shown() {
        for (text, shown) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:80", "http://[::1]:80"),
            ("unix:/run/deploy.sock", "unix:/run/deploy.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in ["8080", "localhost", "unix:", ""] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
