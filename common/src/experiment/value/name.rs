//! Names, places and pairs of names.

use std::path::{Component, Path};

use toml::de::DeValue;

use super::{Value, Wrong};
use crate::source::HubId;

/// A name that can stand in a file name, e.g. of a run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) struct Name(pub String);

/// A path that stays below the folder it is joined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) struct RelativePath(pub String);

/// Where the task's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum TaskSource {
    Arithmetic,
    Hub(HubId),
    Folder(String),
}

/// Where a pretrained model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum ModelSource {
    Pypi(String),
    Hub(HubId),
    Folder(String),
}

/// Where adapters come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum AdapterSource {
    Hub(HubId),
    Folder(String),
}

/// Which models supervise which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Pairs {
    WeakerToStronger,
    List(Vec<(String, String)>),
}

impl Value for Name {
    fn kind() -> String {
        "a name of at most 64 letters, digits, '-', '_' and '.', beginning with a letter or digit".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = value.as_str().ok_or(Wrong::Kind)?;
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// Whether `text` can stand in a file name on any system and cannot leave its folder.
fn is_name(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

impl Value for RelativePath {
    fn kind() -> String {
        "a path without '..' that does not begin at the root".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = value.as_str().ok_or(Wrong::Kind)?;
        let inside = Path::new(text).components().all(|part| matches!(part, Component::Normal(_)));
        if inside && !text.is_empty() { Ok(Self(text.to_owned())) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Value for TaskSource {
    fn kind() -> String {
        "\"builtin:arithmetic\", \"hf:OWNER/NAME\", \"hf:OWNER/NAME@REVISION\" or a folder".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        match text.split_once(':') {
            Some(("builtin", "arithmetic")) => Ok(Self::Arithmetic),
            Some(("hf", id)) => HubId::parse(id).map(Self::Hub).ok_or(Wrong::Kind),
            Some(("builtin" | "pypi", _)) => Err(Wrong::Kind),
            _ => Ok(Self::Folder(text)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Arithmetic => "\"builtin:arithmetic\"".into(),
            Self::Hub(id) => format!("hf:{id}").show(),
            Self::Folder(path) => path.show(),
        }
    }
}

impl Value for ModelSource {
    fn kind() -> String {
        "\"pypi:PACKAGE\", \"pypi:PACKAGE==VERSION\", \"hf:OWNER/NAME\", \"hf:OWNER/NAME@REVISION\" or a folder".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        match text.split_once(':') {
            Some(("pypi", package)) if is_requirement(package) => Ok(Self::Pypi(package.to_owned())),
            Some(("hf", id)) => HubId::parse(id).map(Self::Hub).ok_or(Wrong::Kind),
            Some(("builtin" | "pypi", _)) => Err(Wrong::Kind),
            _ => Ok(Self::Folder(text)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Pypi(package) => format!("pypi:{package}").show(),
            Self::Hub(id) => format!("hf:{id}").show(),
            Self::Folder(path) => path.show(),
        }
    }
}

/// `NAME` or `NAME==VERSION`, which can stand in a file name too.
fn is_requirement(package: &str) -> bool {
    package.splitn(2, "==").all(is_name)
}

impl Value for AdapterSource {
    fn kind() -> String {
        "\"hf:OWNER/NAME\", \"hf:OWNER/NAME@REVISION\" or a folder".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match ModelSource::read(value)? {
            ModelSource::Hub(id) => Ok(Self::Hub(id)),
            ModelSource::Folder(path) => Ok(Self::Folder(path)),
            ModelSource::Pypi(_) => Err(Wrong::Kind),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Hub(id) => format!("hf:{id}").show(),
            Self::Folder(path) => path.show(),
        }
    }
}

impl Value for Pairs {
    fn kind() -> String {
        "\"weaker-to-stronger\" or a list of pairs such as [[\"small\", \"large\"]]".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if value.as_str() == Some("weaker-to-stronger") {
            return Ok(Self::WeakerToStronger);
        }
        let pairs = Vec::<Vec<String>>::read(value)?;
        let pairs = pairs.into_iter().map(|pair| <[String; 2]>::try_from(pair).map(Into::into));
        match pairs.collect::<Result<Vec<_>, _>>() {
            Ok(pairs) if !pairs.is_empty() => Ok(Self::List(pairs)),
            _ => Err(Wrong::Kind),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::WeakerToStronger => "\"weaker-to-stronger\"".into(),
            Self::List(pairs) => {
                let pairs: Vec<_> =
                    pairs.iter().map(|(weak, strong)| format!("[{weak:?}, {strong:?}]")).collect();
                format!("[{}]", pairs.join(", "))
            }
        }
    }
}
