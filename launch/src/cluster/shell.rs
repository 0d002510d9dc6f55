//! Words for a shell on another machine.

use std::path::Path;

use anyhow::{Result, bail};

/// A word that a shell reads as it is.
///
/// # Errors
/// If no line holds it.
pub(crate) fn quoted(word: &str) -> Result<String> {
    if word.contains(['\n', '\r', '\0']) {
        bail!("{word:?} cannot stand in a command");
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:@%+,".contains(&byte);
    match !word.is_empty() && word.bytes().all(is_plain) {
        true => Ok(word.to_owned()),
        false => Ok(format!("'{}'", word.replace('\'', r"'\''"))),
    }
}

/// Words that a shell reads as they are.
///
/// # Errors
/// As [`quoted`].
pub(crate) fn line(words: &[String]) -> Result<String> {
    Ok(words.iter().map(|word| quoted(word)).collect::<Result<Vec<_>>>()?.join(" "))
}

/// A path as text.
///
/// # Errors
/// If it is none.
pub(crate) fn text(path: &Path) -> Result<String> {
    match path.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => bail!("the path {path:?} is not UTF-8, and cannot stand in a command"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        let words = ["plain", "", "two words", "it's", "$HOME `id` \\ \"", "*", "~", "a;b", "\u{e9}"]
            .map(str::to_owned);
        let command = format!("printf '%s\\n' {}", line(&words).unwrap());
        let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
        let read = String::from_utf8(output.stdout).unwrap();
        assert_eq!(read.lines().collect::<Vec<_>>(), words);
        assert!(quoted("two\nlines").is_err());
    }
}
