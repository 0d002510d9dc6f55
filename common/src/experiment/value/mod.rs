//! The types that a key of an experiment file can have. A value of such a type is within its range.

mod choice;
mod format;
mod name;
mod number;

use std::collections::BTreeSet;

use toml::de::DeValue;

use crate::plan::HeadInit;

pub(super) use choice::*;
pub(super) use name::*;
pub(super) use number::*;

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

/// At least one seed, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seeds(pub Vec<u64>);

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

impl Value for bool {
    fn kind() -> String {
        "true or false".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        value.as_bool().ok_or(Wrong::Kind)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for Seeds {
    fn kind() -> String {
        "a list of whole numbers from 0, at least one and none twice".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let seeds = Vec::<u64>::read(value)?;
        let distinct = seeds.iter().collect::<BTreeSet<_>>().len();
        if distinct == seeds.len() && !seeds.is_empty() { Ok(Self(seeds)) } else { Err(Wrong::Kind) }
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

impl Value for HeadInit {
    fn kind() -> String {
        r#""normal", "zero" or a list of tokens"#.into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        match value.as_str() {
            Some("normal") => Ok(Self::Normal),
            Some("zero") => Ok(Self::Zero),
            Some(_) => Err(Wrong::Kind),
            None => Vec::read(value).map(Self::Unembedding),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Normal => r#""normal""#.into(),
            Self::Zero => r#""zero""#.into(),
            Self::Unembedding(tokens) => tokens.show(),
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
