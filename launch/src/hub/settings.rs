//! The environment variables of the hub's own programs.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use fulcrum_common::source::HubCache;

/// What they say.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Where the hub is, without a slash at its end.
    pub(super) endpoint: String,
    /// What opens gated and private repositories.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only what fetches reads it"))]
    pub(super) token: Option<String>,
    /// Whether nothing may be fetched.
    pub(super) offline: bool,
    /// A file of certificates to trust instead of those compiled in.
    #[cfg_attr(not(feature = "hub"), allow(dead_code, reason = "only what fetches reads it"))]
    pub(super) certificates: Option<PathBuf>,
    /// Where what was fetched is kept.
    cache: PathBuf,
}

impl Settings {
    /// Reads the environment of this process.
    ///
    /// # Errors
    /// If a variable makes no sense, or there is no home folder.
    pub(crate) fn from_environment() -> Result<Self> {
        Self::read(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let path = |name| variable(name).map(PathBuf::from);
        let caches = || path("XDG_CACHE_HOME").or_else(|| Some(path("HOME")?.join(".cache")));
        let home = path("HF_HOME").or_else(|| Some(caches()?.join("huggingface")));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub")));
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        ensure!(
            endpoint.starts_with("https://") || endpoint.starts_with("http://"),
            "HF_ENDPOINT = {endpoint:?} is no address: it begins with https://"
        );
        let file = path("HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let token = variable("HF_TOKEN").or_else(|| variable("HUGGING_FACE_HUB_TOKEN"));
        let token = token.or_else(|| fs::read_to_string(file?).ok());
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        let printable = |token: &String| token.bytes().all(|byte| byte.is_ascii_graphic());
        ensure!(token.as_ref().is_none_or(printable), "HF_TOKEN, or the token file, holds no token");
        let yes = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str());
        Ok(Self {
            endpoint,
            token,
            offline: variable("HF_HUB_OFFLINE").is_some_and(yes),
            certificates: path("SSL_CERT_FILE"),
            cache: cache.context("there is no cache folder for the hub: set HF_HOME")?,
        })
    }

    /// The cache.
    pub(crate) fn cache(&self) -> HubCache {
        HubCache::new(self.cache.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_the_hubs_own_programs_have_it() {
        for (variables, cache) in [
            (&[("HOME", "/h")][..], "/h/.cache/huggingface/hub"),
            (&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("HOME", "/h"), ("HF_HOME", "/f")], "/f/hub"),
            (&[("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")], "/c"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
        ] {
            assert_eq!(read(variables).unwrap().cache(), HubCache::new(cache.into()), "{variables:?}");
        }
        assert!(read(&[]).is_err());
    }

    #[test]
    fn a_token_comes_from_its_variable_or_its_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("token"), "from-file\n").unwrap();
        let home = ("HF_HOME", dir.path().to_str().unwrap());
        assert_eq!(read(&[home]).unwrap().token.as_deref(), Some("from-file"));
        assert_eq!(read(&[home, ("HF_TOKEN", "given")]).unwrap().token.as_deref(), Some("given"));
        assert_eq!(read(&[("HF_HOME", "/nowhere")]).unwrap().token, None);
        let error = read(&[home, ("HF_TOKEN", "two\nlines")]).err().unwrap().to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("two"), "{error}");
    }

    #[test]
    fn the_endpoint_is_an_address_and_offline_a_word() {
        let home = ("HF_HOME", "/f");
        assert_eq!(read(&[home]).unwrap().endpoint, "https://huggingface.co");
        assert_eq!(read(&[home, ("HF_ENDPOINT", "http://mirror:8/")]).unwrap().endpoint, "http://mirror:8");
        assert!(read(&[home, ("HF_ENDPOINT", "mirror")]).is_err());
        for (value, offline) in [("1", true), ("true", true), ("On", true), ("0", false), ("no", false)] {
            assert_eq!(read(&[home, ("HF_HUB_OFFLINE", value)]).unwrap().offline, offline, "{value}");
        }
    }
}
