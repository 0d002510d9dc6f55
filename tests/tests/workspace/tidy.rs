//! How files are kept: a doc line first, none too long, nothing unfinished, no dead links.

use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 500;
/// Kinds of files that people write and read as text.
const TEXT: [&str; 11] = ["rs", "toml", "md", "proto", "cpp", "h", "py", "sh", "sql", "yaml", "yml"];
/// The crates that may be unsafe: the border to C++, and communication.
const UNSAFE: [&str; 2] = ["worker/torch-shim/", "worker/collective/"];

struct Source {
    /// Relative to the root of the checkout.
    path: String,
    text: String,
}

impl Source {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// The text files of the checkout, without what `.gitignore` names.
fn sources() -> Vec<Source> {
    let root = fulcrum_tests::repository();
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap();
    let ignored: Vec<_> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
    let mut sources = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let relative = path.strip_prefix(&root).unwrap().display().to_string();
            if relative == ".git"
                || ignored.iter().any(|pattern| matches(&relative, pattern))
                || path.is_symlink()
            {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| TEXT.iter().any(|extension| found == *extension)) {
                sources.push(Source { path: relative, text: fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(sources.len() > 50, "only {} files found", sources.len());
    sources
}

/// A pattern of `.gitignore` here is a name in the root, or its beginning before a star.
fn matches(path: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').map_or(path == pattern, |beginning| path.starts_with(beginning))
}

/// Fails with all complaints of a rule at once.
fn check(rule: impl Fn(&Source) -> Vec<String>) {
    let complaints: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The numbers of the lines in which one of the patterns stands.
fn lines_with(source: &Source, patterns: &[String]) -> Vec<String> {
    let lines = source.text.lines().enumerate();
    let hits = lines.filter(|(_, line)| patterns.iter().any(|pattern| line.contains(pattern.as_str())));
    hits.map(|(index, line)| format!("{}:{}: {}", source.path, index + 1, line.trim())).collect()
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    check(|source| match source.is("rs") && !source.text.starts_with("//! ") {
        true => vec![format!("{}: does not start with `//! `", source.path)],
        false => Vec::new(),
    });
}

#[test]
fn no_file_of_code_is_too_long() {
    check(|source| {
        let lines = source.text.lines().count();
        let code = ["rs", "cpp", "py", "proto"].iter().any(|extension| source.is(extension));
        match code && lines > LINES_MAX {
            true => vec![format!("{}: {lines} lines, and {LINES_MAX} are the most", source.path)],
            false => Vec::new(),
        }
    });
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, as this file is checked too.
    let patterns = [["to", "do!("], ["unimple", "mented!("], ["#[ig", "nore"], ["FIX", "ME"], ["TO", "DO"]];
    let patterns = patterns.map(|halves| halves.concat());
    check(|source| if source.is("md") { Vec::new() } else { lines_with(source, &patterns) });
}

#[test]
fn unsafe_stays_at_the_border() {
    let patterns =
        ["{", "fn", "impl", "extern", "trait"].map(|after| format!("{} {after}", ["un", "safe"].concat()));
    check(|source| match source.is("rs") && !UNSAFE.iter().any(|place| source.path.starts_with(place)) {
        true => lines_with(source, &patterns),
        false => Vec::new(),
    });
}

#[test]
fn lines_end_where_their_text_ends() {
    check(|source| {
        let trailing = source.text.lines().enumerate().filter(|(_, line)| line.trim_end() != *line);
        let mut complaints: Vec<_> = trailing
            .map(|(index, _)| format!("{}:{}: trailing whitespace", source.path, index + 1))
            .collect();
        if !source.text.is_empty() && !source.text.ends_with('\n') {
            complaints.push(format!("{}: no newline at the end", source.path));
        }
        complaints
    });
}

#[test]
fn relative_links_lead_somewhere() {
    let root = fulcrum_tests::repository();
    check(|source| {
        if !source.is("md") {
            return Vec::new();
        }
        let folder = root.join(&source.path).parent().map(Path::to_path_buf).unwrap_or_default();
        let dead = links(&source.text).into_iter().filter(|link| !folder.join(link).exists());
        dead.map(|link| format!("{}: dead link to {}", source.path, link.display())).collect()
    });
}

/// The files that a page of Markdown links to, without anchors and other hosts.
fn links(text: &str) -> Vec<PathBuf> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
    let files = targets.filter(|target| !target.contains("://") && !target.starts_with(['#', '<']));
    let paths = files.filter_map(|target| target.split('#').next());
    paths.filter(|path| !path.is_empty() && !path.starts_with("mailto:")).map(PathBuf::from).collect()
}

#[test]
fn links_are_found_in_a_page() {
    let page = "See [a](a.md), [b](../b.md#part \"title\"), [c](https://c.org/x) and [d](#here).";
    assert_eq!(links(page), [PathBuf::from("a.md"), PathBuf::from("../b.md")]);
}

#[test]
fn patterns_of_gitignore_match_names_in_the_root() {
    for (path, pattern, matched) in
        [("target", "target", true), ("targets", "target", false), (".libtorch.new", ".libtorch.*", true)]
    {
        assert_eq!(matches(path, pattern), matched, "{path} by {pattern}");
    }
}
