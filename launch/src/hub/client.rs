//! The two questions that the hub is asked: what a repository holds, and the bytes of a file.

use std::{
    fs,
    io::{self, Read},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::{Place, Settings};

/// The longest listing that is read, in bytes: some hundred for each of 100,000 files.
const LISTING: u64 = 64 << 20;

/// Redirections of one request; the hub sends at most two.
const HOPS: usize = 5;

/// Times that a request is tried when the network fails.
const TRIES: u32 = 4;

/// How long silence is taken for slowness.
const SILENCE: Duration = Duration::from_secs(60);

/// The hub, as it answers this user.
pub(super) struct Client {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

/// A repository at a commit.
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    pub(super) sha: String,
    #[serde(default)]
    pub(super) siblings: Vec<Entry>,
}

/// A file of a repository, as the hub describes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    pub(super) rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// A file that lies in the hub's store for large files.
#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

impl Entry {
    /// What the hub names the content by, if it is a digest in hexadecimal digits.
    pub(super) fn etag(&self) -> Option<&str> {
        let etag = self.lfs.as_ref().map(|lfs| &lfs.sha256).or(self.blob_id.as_ref())?;
        let digits = |etag: &&String| etag.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        Some(etag).filter(|etag| [40, 64].contains(&etag.len())).filter(digits).map(String::as_str)
    }

    pub(super) fn sha256(&self) -> Option<&str> {
        self.lfs.as_ref().and_then(|_| self.etag()).filter(|etag| etag.len() == 64)
    }

    pub(super) fn bytes(&self) -> Option<u64> {
        self.lfs.as_ref().map(|lfs| lfs.size).or(self.size)
    }
}

/// The bytes of a file from `start` on.
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) body: Box<dyn Read>,
}

/// The network failed, or the hub had a bad moment: the same request may work later.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint} gives no answer ({reason}): is there a network? a copy below --data-root needs none")]
struct Unreachable {
    endpoint: String,
    reason: String,
}

impl Client {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("fulcrum/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(SILENCE / 2))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE));
        if let Some(path) = &settings.certificates {
            let broken = || format!("SSL_CERT_FILE = {} holds no certificates", path.display());
            let text = fs::read(path).with_context(broken)?;
            let certificate = |item| if let Ok(PemItem::Certificate(it)) = item { Some(it) } else { None };
            let certificates: Vec<Certificate<'static>> = parse_pem(&text).filter_map(certificate).collect();
            ensure!(!certificates.is_empty(), broken());
            let roots = RootCerts::new_with_certs(&certificates);
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        let agent = config.build().new_agent();
        Ok(Self { agent, endpoint: settings.endpoint.clone(), token: settings.token.clone() })
    }

    /// What the repository holds at its revision.
    pub(super) fn listing(&self, place: Place<'_>) -> Result<Listing> {
        let (kind, name) = (place.kind.plural(), place.id.name());
        let revision = place.id.revision().replace('/', "%2F");
        let url = format!("{}/api/{kind}/{name}/revision/{revision}?blobs=true", self.endpoint);
        self.patiently(|| {
            let response = self.get(place, &url, 0)?;
            let mut text = Vec::new();
            let body = response.into_body().into_reader();
            body.take(LISTING + 1).read_to_end(&mut text).map_err(|error| self.unreachable(error))?;
            ensure!(text.len() as u64 <= LISTING, "the hub's listing of the {place} is too long to be one");
            serde_json::from_slice(&text)
                .with_context(|| format!("the hub's answer about the {place} is no listing"))
        })
    }

    /// The bytes of a file, from `start` on if the server can do that.
    pub(super) fn file(
        &self,
        place: Place<'_>,
        commit: &str,
        name: &str,
        start: u64,
        entry: &Entry,
    ) -> Result<Part> {
        let kind = match place.kind {
            fulcrum_common::source::RepositoryKind::Model => "",
            fulcrum_common::source::RepositoryKind::Dataset => "datasets/",
        };
        let url = format!("{}/{kind}{}/resolve/{commit}/{}", self.endpoint, place.id.name(), escaped(name));
        let response = self.get(place, &url, start)?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let linked = header("x-linked-etag").or_else(|| header("etag").filter(|_| entry.sha256().is_none()));
        let linked = linked.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        if let (Some(found), Some(expected)) = (linked, entry.etag()) {
            let same = found == expected || found.len() != expected.len();
            ensure!(same, "the hub has other bytes under that name than it lists");
        }
        let range = header("content-range")
            .and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        let start = if response.status() == 206 {
            range.context("the answer does not say which part it is")?
        } else {
            0
        };
        Ok(Part { start, body: Box::new(response.into_body().into_reader()) })
    }

    /// Runs `request` again, after a pause, while the network is at fault.
    pub(super) fn patiently<T>(&self, mut request: impl FnMut() -> Result<T>) -> Result<T> {
        let mut pause = Duration::from_millis(250);
        for _ in 1..TRIES {
            match request() {
                Err(error) if error.is::<Unreachable>() || error.is::<io::Error>() => thread::sleep(pause),
                done => return done,
            }
            pause *= 4;
        }
        request()
    }

    /// Follows redirections by hand: the token is for the hub alone, and its store of large files is elsewhere.
    fn get(&self, place: Place<'_>, url: &str, start: u64) -> Result<Response<Body>> {
        let mut url = url.to_owned();
        let mut linked = None;
        for _ in 0..=HOPS {
            let mut request = self.agent.get(&url).header("accept-encoding", "identity");
            if let Some(token) = self.token.as_ref().filter(|_| origin(&url) == origin(&self.endpoint)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if start > 0 {
                request = request.header("range", format!("bytes={start}-"));
            }
            let mut response = request.call().map_err(|error| self.unreachable(error))?;
            let header = response.headers().get("x-linked-etag").cloned();
            linked = linked.or(header);
            match response.status().as_u16() {
                200 | 206 => {
                    // Only the hub itself says what the content is, and it says so where it sends one elsewhere.
                    if let Some(linked) = linked {
                        response.headers_mut().insert("x-linked-etag", linked);
                    }
                    return Ok(response);
                }
                301 | 302 | 303 | 307 | 308 => url = self.redirected(&url, &response)?,
                _ => return Err(self.refused(place, &response)),
            }
        }
        bail!("{} redirects without end", self.endpoint)
    }

    fn redirected(&self, url: &str, response: &Response<Body>) -> Result<String> {
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let next = match location {
            Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                format!("{}{path}", origin(url))
            }
            Some(address) if address.starts_with("https://") => address.to_owned(),
            // Who chose an address without encryption did so for all of it.
            Some(address) if address.starts_with("http://") && url.starts_with("http://") => {
                address.to_owned()
            }
            other => bail!("{} redirects to {other:?}, which is not followed", origin(url)),
        };
        Ok(next)
    }

    /// What an answer means that is neither bytes nor a redirection.
    fn refused(&self, place: Place<'_>, response: &Response<Body>) -> anyhow::Error {
        let status = response.status().as_u16();
        let code = response.headers().get("x-error-code").and_then(|value| value.to_str().ok());
        let gated = || {
            let way_out = if self.token.is_some() {
                "accept its terms on its page, with the account of HF_TOKEN"
            } else {
                "accept its terms on its page, and set HF_TOKEN"
            };
            anyhow!("the {place} is gated ({status}): {way_out}")
        };
        let absent = || {
            anyhow!(
                "the {place} is not on {} ({status}), or is private: check the name, or set HF_TOKEN",
                self.endpoint
            )
        };
        match (code, status) {
            (Some("GatedRepo"), _) => gated(),
            (Some("RevisionNotFound"), _) => anyhow!("the {place} has no revision {:?}", place.id.revision()),
            (Some("RepoNotFound"), _) | (_, 404) => absent(),
            (_, 401 | 403) => gated(),
            (_, 408 | 416 | 429 | 500..) => self.unreachable(format!("status {status}")),
            _ => anyhow!("{} answers with status {status} about the {place}", self.endpoint),
        }
    }

    fn unreachable(&self, reason: impl ToString) -> anyhow::Error {
        Unreachable { endpoint: self.endpoint.clone(), reason: reason.to_string() }.into()
    }
}

/// Scheme, host and port of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find(['/', '?', '#']).map_or(url, |end| &url[..host + end])
}

/// A path as it stands in an address.
fn escaped(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
