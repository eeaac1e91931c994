//! TLS: the certificate and its key, read again when they change.

use crate::stamp::{Broken, Stamp};
use anyhow::{Context, Result, ensure};
use models::files;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The files with the server's identity, in PEM form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to a known authority.
    pub certificate: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

type Stamps = [Option<Stamp>; 2];

impl TlsFiles {
    fn stamps(&self) -> Stamps {
        [&self.certificate, &self.key].map(|path| Stamp::of(path))
    }

    fn read(&self) -> Result<Arc<ServerConfig>> {
        let name = files::name(&self.certificate);
        let certificates = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read the certificate {name}"))?;
        ensure!(!certificates.is_empty(), "{name} contains no certificate: expected a PEM file");
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| {
            format!("cannot read the private key {}: expected a PEM file without a passphrase", files::name(&self.key))
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .with_context(|| {
                format!(
                    "{name} and {} cannot be used together: expected the server's own certificate first, and its key, for RSA \
                     of at least 2048 bits, ECDSA P-256 or P-384, or Ed25519",
                    files::name(&self.key)
                )
            })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The identity that new connections get.
pub(super) struct Tls {
    files: TlsFiles,
    state: Mutex<(Arc<ServerConfig>, Stamps)>,
    broken: Mutex<Option<Broken<Stamps>>>,
}

impl Tls {
    /// Errors if the files cannot be used.
    pub fn open(files: TlsFiles) -> Result<Self> {
        let stamps = files.stamps();
        let config = files.read()?;
        Ok(Self { files, state: Mutex::new((config, stamps)), broken: Mutex::default() })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.state.lock().unwrap_or_else(PoisonError::into_inner).0))
    }

    /// Reads the files again if they have changed. If they cannot be used, the old ones stay.
    pub fn refresh(&self) {
        let stamps = self.files.stamps();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if stamps == state.1 || broken.as_ref().is_some_and(|failure| failure.stands(&stamps)) {
            return;
        }
        // While a pair is being replaced, its files do not match. This is reported once.
        match self.files.read() {
            Ok(config) => {
                *state = (config, stamps);
                tracing::info!(certificate = %self.files.certificate.display(), "the certificate was read again");
            }
            Err(error) => {
                if !broken.as_ref().is_some_and(|failure| failure.is_of(&stamps)) {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the changed certificate cannot be used: the old one stays"
                    );
                }
                *broken = Some(Broken::new(stamps));
            }
        }
    }
}
