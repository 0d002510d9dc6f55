//! `docs/experiment.md`, generated from the table of keys.

use std::fmt::Write;

use super::keys::{self, Default, Description, KeyDescription};

const INTRODUCTION: &str = "\
# The experiment file

An experiment is one TOML file. `fulcrum plan FILE` checks it and shows what would be done; `fulcrum run FILE` does it.
A key that is not listed here is refused, and so is a section that the experiment does not read. What is left out has
the default given here; keys marked **required** have none.

This page is generated from the program. To refresh it after a change of keys, run
`FULCRUM_BLESS=1 cargo test -p fulcrum-common --lib reference`.
";

/// The reference of all sections and keys, in Markdown.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in keys::all() {
        write_section(&mut page, &section);
    }
    page
}

fn write_section(page: &mut String, section: &Description) {
    let title = match section.path {
        "" => "Before the first section".to_owned(),
        list @ ("model" | "method") => format!("`[[{list}]]`"),
        path => format!("`[{path}]`"),
    };
    let mut write = |text: String| page.write_str(&text).expect("a string takes any text");
    write(format!("\n## {title}\n\n{}\n", paragraph(section.doc)));
    if !section.keys.is_empty() {
        write("\n| key | must be | default | meaning |\n|---|---|---|---|\n".to_owned());
    }
    for KeyDescription { name, kind, default, doc } in &section.keys {
        let default = match default {
            Default::Required => "**required**".to_owned(),
            Default::Value(value) => format!("`{value}`"),
            Default::Words(words) => (*words).to_owned(),
        };
        write(format!("| `{name}` | {kind} | {default} | {} |\n", paragraph(doc)));
    }
}

/// The lines of a doc comment as one.
fn paragraph(doc: &str) -> String {
    doc.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_reference_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/experiment.md");
        if std::env::var_os("FULCRUM_BLESS").is_some() {
            std::fs::write(path, reference()).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == reference(),
            "docs/experiment.md is out of date: run `FULCRUM_BLESS=1 cargo test -p fulcrum-common --lib reference`"
        );
    }

    #[test]
    fn every_key_is_described() {
        for section in keys::all() {
            assert!(!paragraph(section.doc).is_empty(), "[{}]", section.path);
            for key in section.keys {
                assert!(paragraph(key.doc).ends_with('.'), "{}.{}", section.path, key.name);
            }
        }
    }
}
