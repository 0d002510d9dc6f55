//! Models that are named by their size and made on the spot, of random weights.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A model of known shape. Its `config.json` is in `shapes/`, where other programs find it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// For tests.
    Gpt2Tiny,
    /// 6 layers, 384 wide, the vocabulary of gpt2.
    #[serde(rename = "gpt2-30m")]
    Gpt2Small,
    /// 12 layers, 768 wide: the smallest gpt2 there is.
    #[serde(rename = "gpt2-120m")]
    Gpt2Base,
    /// For tests.
    LlamaTiny,
    /// 12 layers, 384 wide, keys shared by three heads.
    #[serde(rename = "llama-30m")]
    LlamaSmall,
    /// 16 layers, 768 wide, keys shared by three heads.
    #[serde(rename = "llama-120m")]
    LlamaBase,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Gpt2Tiny, Self::Gpt2Small, Self::Gpt2Base, Self::LlamaTiny, Self::LlamaSmall, Self::LlamaBase];

    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gpt2Tiny => "gpt2-tiny",
            Self::Gpt2Small => "gpt2-30m",
            Self::Gpt2Base => "gpt2-120m",
            Self::LlamaTiny => "llama-tiny",
            Self::LlamaSmall => "llama-30m",
            Self::LlamaBase => "llama-120m",
        }
    }

    /// The text of its `config.json`.
    pub fn config(self) -> &'static str {
        match self {
            Self::Gpt2Tiny => include_str!("shapes/gpt2-tiny.json"),
            Self::Gpt2Small => include_str!("shapes/gpt2-30m.json"),
            Self::Gpt2Base => include_str!("shapes/gpt2-120m.json"),
            Self::LlamaTiny => include_str!("shapes/llama-tiny.json"),
            Self::LlamaSmall => include_str!("shapes/llama-30m.json"),
            Self::LlamaBase => include_str!("shapes/llama-120m.json"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::word).join(", ");
        let found = Self::ALL.into_iter().find(|shape| shape.word() == text);
        found.ok_or_else(|| format!("{text:?} is no shape: there are {}", known()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_has_one_name_everywhere() {
        for shape in Shape::ALL {
            assert_eq!(shape.word().parse(), Ok(shape));
            assert_eq!(serde_json::to_value(shape).unwrap(), shape.word());
            let config: serde_json::Value = serde_json::from_str(shape.config()).unwrap();
            assert!(shape.word().starts_with(config["model_type"].as_str().unwrap()));
            assert_eq!(config["pad_token_id"], 0, "rows have no token 0");
        }
        let error = "gpt2-1t".parse::<Shape>().unwrap_err();
        assert!(error.starts_with("\"gpt2-1t\" is no shape: there are gpt2-tiny, gpt2-30m"), "{error}");
    }
}
