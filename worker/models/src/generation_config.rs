//! What is followed of a `generation_config.json`: the tokens that end a text.

use std::path::Path;

use serde::Deserialize;

use crate::{
    ModelError,
    families::Ends,
    files::{ModelFiles, read_config},
};

/// The rest of the file (temperature, top-k and the like) is how its authors would sample, and not followed.
#[derive(Deserialize)]
struct Config {
    eos_token_id: Option<Ends>,
}

/// The ids that end a text beside those of `config.json`, each once.
///
/// # Errors
/// If the file cannot be read, is none of its kind, or names a token that a model of `vocabulary` tokens does not have.
pub fn generation_ends(path: &Path, vocabulary: usize) -> Result<Vec<i64>, ModelError> {
    let config: Config = serde_json::from_str(&read_config(path)?)
        .map_err(|reason| ModelError::Config { path: path.to_owned(), reason })?;
    let mut ends = config.eos_token_id.map(Ends::ids).unwrap_or_default();
    ends.sort_unstable();
    ends.dedup();
    let known = |end: &i64| usize::try_from(*end).is_ok_and(|end| end < vocabulary);
    match ends.iter().find(|end| !known(end)) {
        Some(end) => {
            let reason = format!("{} names it and the vocabulary has {vocabulary}", ModelFiles::GENERATION);
            Err(ModelError::field("eos_token_id", end, reason))
        }
        None => Ok(ends),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> Result<Vec<i64>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(ModelFiles::GENERATION);
        std::fs::write(&path, text).unwrap();
        generation_ends(&path, 10).map_err(|error| error.to_string())
    }

    #[test]
    fn one_id_several_or_none_are_read_and_nothing_else() {
        for (text, expected) in [
            (r#"{"eos_token_id": 7, "temperature": 0.6, "do_sample": true}"#, &[7][..]),
            (r#"{"eos_token_id": [9, 0, 9]}"#, &[0, 9]),
            (r#"{"eos_token_id": []}"#, &[]),
            (r#"{"eos_token_id": null}"#, &[]),
            (r#"{"max_length": 20}"#, &[]),
        ] {
            assert_eq!(ends(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_end_is_refused_with_its_value() {
        for (text, expected) in [
            (r#"{"eos_token_id": 10}"#, "eos_token_id = 10 "),
            (r#"{"eos_token_id": [3, -1]}"#, "eos_token_id = -1 "),
            (r#"{"eos_token_id": "</s>"}"#, "generation_config.json is no model configuration"),
            (r#"{"eos_token_id": 7.5}"#, "is no model configuration"),
            (r#"{"eos_token_id": 99999999999999999999}"#, "is no model configuration"),
            ("[]", "is no model configuration"),
            ("", "is no model configuration"),
        ] {
            let message = ends(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }
}
