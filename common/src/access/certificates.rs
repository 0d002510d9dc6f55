//! Certificates of one run: an authority that is forgotten as soon as it has signed, and the two that it signs.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{
    private::{self, PrivateError},
    tls::{AUTHORITY, NAME, Side},
};

/// Clocks of other machines may be behind by this much.
const BEHIND: Duration = Duration::from_secs(24 * 60 * 60);

/// From when to when certificates are accepted, by the clock of whoever looks at one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: SystemTime,
    /// Not after.
    pub to: SystemTime,
}

impl Validity {
    /// From now on, and for clocks that are a day behind.
    pub fn days(days: u32) -> Self {
        let now = SystemTime::now();
        Self { from: now - BEHIND, to: now + Duration::from_secs(u64::from(days) * 24 * 60 * 60) }
    }
}

/// Certificates cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// There is something already.
    #[error("{0:?} is there already: name another folder, or remove it")]
    Exists(PathBuf),
    /// The library refuses.
    #[error("no certificate can be made: {0}")]
    Refused(#[from] rcgen::Error),
    /// A key cannot be kept.
    #[error(transparent)]
    Key(#[from] PrivateError),
    /// The folder cannot be written.
    #[error("certificates in {folder:?}: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Makes the certificates of a run in a new folder: `ca.pem`, and certificate and key of the coordinator and of everybody
/// else. What signed them is kept nowhere, so that nobody can make more.
///
/// # Errors
/// If the folder is there already or cannot be written.
pub fn make(folder: &Path, validity: Validity) -> Result<(), CertificateError> {
    let io = |source| CertificateError::Io { folder: folder.to_owned(), source };
    if folder.exists() {
        return Err(CertificateError::Exists(folder.to_owned()));
    }
    let parent = folder.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(io)?;
    // Seen whole or not at all.
    let aside = tempfile::Builder::new().prefix(".tls").tempdir_in(parent).map_err(io)?;
    let key = KeyPair::generate()?;
    let mut authority = params("fulcrum run", validity)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = authority.self_signed(&key)?;
    fs::write(aside.path().join(AUTHORITY), certificate.pem()).map_err(io)?;
    let issuer = Issuer::new(authority, key);
    for side in [Side::Coordinator, Side::Member] {
        let (certificate, key) = signed(side, &issuer, validity)?;
        fs::write(aside.path().join(side.certificate()), certificate).map_err(io)?;
        private::write(&aside.path().join(side.key()), &key)?;
    }
    match fs::rename(aside.path(), folder) {
        // Somebody else was first.
        Err(_) if folder.exists() => Err(CertificateError::Exists(folder.to_owned())),
        renamed => renamed.map_err(io),
    }
}

/// Certificate and key of one side, as PEM.
fn signed(
    side: Side,
    issuer: &Issuer<'_, KeyPair>,
    validity: Validity,
) -> Result<(String, String), CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = params(side.word(), validity)?;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = match side {
        Side::Coordinator => {
            params.subject_alt_names = CertificateParams::new([NAME.to_owned()])?.subject_alt_names;
            vec![ExtendedKeyUsagePurpose::ServerAuth]
        }
        Side::Member => vec![ExtendedKeyUsagePurpose::ClientAuth],
    };
    let certificate = params.signed_by(&key, issuer)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn params(name: &str, validity: Validity) -> Result<CertificateParams, CertificateError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = validity.from.into();
    params.not_after = validity.to.into();
    Ok(params)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn certificates_are_made_once_with_keys_for_their_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("run/tls");
        make(&folder, Validity::days(1)).unwrap();
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().mode() & 0o777;
        assert_eq!((mode("coordinator.key"), mode("member.key")), (0o600, 0o600));
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["ca.pem", "coordinator.key", "coordinator.pem", "member.key", "member.pem"]);
        assert_eq!(fs::read_dir(folder.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
        assert!(matches!(make(&folder, Validity::days(1)), Err(CertificateError::Exists(_))));
    }
}
