//! How a bucket is reached: what the environment says, checked.

use std::{fmt, fs, path::PathBuf, time::Duration};

use ureq::{
    http::Uri,
    tls::{Certificate, PemItem, parse_pem},
};

/// Where AWS keeps buckets of nobody's choice.
const REGION: &str = "us-east-1";

const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";

/// How a bucket is reached. It shows no secrets.
#[derive(Clone)]
pub struct Access {
    pub(super) key: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) region: String,
    /// The server; none for that of AWS in the region.
    pub(super) endpoint: Option<String>,
    /// Whether the server is on this machine.
    pub(super) is_loopback: bool,
    /// Who is believed to be the server; empty for whom everybody believes.
    pub(super) certificates: Vec<Certificate<'static>>,
    pub(super) patience: Patience,
}

/// How often a request is made when the server has a bad moment, and how long that may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) tries: usize,
    /// Before the second try.
    pub(super) first: Duration,
    /// Before any.
    pub(super) longest: Duration,
    /// After this no other try is begun.
    pub(super) whole: Duration,
}

impl Default for Patience {
    /// Throttling passes within seconds, and a server is restarted within a minute. Signatures hold for fifteen.
    fn default() -> Self {
        Self {
            tries: 12,
            first: Duration::from_millis(100),
            longest: Duration::from_secs(10),
            whole: Duration::from_secs(60),
        }
    }
}

/// The environment does not say how a bucket is reached.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A credential is missing.
    #[error("no credentials for the bucket: set {0}, as for every program that speaks S3")]
    Credentials(&'static str),
    /// What the server's address says.
    #[error(
        "AWS_ENDPOINT_URL = {0:?} is no address of a server: expected such as https://s3.example.org:9000"
    )]
    Endpoint(String),
    /// Everybody on the way could read and change what is sent.
    #[error(
        "AWS_ENDPOINT_URL = {0:?} is not encrypted: use https, or set AWS_ALLOW_HTTP=true in a network of your own"
    )]
    Plain(String),
    /// Neither true nor false.
    #[error("AWS_ALLOW_HTTP = {0:?}: expected true or false")]
    Switch(String),
    /// A file that should have certificates.
    #[error("AWS_CA_BUNDLE = {path:?} holds no certificates{reason}")]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why, after a colon; empty where it holds something else.
        reason: String,
    },
    /// What the client says.
    #[error("the client for the bucket cannot be made: {0}")]
    Client(String),
}

impl Access {
    /// What the environment of this process says.
    ///
    /// # Errors
    /// If a credential is missing, or a variable makes no sense.
    pub fn from_environment() -> Result<Self, AccessError> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// What such an environment says. Empty variables count as missing.
    ///
    /// # Errors
    /// As [`Access::from_environment`].
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, AccessError> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let allows_plain = match set("AWS_ALLOW_HTTP").map(|value| value.to_ascii_lowercase()).as_deref() {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => return Err(AccessError::Switch(other.to_owned())),
        };
        let endpoint = set("AWS_ENDPOINT_URL_S3").or_else(|| set("AWS_ENDPOINT_URL"));
        let is_loopback =
            endpoint.as_deref().map(|it| server(it, allows_plain)).transpose()?.unwrap_or(false);
        Ok(Self {
            key: set(KEY).ok_or(AccessError::Credentials(KEY))?,
            secret: set(SECRET).ok_or(AccessError::Credentials(SECRET))?,
            token: set("AWS_SESSION_TOKEN"),
            region: set("AWS_REGION")
                .or_else(|| set("AWS_DEFAULT_REGION"))
                .unwrap_or_else(|| REGION.to_owned()),
            endpoint,
            is_loopback,
            certificates: set("AWS_CA_BUNDLE").map(certificates).transpose()?.unwrap_or_default(),
            patience: Patience::default(),
        })
    }

    /// The same, so impatient that tests of what never gets better are soon over.
    #[cfg(test)]
    pub(in crate::store) fn impatient(mut self) -> Self {
        let (first, longest) = (Duration::from_millis(1), Duration::from_millis(2));
        self.patience = Patience { tries: 4, first, longest, ..Patience::default() };
        self
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { region, endpoint, .. } = self;
        f.debug_struct("Access").field("region", region).field("endpoint", endpoint).finish_non_exhaustive()
    }
}

/// Checks a server's address; whether it is this machine.
fn server(endpoint: &str, allows_plain: bool) -> Result<bool, AccessError> {
    let nonsense = || AccessError::Endpoint(endpoint.to_owned());
    let uri: Uri = endpoint.parse().map_err(|_| nonsense())?;
    let authority = uri.authority().ok_or_else(nonsense)?;
    // A password in it would be in every message.
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(AccessError::Endpoint("...".to_owned()));
    }
    let host = authority.host().trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    let is_loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(is_loopback),
        Some("http") if is_loopback || allows_plain => Ok(is_loopback),
        Some("http") => Err(AccessError::Plain(endpoint.to_owned())),
        _ => Err(nonsense()),
    }
}

fn certificates(path: String) -> Result<Vec<Certificate<'static>>, AccessError> {
    let refuse = |reason: String| AccessError::Certificates { path: path.clone().into(), reason };
    let text = fs::read(&path).map_err(|error| refuse(format!(": {error}")))?;
    let certificate = |item| if let Ok(PemItem::Certificate(it)) = item { Some(it) } else { None };
    let found: Vec<_> = parse_pem(&text).filter_map(certificate).collect();
    if found.is_empty() { Err(refuse(String::new())) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Access, AccessError> {
        let keys = [(KEY, "AKIA"), (SECRET, "s3cr3t")];
        Access::read(|name| {
            let found = variables.iter().chain(&keys).find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_usual_variables_say_how_a_bucket_is_reached() {
        let access = read(&[]).unwrap();
        assert_eq!((access.region.as_str(), access.endpoint, access.token), (REGION, None, None));
        let access = read(&[("AWS_DEFAULT_REGION", "eu-north-1"), ("AWS_SESSION_TOKEN", "t")]).unwrap();
        assert_eq!((access.region.as_str(), access.token.as_deref()), ("eu-north-1", Some("t")));
        let access =
            read(&[("AWS_DEFAULT_REGION", "a"), ("AWS_REGION", "b"), ("AWS_ENDPOINT_URL", "")]).unwrap();
        assert_eq!((access.region.as_str(), access.endpoint), ("b", None));
        assert!(!format!("{:?}", read(&[]).unwrap()).contains("s3cr3t"), "a secret is shown");
    }

    #[test]
    fn plain_text_is_for_the_loopback_or_whoever_asks_for_it() {
        for (endpoint, allows, is_loopback) in [
            ("https://s3.example.org", "", false),
            ("https://localhost:9000", "", true),
            ("http://127.0.0.1:9000", "", true),
            ("http://[::1]:9000", "", true),
            ("http://localhost", "false", true),
            ("http://minio:9000", "true", false),
            ("http://10.0.0.1", "1", false),
        ] {
            let access = read(&[("AWS_ENDPOINT_URL", endpoint), ("AWS_ALLOW_HTTP", allows)]).unwrap();
            assert_eq!(access.is_loopback, is_loopback, "{endpoint}");
        }
        for endpoint in ["http://minio:9000", "http://localhost.example.org", "http://10.0.0.1"] {
            let error = read(&[("AWS_ENDPOINT_URL", endpoint)]).unwrap_err();
            assert!(matches!(error, AccessError::Plain(_)), "{error}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_a_line_with_the_variable() {
        for (variable, value) in [
            (KEY, ""),
            (SECRET, ""),
            ("AWS_ENDPOINT_URL", "minio:9000"),
            ("AWS_ENDPOINT_URL", "ftp://minio"),
            ("AWS_ENDPOINT_URL", "https://me:s3cr3t@minio"),
            ("AWS_ENDPOINT_URL", "no address"),
            ("AWS_ALLOW_HTTP", "perhaps"),
            ("AWS_CA_BUNDLE", "/dev/null"),
            ("AWS_CA_BUNDLE", "/nowhere"),
        ] {
            let error = read(&[(variable, value)]).unwrap_err().to_string();
            assert!(error.contains(variable) && !error.contains('\n'), "{variable}={value}: {error}");
            assert!(!error.contains("s3cr3t"), "{error}");
        }
    }
}
