//! TLS over a connection, by rustls, with the certificates that the system trusts.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connection that is encrypted.
pub(super) struct Tls {
    stream: StreamOwned<ClientConnection, TcpStream>,
    timeout: Option<Duration>,
}

impl Tls {
    /// Shakes hands over `stream` with the server called `host`.
    pub fn over(stream: &TcpStream, host: &str, deadline: Instant) -> io::Result<Tls> {
        let name = ServerName::try_from(host.to_owned()).map_err(unusable)?;
        let client = ClientConnection::new(config()?, name).map_err(unusable)?;
        // A second handle on the same socket, timeouts included.
        let mut tls = Tls { stream: StreamOwned::new(client, stream.try_clone()?), timeout: None };
        while tls.stream.conn.is_handshaking() {
            tls.wait_until(deadline)?;
            match tls.stream.conn.complete_io(&mut tls.stream.sock) {
                Ok(_) => {}
                Err(error) if is_pause(&error) => {}
                Err(error) => return Err(explained(error)),
            }
        }
        Ok(tls)
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    pub fn read_before(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        loop {
            self.wait_until(deadline)?;
            match self.stream.read(buffer) {
                Err(error) if is_pause(&error) => {}
                // Without its close_notify the end of a connection is an end all the same: the framing of HTTP tells what was cut off.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
        }
    }

    /// Sets the timeout of the next read, unless a shorter one is set already, which only wakes us early.
    fn wait_until(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.timeout.is_none_or(|timeout| timeout > left || left > timeout * 2) {
            let timeout = left.max(Duration::from_millis(1));
            self.stream.sock.set_read_timeout(Some(timeout))?;
            self.timeout = Some(timeout);
        }
        Ok(())
    }
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// What a handshake failed of, and what to do about it.
fn explained(error: io::Error) -> io::Error {
    use rustls::CertificateError as Certificate;
    let why = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(rustls::Error::InvalidMessage(_)) => "it does not speak TLS: is it an http:// server?".to_owned(),
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            Certificate::UnknownIssuer => {
                "the certificate is signed by nobody this system trusts: add the issuer to the system, or name a file of it in SSL_CERT_FILE"
                    .to_owned()
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => "the certificate has expired: the server needs a new one".to_owned(),
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                format!("{why}: connect to a name that the certificate is for")
            }
            // The usual outcome of `openssl req -x509`.
            Certificate::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the certificate is one for signing others: make it with basicConstraints=CA:FALSE, or sign one for the server with it"
                    .to_owned()
            }
            why => format!("the certificate is not accepted: {why}"),
        },
        _ => return error,
    };
    unusable(why)
}

/// An error that waiting does not change.
fn unusable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Reads what the system trusts, once.
fn config() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(found.certs);
        if taken == 0 {
            let why = found.errors.first().map_or(String::new(), |error| format!(" ({error})"));
            return Err(format!(
                "there are no certificates to trust{why}: install ca-certificates, or name a file of them in SSL_CERT_FILE"
            ));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
        Ok(Arc::new(config))
    });
    config.clone().map_err(unusable)
}
