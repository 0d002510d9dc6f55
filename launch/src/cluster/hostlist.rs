//! Lists of hosts as Slurm writes them: `node[01-03,7],gpu5` is node01, node02, node03, node7 and gpu5.

use std::str::FromStr;

/// More hosts than this are a slip of the pen.
const MOST: usize = 65_536;

/// Why a text is no list of hosts.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HostlistError {
    /// There is nothing between two commas.
    #[error("{0:?} names a host that has no name")]
    Empty(String),
    /// A bracket without its partner.
    #[error("{0:?} has a bracket without its other half")]
    Bracket(String),
    /// What stands in brackets is no number and no range of numbers.
    #[error("{range:?} in {list:?} is no range of numbers such as 01-16")]
    Range {
        /// Between two commas.
        range: String,
        /// The whole.
        list: String,
    },
    /// A character that no name of a host has.
    #[error("{list:?} has {character:?} in the name of a host")]
    Character {
        /// What is wrong.
        character: char,
        /// The whole.
        list: String,
    },
    /// There are too many.
    #[error("{0:?} names more than {MOST} hosts")]
    Many(String),
}

/// The hosts that a list names, at least one.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(pub(crate) Vec<String>);

impl FromStr for Hosts {
    type Err = HostlistError;

    fn from_str(text: &str) -> Result<Self, HostlistError> {
        expand(text).map(Self)
    }
}

/// The hosts that a list names, in its order.
///
/// # Errors
/// If the text is no such list.
pub(crate) fn expand(list: &str) -> Result<Vec<String>, HostlistError> {
    let mut hosts = Vec::new();
    for item in items(list)? {
        if item.starts_with('-') {
            return Err(HostlistError::Character { character: '-', list: list.to_owned() });
        }
        let mut found = vec![String::new()];
        for part in parts(item, list)? {
            let endings = match part {
                Part::Text(text) => vec![plain(text, list)?.to_owned()],
                Part::Ranges(ranges) => numbers(ranges, list)?,
            };
            if hosts.len() + found.len().saturating_mul(endings.len()) > MOST {
                return Err(HostlistError::Many(list.to_owned()));
            }
            let longer =
                |begin: &String| endings.iter().map(|end| format!("{begin}{end}")).collect::<Vec<_>>();
            found = found.iter().flat_map(longer).collect();
        }
        hosts.append(&mut found);
    }
    Ok(hosts)
}

/// A piece of one item of a list.
enum Part<'a> {
    Text(&'a str),
    /// What stands between brackets.
    Ranges(&'a str),
}

/// What stands between the commas that are in no brackets.
fn items(list: &str) -> Result<Vec<&str>, HostlistError> {
    let (mut items, mut begin, mut is_open) = (Vec::new(), 0, false);
    for (place, character) in list.char_indices() {
        match character {
            '[' if !is_open => is_open = true,
            ']' if is_open => is_open = false,
            '[' | ']' => return Err(HostlistError::Bracket(list.to_owned())),
            ',' if !is_open => {
                items.push(&list[begin..place]);
                begin = place + 1;
            }
            _ => {}
        }
    }
    items.push(&list[begin..]);
    match is_open {
        true => Err(HostlistError::Bracket(list.to_owned())),
        false if items.iter().any(|item| item.is_empty()) => Err(HostlistError::Empty(list.to_owned())),
        false => Ok(items),
    }
}

fn parts<'a>(item: &'a str, list: &str) -> Result<Vec<Part<'a>>, HostlistError> {
    let (mut parts, mut rest) = (Vec::new(), item);
    while let Some((text, after)) = rest.split_once('[') {
        let broken = || HostlistError::Bracket(list.to_owned());
        let (ranges, after) = after.split_once(']').ok_or_else(broken)?;
        parts.extend((!text.is_empty()).then_some(Part::Text(text)));
        parts.push(Part::Ranges(ranges));
        rest = after;
    }
    parts.extend((!rest.is_empty()).then_some(Part::Text(rest)));
    Ok(parts)
}

/// A name goes into commands: nothing in it means anything to a shell.
fn plain<'a>(text: &'a str, list: &str) -> Result<&'a str, HostlistError> {
    let is_known = |character: char| character.is_ascii_alphanumeric() || "-_.:@%".contains(character);
    match text.chars().find(|&character| !is_known(character)) {
        Some(character) => Err(HostlistError::Character { character, list: list.to_owned() }),
        None => Ok(text),
    }
}

/// The numbers of `01-03,7`, each as wide as where its range begins.
fn numbers(ranges: &str, list: &str) -> Result<Vec<String>, HostlistError> {
    let mut numbers = Vec::new();
    for range in ranges.split(',') {
        let wrong = || HostlistError::Range { range: range.to_owned(), list: list.to_owned() };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (from, to) = (number(first).ok_or_else(wrong)?, number(last).ok_or_else(wrong)?);
        if from > to {
            return Err(wrong());
        }
        if (to - from) as usize >= MOST - numbers.len().min(MOST) {
            return Err(HostlistError::Many(list.to_owned()));
        }
        let width = first.len();
        numbers.extend((from..=to).map(|number| format!("{number:0width$}")));
    }
    Ok(numbers)
}

/// A number without a sign.
fn number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn brackets_stand_for_numbers() {
        for (list, hosts) in [
            ("a", vec!["a"]),
            ("node[01-03,7],gpu5", vec!["node01", "node02", "node03", "node7", "gpu5"]),
            ("rack[1-2]n[8-9]x", vec!["rack1n8x", "rack1n9x", "rack2n8x", "rack2n9x"]),
            ("n[9-11]", vec!["n9", "n10", "n11"]),
            ("10.0.0.[1-2],me@host.example", vec!["10.0.0.1", "10.0.0.2", "me@host.example"]),
            ("[1-2]", vec!["1", "2"]),
            ("n[1]-ib", vec!["n1-ib"]),
        ] {
            assert_eq!(expand(list).unwrap(), hosts, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for (list, said) in [
            ("", "no name"),
            ("a,", "no name"),
            ("a,,b", "no name"),
            ("a[1-2", "other half"),
            ("a]", "other half"),
            ("a[[1]]", "other half"),
            ("a[]", "no range"),
            ("a[3-1]", "no range"),
            ("a[1-x]", "no range"),
            ("a[+1]", "no range"),
            ("a[1-2-3]", "no range"),
            ("a;b", "';'"),
            ("a b", "' '"),
            ("a=b", "'='"),
            ("a,-oProxyCommand", "'-'"),
            ("n[1-65537]", "more than"),
            ("n[0-4294967295]", "more than"),
            ("a[1-300]b[1-300]", "more than"),
        ] {
            let error = expand(list).unwrap_err().to_string();
            assert!(error.contains(said), "{list}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_list_names_what_it_was_written_from(
            items in prop::collection::vec(("[a-z][a-z0-9]{0,5}", prop::collection::vec((0u32..2000, 0u32..9, 1usize..6), 0..4)), 1..5)
        ) {
            let (mut list, mut hosts) = (Vec::new(), Vec::new());
            for (name, ranges) in items {
                let mut texts = Vec::new();
                for (from, more, width) in ranges {
                    let to = from + more;
                    texts.push(match more {
                        0 => format!("{from:0width$}"),
                        _ => format!("{from:0width$}-{to:0width$}"),
                    });
                    let wide = format!("{from:0width$}").len();
                    hosts.extend((from..=to).map(|number| format!("{name}{number:0wide$}")));
                }
                if texts.is_empty() {
                    list.push(name.clone());
                    hosts.push(name);
                } else {
                    list.push(format!("{name}[{}]", texts.join(",")));
                }
            }
            prop_assert_eq!(expand(&list.join(",")).unwrap(), hosts);
        }

        #[test]
        fn no_text_breaks_it(list in "[a-z0-9\\[\\],\\-]{0,40}") {
            let _ = expand(&list);
        }
    }
}
