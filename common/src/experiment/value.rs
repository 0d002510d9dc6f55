//! The types that a key of an experiment file can have. A value of such a type is within its range.

use std::path::{Component, Path};

use toml::de::DeValue;

use crate::plan::Schedule;

/// A type of key.
pub(super) trait Value: Sized {
    /// What the key must be, as it reads after "must be".
    fn kind() -> String;

    /// Takes the value from the file.
    fn read(value: &DeValue<'_>) -> Result<Self, Wrong>;

    /// The value as one would write it in the file.
    fn show(&self) -> String;
}

/// Why a value was refused.
pub(super) enum Wrong {
    /// It is not of the key's kind.
    Kind,
    /// It is, but something else is the matter.
    Because(String),
}

/// A name that can stand in a file name, e.g. of a run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub String);

/// A path that stays below the folder it is joined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RelativePath(pub String);

/// At least one seed, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seeds(pub Vec<u64>);

/// Where the task's rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TaskSource {
    Arithmetic,
    Hub(String),
    Folder(String),
}

/// Where a pretrained model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ModelSource {
    Pypi(String),
    Hub(String),
    Folder(String),
}

/// Which models supervise which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    WeakerToStronger,
    List(Vec<(String, String)>),
}

impl Value for String {
    fn kind() -> String {
        "text".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_str() {
            Some("") => Err(Wrong::Because("must not be empty".into())),
            Some(text) => Ok(text.to_owned()),
            None => Err(Wrong::Kind),
        }
    }

    fn show(&self) -> String {
        format!("{self:?}")
    }
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
pub(crate) fn is_name(text: &str) -> bool {
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

impl Value for Seeds {
    fn kind() -> String {
        "a list of whole numbers from 0, at least one and none twice".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let seeds = Vec::<u64>::read(value)?;
        let distinct = seeds.iter().collect::<std::collections::BTreeSet<_>>().len();
        if distinct == seeds.len() && !seeds.is_empty() { Ok(Self(seeds)) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Value for TaskSource {
    fn kind() -> String {
        "\"builtin:arithmetic\", \"hf:OWNER/NAME\" or a folder".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        match text.split_once(':') {
            Some(("builtin", "arithmetic")) => Ok(Self::Arithmetic),
            Some(("hf", id)) if is_hub_id(id) => Ok(Self::Hub(id.to_owned())),
            Some(("builtin" | "hf" | "pypi", _)) => Err(Wrong::Kind),
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
        "\"pypi:PACKAGE\", \"hf:OWNER/NAME\" or a folder".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        match text.split_once(':') {
            Some(("pypi", package)) if is_name(package) => Ok(Self::Pypi(package.to_owned())),
            Some(("hf", id)) if is_hub_id(id) => Ok(Self::Hub(id.to_owned())),
            Some(("builtin" | "hf" | "pypi", _)) => Err(Wrong::Kind),
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

/// `NAME` or `OWNER/NAME`.
fn is_hub_id(id: &str) -> bool {
    id.splitn(2, '/').all(is_name)
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

impl<T: Value> Value for Vec<T> {
    fn kind() -> String {
        format!("a list, each entry {}", T::kind())
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        value.as_array().ok_or(Wrong::Kind)?.iter().map(|entry| T::read(entry.get_ref())).collect()
    }

    fn show(&self) -> String {
        format!("[{}]", self.iter().map(T::show).collect::<Vec<_>>().join(", "))
    }
}

/// A key that may be left out; what happens then is said by the key's description.
impl<T: Value> Value for Option<T> {
    fn kind() -> String {
        T::kind()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        T::read(value).map(Some)
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value.as_float() {
        Some(float) => float.as_str().parse().ok()?,
        None => integer(value)? as f64,
    };
    number.is_finite().then_some(number)
}

macro_rules! whole {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn kind() -> String {
                "a whole number from 0".into()
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
                integer(value).and_then(|number| number.try_into().ok()).ok_or(Wrong::Kind)
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}
whole!(u64, usize);

macro_rules! within {
    ($($(#[$doc:meta])* $name:ident($type:ty): $kind:literal, $from:ident, $accept:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(super) struct $name(pub $type);

        impl Value for $name {
            fn kind() -> String {
                $kind.into()
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
                let accept: fn(&$type) -> bool = $accept;
                let number = $from(value).and_then(|number| <$type>::try_from(number).ok());
                number.filter(accept).map(Self).ok_or(Wrong::Kind)
            }

            fn show(&self) -> String {
                format!("{:?}", self.0)
            }
        }
    )+};
}
within! {
    /// Something there is at least one of.
    Count(usize): "a whole number from 1", integer, |n| *n >= 1;
    /// A bound of the operands of `builtin:arithmetic`.
    Below(u32): "a whole number from 2 to 1000000", integer, |n| (2..=1_000_000).contains(n);
    /// A part of a whole.
    Share(f64): "a number from 0 to 1", number, |x| (0.0..=1.0).contains(x);
    /// The largest share that the larger of two classes may have.
    Balance(f64): "a number above 0.5, up to 1", number, |x| *x > 0.5 && *x <= 1.0;
    /// A rate.
    Positive(f64): "a number above 0", number, |x| *x > 0.0;
    /// A strength that may be nothing.
    NonNegative(f64): "a number from 0", number, |x| *x >= 0.0;
}

macro_rules! choice {
    ($($(#[$doc:meta])* $type:ident { $($variant:ident = $word:literal),+ } later [$($later:literal),*];)+) => {$(
        choice!(@value $type { $($variant = $word),+ } later [$($later),*]);

        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $type { $($variant),+ }
    )+};
    (@value $type:ident { $($variant:ident = $word:literal),+ } later [$($later:literal),*]) => {
        impl Value for $type {
            fn kind() -> String {
                [$(concat!("\"", $word, "\"")),+].join(" or ")
            }

            fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
                let later: &[&str] = &[$($later),*];
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)+
                    Some(word) if later.contains(&word) => {
                        Err(Wrong::Because(format!("= {word:?} is not supported yet; use {}", Self::kind())))
                    }
                    _ => Err(Wrong::Kind),
                }
            }

            fn show(&self) -> String {
                match self { $(Self::$variant => concat!("\"", $word, "\"").into()),+ }
            }
        }
    };
}
choice! {
    /// What an experiment is compiled by.
    Recipe { WeakToStrong = "weak-to-strong" } later [];
    /// What the models learn.
    TaskKind { Classification = "classification" }
        later ["preference", "language-model", "generation", "images", "graph"];
    /// How a student is trained on weak labels.
    MethodName { Naive = "naive", Confidence = "confidence" } later [];
    /// How a gang shares the work of one step.
    Strategy { Data = "data" } later ["zero1", "sharded", "hybrid"];
    /// The numbers that models compute in.
    Precision { Fp32 = "fp32" } later ["bf16"];
    /// What stays equal when a gang changes its size.
    Mode { Fast = "fast" } later ["deterministic"];
}
choice!(@value Schedule { Constant = "constant", Linear = "linear", Cosine = "cosine" } later []);
