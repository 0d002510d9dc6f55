//! Patterns of paths: `*` and `?` stay within a folder, `**` does not, `[0-9]` is one of some characters.

/// Whether the whole path is of the pattern. Takes time in proportion to the product of their lengths.
pub(super) fn matches(pattern: &str, path: &str) -> bool {
    let tokens = tokens(pattern);
    let path: Vec<char> = path.chars().collect();
    // Whether the tokens so far match the first so many characters.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    for token in &tokens {
        let mut next = vec![false; path.len() + 1];
        for at in 0..=path.len() {
            let one = at > 0 && reached[at - 1];
            next[at] = match token {
                Token::One(set) => one && set.holds(path[at - 1]),
                Token::Some => reached[at] || (at > 0 && next[at - 1] && path[at - 1] != '/'),
                Token::Any => reached[at] || (at > 0 && next[at - 1]),
                // No folder at all, or some with their last slash.
                Token::Folders => {
                    reached[at] || (at > 0 && path[at - 1] == '/' && reached[..at].contains(&true))
                }
            };
        }
        reached = next;
    }
    reached[path.len()]
}

enum Token {
    /// One character.
    One(Set),
    /// `*`
    Some,
    /// `**`
    Any,
    /// `**/`
    Folders,
}

enum Set {
    /// This.
    Only(char),
    /// Any but the slash.
    NoSlash,
    /// In one of these ranges, or in none of them.
    Ranges { ranges: Vec<(char, char)>, negated: bool },
}

impl Set {
    fn holds(&self, c: char) -> bool {
        match self {
            Self::Only(only) => *only == c,
            Self::NoSlash => c != '/',
            Self::Ranges { ranges, negated } => {
                c != '/' && ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let (token, used) = match c {
            _ if rest.starts_with("**/") => (Token::Folders, 3),
            _ if rest.starts_with("**") => (Token::Any, 2),
            '*' => (Token::Some, 1),
            '?' => (Token::One(Set::NoSlash), 1),
            '[' => match set(&rest[1..]) {
                Some((set, used)) => (Token::One(set), used + 1),
                None => (Token::One(Set::Only('[')), 1),
            },
            c => (Token::One(Set::Only(c)), c.len_utf8()),
        };
        tokens.push(token);
        rest = &rest[used..];
    }
    tokens
}

/// The inside of brackets, and its length with the closing one.
fn set(text: &str) -> Option<(Set, usize)> {
    let (body, negated) = match text.strip_prefix(['!', '^']) {
        Some(body) => (body, true),
        None => (text, false),
    };
    // A bracket that comes first stands for itself.
    let end = body.char_indices().skip(1).find(|(_, c)| *c == ']')?.0;
    let inside: Vec<char> = body[..end].chars().collect();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < inside.len() {
        let range = inside.get(at + 1) == Some(&'-') && at + 2 < inside.len();
        let last = if range { at + 2 } else { at };
        ranges.push((inside[at], inside[last]));
        at = last + 1;
    }
    Some((Set::Ranges { ranges, negated }, usize::from(negated) + end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_they_do_on_the_hub() {
        for (pattern, path, matched) in [
            ("data/train-*", "data/train-00000-of-00001.parquet", true),
            ("data/train-*", "data/train-x/y.parquet", false),
            ("data/*/train-*", "data/en/train-0.parquet", true),
            ("**/train*", "train.csv", true),
            ("**/train*", "a/b/train.csv", true),
            ("**/train*", "a/b/retrain.csv", false),
            ("a/**", "a/b/c", true),
            ("a/**/c", "a/c", true),
            ("a/**/c", "a/bc", false),
            ("t?st.csv", "test.csv", true),
            ("t?st.csv", "tst.csv", false),
            ("x-[0-9][0-9].csv", "x-07.csv", true),
            ("x-[0-9].csv", "x-a.csv", false),
            ("x-[!0-9].csv", "x-a.csv", true),
            ("x-[ab-].csv", "x--.csv", true),
            ("x[.csv", "x[.csv", true),
            ("é*", "éa", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, path), matched, "{pattern} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_its_length() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }
}
