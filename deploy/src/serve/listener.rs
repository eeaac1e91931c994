//! Accepts connections over TCP or a Unix socket, with TLS or without, and ends them in order.

use super::Limits;
use super::tls::Tls;
use anyhow::{Context, Result, ensure};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use listenfd::ListenFd;
use socket2::SockRef;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address and a port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
    /// The socket that systemd listens on for this service (socket activation).
    Systemd,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("the path after unix: is empty".to_owned()),
            Some(path) => Ok(Self::Unix(path.into())),
            None if text == "systemd" => Ok(Self::Systemd),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "expected an IP address with a port, such as 127.0.0.1:8080 or [::]:8080, unix:PATH, or systemd"
                    .to_owned()
            }),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd => write!(f, "systemd"),
        }
    }
}

/// A bound socket.
pub(super) struct Listener {
    socket: Socket,
    tls: Option<Arc<Tls>>,
}

enum Socket {
    Tcp(TcpListener),
    /// With the path of a socket file that this program has made.
    Unix(UnixListener, Option<PathBuf>),
}

impl Listener {
    /// Binds the address. A socket file that nobody listens on is replaced.
    pub async fn bind(address: &Address, tls: Option<Arc<Tls>>) -> Result<Self> {
        let context = || format!("cannot listen on {address}");
        let socket = match address {
            Address::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await.with_context(context)?),
            Address::Unix(path) => {
                let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
                let is_refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
                ensure!(
                    is_socket || fs::symlink_metadata(path).is_err(),
                    "cannot listen on {address}: there is something of this name that is not a socket"
                );
                if is_socket && std::os::unix::net::UnixStream::connect(path).is_err_and(is_refused) {
                    fs::remove_file(path).with_context(context)?;
                }
                Socket::Unix(UnixListener::bind(path).with_context(context)?, Some(path.clone()))
            }
            Address::Systemd => inherited()?,
        };
        Ok(Self { socket, tls })
    }

    /// Where clients find it, with the port that was taken.
    pub fn url(&self) -> Result<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        Ok(match &self.socket {
            Socket::Tcp(listener) => format!("{scheme}://{}", listener.local_addr()?),
            Socket::Unix(listener, _) => {
                let address = listener.local_addr()?;
                format!("unix:{}", address.as_pathname().unwrap_or(Path::new("?")).display())
            }
        })
    }

    /// Serves until SIGTERM or SIGINT, then finishes the requests in progress; a second signal ends that. `stopping` is
    /// called in between.
    pub async fn serve(self, router: Router, limits: Limits, stopping: impl Fn()) -> Result<()> {
        let mut signals = Signals::new()?;
        let room = Arc::new(Semaphore::new(limits.connections));
        let open = GracefulShutdown::new();
        let (stop, stopped) = tokio::sync::watch::channel(());
        let own = self.inode();
        loop {
            // A connection beyond the limit waits in the system's queue.
            let (permit, accepted) = tokio::select! {
                next = async { (Arc::clone(&room).acquire_owned().await, self.accept().await) } => next,
                () = signals.next() => break,
            };
            let (permit, stream) = match (permit, accepted) {
                (Ok(permit), Ok(stream)) => (permit, stream),
                (_, Err(error)) => {
                    // Such as too many open files.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
                (Err(error), _) => return Err(error.into()),
            };
            // A client that does not read its answer must not hold a connection for ever.
            let mut stream = TimeoutStream::new(stream);
            stream.set_write_timeout(Some(limits.header_time));
            let stream = Box::pin(stream);
            let acceptor = self.tls.as_ref().map(|tls| tls.acceptor());
            let (service, watcher) = (TowerToHyperService::new(router.clone()), open.watcher());
            let mut stopped = stopped.clone();
            tokio::spawn(async move {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new()).header_read_timeout(limits.header_time);
                let ended = match acceptor {
                    None => watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await,
                    Some(acceptor) => {
                        // Until the handshake is complete, no request is in progress.
                        let begun = tokio::select! {
                            begun = timeout(limits.header_time, acceptor.accept(stream)) => begun,
                            _ = stopped.changed() => return,
                        };
                        match begun {
                            Ok(Ok(stream)) => {
                                watcher.watch(builder.serve_connection(TokioIo::new(Box::pin(stream)), service)).await
                            }
                            Ok(Err(error)) => return tracing::debug!(%error, "a client did not agree on TLS"),
                            Err(_) => return tracing::debug!("a client did not begin TLS in time"),
                        }
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                drop(permit);
            });
        }
        stopping();
        tracing::info!("stopping: requests in progress are finished");
        if let Socket::Unix(_, Some(path)) = &self.socket
            && own == self.inode()
        {
            let _ = fs::remove_file(path);
        }
        // New clients are refused from here on.
        drop((self, stop));
        tokio::select! {
            ended = timeout(limits.stop_time, open.shutdown()) => if ended.is_err() {
                tracing::warn!("some requests did not end within {} s", limits.stop_time.as_secs());
            },
            () = signals.next() => tracing::warn!("a second signal: requests in progress are dropped"),
        }
        Ok(())
    }

    /// The inode at the path of a socket file, by which a server knows its own.
    fn inode(&self) -> Option<u64> {
        match &self.socket {
            Socket::Unix(_, Some(path)) => Some(fs::symlink_metadata(path).ok()?.ino()),
            _ => None,
        }
    }

    async fn accept(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
            Socket::Unix(listener, _) => Box::new(listener.accept().await?.0),
        })
    }
}

/// The socket that systemd hands over (`sd_listen_fds(3)`).
fn inherited() -> Result<Socket> {
    let mut sockets = ListenFd::from_env();
    ensure!(
        sockets.len() == 1,
        "--listen systemd: expected one socket from systemd, but there are {}: start the program from a .socket unit",
        sockets.len()
    );
    let context = "--listen systemd: expected a listening TCP or Unix socket (Accept=no in the .socket unit)";
    if let Ok(Some(listener)) = sockets.take_tcp_listener(0) {
        ensure!(SockRef::from(&listener).is_listener()?, context);
        listener.set_nonblocking(true)?;
        return Ok(Socket::Tcp(TcpListener::from_std(listener).context(context)?));
    }
    let listener = sockets.take_unix_listener(0).context(context)?.context(context)?;
    ensure!(SockRef::from(&listener).is_listener()?, context);
    listener.set_nonblocking(true)?;
    Ok(Socket::Unix(UnixListener::from_std(listener).context(context)?, None))
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {},
            _ = self.interrupt.recv() => {},
        }
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
            ("systemd", "systemd"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), shown);
        }
        for text in ["8080", "localhost", "unix:", ""] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
