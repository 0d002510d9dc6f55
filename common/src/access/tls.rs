//! TLS between the processes of a run, both sides of which show a certificate.
//!
//! Certificates name what somebody is in the run, and no host: a coordinator is started wherever there is room, and its
//! clients ask for [`NAME`] under whatever address it has.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, ServerTlsConfig};

use super::{
    certificates::{CertificateError, Validity, make},
    private::{self, PrivateError},
};

/// The folder in a run's folder that holds its certificates.
pub const TLS_FOLDER: &str = "tls";

/// The variable that names another one, where processes share no folder.
pub const TLS_VARIABLE: &str = "FULCRUM_TLS";

/// The name that a coordinator's certificate carries. It is looked up nowhere.
pub(super) const NAME: &str = "coordinator.fulcrum.internal";

/// The file that all of a run trust.
pub(super) const AUTHORITY: &str = "ca.pem";

/// How long a client may take to introduce itself.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Longer files hold no certificate of ours.
const LIMIT: u64 = 64 << 10;

/// Days that the certificates which a run makes for itself are good for: longer than any run.
const DAYS: u32 = 3650;

/// What somebody is in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It serves.
    Coordinator,
    /// A worker, or whoever looks at the run.
    Member,
}

impl Side {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Member => "member",
        }
    }

    pub(super) fn certificate(self) -> String {
        format!("{}.pem", self.word())
    }

    pub(super) fn key(self) -> String {
        format!("{}.key", self.word())
    }
}

/// What one side shows, and what it accepts.
#[derive(Clone)]
pub struct Tls {
    authority: String,
    certificate: String,
    key: String,
}

/// Certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of them cannot be read.
    #[error(transparent)]
    File(#[from] PrivateError),
    /// They cannot be made.
    #[error(transparent)]
    Made(#[from] CertificateError),
    /// They are none.
    #[error("certificates in {folder:?}: {message}")]
    Form {
        /// Where they lie.
        folder: PathBuf,
        /// What is wrong.
        message: String,
    },
}

impl Tls {
    /// What the run in `folder` uses, if it does: the certificates of [`TLS_VARIABLE`], else those in its folder.
    ///
    /// # Errors
    /// If a file is missing, or others can read a key.
    pub fn find(folder: Option<&Path>, side: Side) -> Result<Option<Self>, TlsError> {
        let told = std::env::var_os(TLS_VARIABLE).filter(|told| !told.is_empty()).map(PathBuf::from);
        let own = || folder.map(|folder| folder.join(TLS_FOLDER)).filter(|own| own.exists());
        told.or_else(own).map(|folder| Self::read(&folder, side)).transpose()
    }

    /// [`Tls::find`] for the coordinator that will be asked at `address`: off the loopback there is no other way, so
    /// certificates are made where there are none.
    ///
    /// # Errors
    /// If they cannot be read or made.
    pub fn keep(folder: &Path, address: SocketAddr) -> Result<Option<Self>, TlsError> {
        let found = Self::find(Some(folder), Side::Coordinator)?;
        if found.is_some() || address.ip().is_loopback() {
            return Ok(found);
        }
        make(&folder.join(TLS_FOLDER), Validity::days(DAYS))?;
        Self::find(Some(folder), Side::Coordinator)
    }

    /// Reads what `side` shows from a folder of certificates.
    ///
    /// # Errors
    /// If a file is missing or is no certificate, or others can read the key.
    pub fn read(folder: &Path, side: Side) -> Result<Self, TlsError> {
        let open = |name: &str| {
            let path = folder.join(name);
            let text = std::fs::read_to_string(&path).map_err(PrivateError::io(&path))?;
            let is_one = text.len() as u64 <= LIMIT && text.contains("-----BEGIN CERTIFICATE-----");
            let message = || format!("{name} is no certificate: make new ones with `fulcrum certs`");
            if is_one {
                Ok(text)
            } else {
                Err(TlsError::Form { folder: folder.to_owned(), message: message() })
            }
        };
        let key = private::read(&folder.join(side.key()), LIMIT)?;
        Ok(Self { authority: open(AUTHORITY)?, certificate: open(&side.certificate())?, key })
    }

    /// For a server: clients without a certificate of the run are not heard.
    pub fn server(&self) -> ServerTlsConfig {
        ServerTlsConfig::new()
            .identity(Identity::from_pem(&self.certificate, &self.key))
            .client_ca_root(Certificate::from_pem(&self.authority))
            .timeout(HANDSHAKE)
    }

    /// Where a client finds a coordinator, and how it knows that it is the run's.
    ///
    /// # Errors
    /// If the certificates are none.
    pub fn endpoint(tls: Option<&Self>, address: SocketAddr) -> Result<Endpoint, tonic::transport::Error> {
        let Some(tls) = tls else { return Endpoint::from_shared(format!("http://{address}")) };
        let config = ClientTlsConfig::new()
            .domain_name(NAME)
            .ca_certificate(Certificate::from_pem(&tls.authority))
            .identity(Identity::from_pem(&tls.certificate, &tls.key));
        Endpoint::from_shared(format!("https://{address}"))?.tls_config(config)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn off_the_loopback_a_run_makes_its_certificates_once() {
        let run = tempfile::tempdir().unwrap();
        assert!(Tls::keep(run.path(), at("127.0.0.1:0")).unwrap().is_none());
        assert!(Tls::find(Some(run.path()), Side::Member).unwrap().is_none());
        let made = Tls::keep(run.path(), at("10.0.0.1:0")).unwrap().unwrap();
        let again = Tls::keep(run.path(), at("10.0.0.2:0")).unwrap().unwrap();
        assert_eq!(made.certificate, again.certificate);
        let member = Tls::find(Some(run.path()), Side::Member).unwrap().unwrap();
        assert_eq!(member.authority, made.authority);
        assert_ne!(member.key, made.key);
        assert!(Tls::keep(run.path(), at("127.0.0.1:0")).unwrap().is_some(), "what is there is used");
        assert_eq!(format!("{made:?}"), "Tls(..)");
    }

    #[test]
    fn a_key_that_others_can_read_and_what_is_no_certificate_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("tls");
        make(&folder, Validity::days(1)).unwrap();
        let key = folder.join("member.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Tls::read(&folder, Side::Member).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        Tls::read(&folder, Side::Member).unwrap();
        fs::write(folder.join(AUTHORITY), "hello").unwrap();
        let error = Tls::read(&folder, Side::Member).unwrap_err().to_string();
        assert!(error.contains("ca.pem is no certificate"), "{error}");
        fs::remove_file(folder.join(AUTHORITY)).unwrap();
        assert!(matches!(Tls::read(&folder, Side::Member), Err(TlsError::File(_))));
    }
}
