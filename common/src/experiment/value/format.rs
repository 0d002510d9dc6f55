//! How rows become examples: formatters by name, which answers are picked, and lists of values.

use toml::de::DeValue;

use super::{Value, Wrong};
use crate::plan::{Choices, Formatter};

impl Value for Formatter {
    fn kind() -> String {
        "the name of a formatter (see `formatters.md`)".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        let word = value.as_str().ok_or(Wrong::Kind)?;
        if let Some(known) = Self::ALL.iter().find(|known| known.word() == word) {
            return Ok(*known);
        }
        let near = |known: &&Self| strsim::jaro_winkler(&word.to_lowercase(), known.word());
        let nearest = Self::ALL.iter().max_by(|a, b| near(a).total_cmp(&near(b))).map(|known| known.word());
        let nearest = nearest.unwrap_or_default();
        Err(Wrong::Because(format!("= {word:?} is no formatter; the nearest is {nearest:?}")))
    }

    fn show(&self) -> String {
        self.word().to_owned().show()
    }
}

impl Value for Choices {
    fn kind() -> String {
        "a value that is a list, or a list of values".into()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Wrong> {
        if value.as_str().is_some() {
            return String::read(value).map(Self::List);
        }
        let each = Vec::<String>::read(value)?;
        if each.len() < 2 {
            return Err(Wrong::Because("must name two answers at least".into()));
        }
        Ok(Self::Each(each))
    }

    fn show(&self) -> String {
        match self {
            Self::List(list) => list.show(),
            Self::Each(each) => each.show(),
        }
    }
}
