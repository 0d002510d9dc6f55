//! Patterns of names, in which `*` stands for any characters, or none.

/// Whether a pattern describes a name.
pub fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(name) = name.strip_prefix(start) else { return false };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut name) = name.strip_suffix(end) else { return false };
    // Taking each piece where it first occurs leaves most to the others.
    for piece in middle.split('*') {
        let Some(at) = name.find(piece) else { return false };
        name = &name[at + piece.len()..];
    }
    true
}

/// The names most like a pattern that matches none, for a message.
pub fn nearest<'a>(pattern: &str, names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let likeness = |name: &str| strsim::normalized_levenshtein(pattern, name);
    let mut names: Vec<_> = names.collect();
    names.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
    names.truncate(SHOWN);
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        let cases = [
            ("h.0.ln.weight", "h.0.ln.weight", true),
            ("h.0.ln", "h.0.ln.weight", false),
            ("h.0.*", "h.0.ln.weight", true),
            ("h.0.*", "h.0.", true),
            ("h.1.*", "h.10.ln.weight", false),
            ("*.bias", "h.0.ln.bias", true),
            ("*.bias", "h.0.bias.weight", false),
            ("*", "", true),
            ("*ln*", "h.0.ln.weight", true),
            ("h.*.ln.*", "h.0.mlp.weight", false),
            ("h.*.ln.*t", "h.0.ln.weight", true),
            ("a*a", "a", false),
            ("a*b*b", "ab", false),
            ("a**b", "ab", true),
            ("*ab*ab*", "abab", true),
            ("*ab*ab*", "abb", false),
            ("", "h", false),
        ];
        for (pattern, name, expected) in cases {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
