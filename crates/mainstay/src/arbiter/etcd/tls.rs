//! TLS to etcd (RFC 8446, and 1.2 for older ones): whom to believe, and how to prove who asks.
//!
//! The certificates are read for each question, so that one that was renewed on the disk is used
//! without a restart, and one that cannot be read is said by the next touch.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where distributions keep the authorities that a machine believes, in the order in which they are
/// looked for.
const SYSTEM_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
];

/// The files of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// Authorities to believe, in PEM; none: those of the machine.
    pub ca: Option<PathBuf>,
    /// The own certificate and its key, in PEM.
    pub own: Option<(PathBuf, PathBuf)>,
}

impl Files {
    /// Encrypts a connection to the host of this authority (`name:port`, `[fd00::9]:2379`).
    pub(super) async fn wrap(
        &self,
        stream: TcpStream,
        authority: &str,
    ) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::new(self.config()?));
        let (host, _port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        connector.connect(name, stream).await
    }

    fn config(&self) -> io::Result<ClientConfig> {
        let system = || {
            let mut known = SYSTEM_BUNDLES.iter().map(Path::new);
            known.find(|path| path.exists()).map(Path::to_owned).ok_or_else(|| {
                io::Error::other("this machine has no list of authorities: configure `ca`")
            })
        };
        let ca = self.ca.clone().map_or_else(system, Ok)?;
        let mut roots = RootCertStore::empty();
        let (usable, _not_understood) = roots.add_parsable_certificates(certificates(&ca)?);
        if usable == 0 {
            return Err(io::Error::other(format!("{} holds no certificate", ca.display())));
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots);
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let own = certificates(certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| say(key, &error))?;
                builder.with_client_auth_cert(own, secret).map_err(|error| say(certificate, &error))
            }
        }
    }
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| say(path, &error))
}

fn say(path: &Path, error: &dyn std::error::Error) -> io::Error {
    io::Error::other(format!("can not use {}: {error}", path.display()))
}
