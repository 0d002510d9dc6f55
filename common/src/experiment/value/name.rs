//! Names, places and pairs of names.

use std::{
    path::{Component, Path},
    str::FromStr,
};

use toml::de::DeValue;

use super::{Value, Wrong};
use crate::{
    experiment::Origin,
    plan::MateInOne,
    source::HubId,
    store::{Place, PlaceError},
};

/// A name that can stand in a file name, e.g. of a run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) struct Name(pub String);

/// What fits into a line of a script, and is no comment in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) struct Line(pub String);

/// A path that stays below the folder it is joined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) struct RelativePath(pub String);

/// Where the task's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum TaskSource {
    Arithmetic,
    Mixture,
    MateInOne,
    Hub(HubId),
    Folder(String),
}

/// Where adapters come from: not from a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) struct AdapterSource(pub Origin);

/// Which models supervise which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Pairs {
    WeakerToStronger,
    WithSelf,
    List(Vec<(String, String)>),
}

/// Which models stand between supervisor and student.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiment) enum Through {
    Intermediate,
    List(Vec<String>),
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

impl Value for Line {
    fn kind() -> String {
        "one line of at most 256 characters".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let is_line = text.len() <= 256 && !text.contains(char::is_control) && text.trim() == text;
        if is_line { Ok(Self(text)) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        self.0.show()
    }
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

impl Value for Place {
    fn kind() -> String {
        "a folder, or a bucket as \"s3://BUCKET/PREFIX\"".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        String::read(value)?.parse().map_err(|error: PlaceError| Wrong::Because(error.to_string()))
    }

    fn show(&self) -> String {
        self.to_string().show()
    }
}

impl Value for TaskSource {
    fn kind() -> String {
        let builtin = "\"builtin:arithmetic\", \"builtin:mixture\", \"builtin:mate-in-one\"";
        format!("{builtin}, \"hf:OWNER/NAME\", \"hf:OWNER/NAME@REVISION\" or a folder")
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        match text.split_once(':') {
            Some(("builtin", "arithmetic")) => Ok(Self::Arithmetic),
            Some(("builtin", "mixture")) => Ok(Self::Mixture),
            Some(("builtin", "mate-in-one")) => Ok(Self::MateInOne),
            Some(("hf", id)) => HubId::parse(id).map(Self::Hub).ok_or(Wrong::Kind),
            Some(("builtin" | "pypi", _)) => Err(Wrong::Kind),
            _ => Ok(Self::Folder(text)),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Arithmetic => "\"builtin:arithmetic\"".into(),
            Self::Mixture => "\"builtin:mixture\"".into(),
            Self::MateInOne => MateInOne::NAME.to_owned().show(),
            Self::Hub(id) => format!("hf:{id}").show(),
            Self::Folder(path) => path.show(),
        }
    }
}

impl Value for Origin {
    fn kind() -> String {
        "\"pypi:PACKAGE\", \"pypi:PACKAGE==VERSION\", \"hf:OWNER/NAME\", \"hf:OWNER/NAME@REVISION\" or a folder".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        Self::parse(&String::read(value)?).ok_or(Wrong::Kind)
    }

    fn show(&self) -> String {
        match self {
            Self::Pypi(package) => format!("pypi:{package}").show(),
            Self::Hub(id) => format!("hf:{id}").show(),
            Self::Folder(path) => path.display().to_string().show(),
        }
    }
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("pypi", package)) => is_requirement(package).then(|| Self::Pypi(package.to_owned())),
            Some(("hf", id)) => HubId::parse(id).map(Self::Hub),
            Some(("builtin", _)) => None,
            _ => Some(Self::Folder(text.into())),
        }
    }
}

/// As in experiment files, but a folder starts where the program was started.
impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::parse(text).filter(|_| !text.is_empty());
        found.ok_or_else(|| format!("it must be {}", Self::kind()))
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
        match Origin::read(value)? {
            Origin::Pypi(_) => Err(Wrong::Kind),
            origin => Ok(Self(origin)),
        }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Value for Pairs {
    fn kind() -> String {
        "\"weaker-to-stronger\", \"with-self\" or a list of pairs such as [[\"small\", \"large\"]]".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_str() {
            Some("weaker-to-stronger") => return Ok(Self::WeakerToStronger),
            Some("with-self") => return Ok(Self::WithSelf),
            _ => {}
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
            Self::WithSelf => "\"with-self\"".into(),
            Self::List(pairs) => {
                let pairs: Vec<_> =
                    pairs.iter().map(|(weak, strong)| format!("[{weak:?}, {strong:?}]")).collect();
                format!("[{}]", pairs.join(", "))
            }
        }
    }
}

impl Value for Through {
    fn kind() -> String {
        "\"intermediate\" or a list of models".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if value.as_str() == Some("intermediate") {
            return Ok(Self::Intermediate);
        }
        let names = Vec::<String>::read(value)?;
        if names.is_empty() { Err(Wrong::Kind) } else { Ok(Self::List(names)) }
    }

    fn show(&self) -> String {
        match self {
            Self::Intermediate => "\"intermediate\"".into(),
            Self::List(names) => names.show(),
        }
    }
}
