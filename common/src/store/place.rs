//! Where a store is: a folder, or a bucket of S3-compatible object storage and what its objects' names begin with.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::Key;

const SCHEME: &str = "s3://";

/// Characters of a bucket's name and of a prefix, as the service has them.
const BUCKET: std::ops::RangeInclusive<usize> = 3..=63;
const PREFIX: usize = 256;

/// Where a store is. As text it is a path, or `s3://BUCKET` and perhaps `/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A folder.
    Folder(PathBuf),
    /// Object storage.
    Bucket(Bucket),
}

/// A bucket, and what the names of the store's objects in it begin with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Bucket {
    name: String,
    /// Without slashes at its ends; empty for none.
    prefix: String,
}

/// A text that says no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Nothing stands there.
    #[error("a store needs a place: name a folder, or a bucket as s3://BUCKET/PREFIX")]
    Empty,
    /// Another kind of storage.
    #[error("{0:?} is no place for a store: name a folder, or a bucket as s3://BUCKET/PREFIX")]
    Scheme(String),
    /// No bucket can have that name.
    #[error(
        "{0:?} names no bucket: say s3://BUCKET/PREFIX, where a bucket's name has 3 to 63 of a-z 0-9 . - and begins and ends with a letter or digit"
    )]
    Bucket(String),
    /// Not every server takes such names, or they would be read in two ways.
    #[error(
        "{0:?} has a prefix that is none: it takes up to 256 of a-z A-Z 0-9 . _ - with single slashes between, and no `.` or `..` alone"
    )]
    Prefix(String),
}

impl Place {
    /// The folder, where it is one.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(folder),
            Self::Bucket(_) => None,
        }
    }

    /// Whether a store may be there. One that opens a folder makes it; who only looks asks before.
    pub fn may_have_store(&self) -> bool {
        self.folder().is_none_or(|folder| folder.join("artifacts").is_dir())
    }

    /// The bucket, where it is one.
    pub fn bucket(&self) -> Option<&Bucket> {
        match self {
            Self::Folder(_) => None,
            Self::Bucket(bucket) => Some(bucket),
        }
    }
}

impl Bucket {
    /// The bucket's own name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the names of the store's objects begin with, without slashes at its ends; empty for none.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A folder's name for what belongs to this place: readable, and of no other place.
    pub(super) fn slug(&self) -> String {
        format!("{}-{}", self.name, Key::of(self.to_string().as_bytes()).short())
    }

    fn parse(text: &str, rest: &str) -> Result<Self, PlaceError> {
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let ends = |name: &str| name.as_bytes().first().zip(name.as_bytes().last()).map(|(&a, &b)| [a, b]);
        let is_bucket = BUCKET.contains(&name.len())
            && name.bytes().all(|c| plain(c) || matches!(c, b'.' | b'-'))
            && ends(name).is_some_and(|ends| ends.into_iter().all(plain));
        if !is_bucket {
            return Err(PlaceError::Bucket(text.to_owned()));
        }
        let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
        let letter = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let part = |part: &str| !matches!(part, "" | "." | "..") && part.bytes().all(letter);
        let is_prefix = prefix.is_empty() || (prefix.len() <= PREFIX && prefix.split('/').all(part));
        if !is_prefix {
            return Err(PlaceError::Prefix(text.to_owned()));
        }
        Ok(Self { name: name.to_owned(), prefix: prefix.to_owned() })
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some(rest) = text.strip_prefix(SCHEME) {
            return Bucket::parse(text, rest).map(Self::Bucket);
        }
        match text {
            "" => Err(PlaceError::Empty),
            _ if text.contains("://") || text.starts_with("s3:") => Err(PlaceError::Scheme(text.to_owned())),
            _ => Ok(Self::Folder(text.into())),
        }
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl From<PathBuf> for Place {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

impl From<Bucket> for Place {
    fn from(bucket: Bucket) -> Self {
        Self::Bucket(bucket)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => folder.display().fmt(f),
            Self::Bucket(bucket) => bucket.fmt(f),
        }
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{SCHEME}{}{slash}{}", self.name, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        for folder in ["fulcrum-store", "/data/store", "../s3/x", "a b"] {
            let place: Place = folder.parse().unwrap();
            assert_eq!((place.folder(), place.bucket()), (Some(Path::new(folder)), None));
            assert_eq!(place.to_string(), folder);
        }
        for (text, name, prefix, shown) in [
            ("s3://models", "models", "", "s3://models"),
            ("s3://models/", "models", "", "s3://models"),
            ("s3://my.models-2/a/b_c/", "my.models-2", "a/b_c", "s3://my.models-2/a/b_c"),
        ] {
            let place: Place = text.parse().unwrap();
            let bucket = place.bucket().unwrap();
            assert_eq!((bucket.name(), bucket.prefix()), (name, prefix));
            assert_eq!((place.folder(), place.to_string().as_str()), (None, shown));
            let json = serde_json::to_string(&place).unwrap();
            assert_eq!(serde_json::from_str::<Place>(&json).unwrap(), place);
        }
    }

    #[test]
    fn nonsense_is_refused_in_a_line_with_the_way_out() {
        let long = format!("s3://models/{}", "a".repeat(PREFIX + 1));
        for text in [
            "",
            "s3://",
            "s3:///a",
            "s3:/models/a",
            "s3:models",
            "gs://models/a",
            "az://models",
            "https://h/models",
            "s3://Models",
            "s3://ab",
            "s3://-models",
            "s3://models./a",
            "s3://mod els",
            "s3://models//a",
            "s3://models/a//",
            "s3://models/../a",
            "s3://models/a/.",
            "s3://models/a b",
            "s3://models/é",
            "s3://key:secret@models/a",
            &long,
        ] {
            let error = text.parse::<Place>().unwrap_err().to_string();
            assert!(!error.contains('\n') && error.contains(": "), "{text}: {error}");
            let json = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<Place>(&json).is_err(), "{text}");
        }
    }

    #[test]
    fn places_have_folders_of_their_own() {
        let slug = |text: &str| text.parse::<Place>().unwrap().bucket().unwrap().slug();
        assert_ne!(slug("s3://models/a"), slug("s3://models/b"));
        assert_eq!(slug("s3://models/a"), slug("s3://models/a/"));
        assert!(slug("s3://models/a").starts_with("models-"));
    }
}
