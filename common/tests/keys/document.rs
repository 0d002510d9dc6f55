//! A TOML file as sections of one-line entries, so that a test can edit it and lay it out anew.

use std::fmt;

#[derive(Clone, Debug)]
pub(crate) struct Document {
    sections: Vec<Section>,
}

#[derive(Clone, Debug)]
struct Section {
    /// As written, e.g. `[[model]]`; empty before the first header.
    header: String,
    /// Key and value of each line.
    entries: Vec<(String, String)>,
}

impl Section {
    fn name(&self) -> &str {
        self.header.trim_matches(['[', ']'])
    }
}

impl Document {
    /// Takes a file apart. It must not have comments or values over several lines.
    pub(crate) fn parse(text: &str) -> Self {
        let mut sections = vec![Section { header: String::new(), entries: Vec::new() }];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once('=') {
                Some((key, value)) if !line.starts_with('[') => {
                    let entry = (key.trim().to_owned(), value.trim().to_owned());
                    sections.last_mut().unwrap().entries.push(entry);
                }
                _ => sections.push(Section { header: line.to_owned(), entries: Vec::new() }),
            }
        }
        Self { sections }
    }

    /// Gives a key another value, in the first section of that name.
    pub(crate) fn set(&mut self, section: &str, key: &str, value: &str) {
        if !self.sections.iter().any(|found| found.name() == section) {
            self.sections.push(Section { header: format!("[{section}]"), entries: Vec::new() });
        }
        let found = self.sections.iter_mut().find(|found| found.name() == section).unwrap();
        found.entries.retain(|(name, _)| name != key);
        found.entries.push((key.to_owned(), value.to_owned()));
    }

    /// Takes a key out of the sections of that name.
    pub(crate) fn unset(&mut self, section: &str, key: &str) {
        for found in self.sections.iter_mut().filter(|found| found.name() == section) {
            found.entries.retain(|(name, _)| name != key);
        }
    }

    /// Removes the sections of that name that have `value` somewhere; all of that name if it is empty.
    pub(crate) fn remove_section(&mut self, name: &str, value: &str) {
        let has =
            |section: &Section| value.is_empty() || section.entries.iter().any(|(_, found)| found == value);
        self.sections.retain(|section| section.name() != name || !has(section));
    }

    /// The same content in another order and with other white space and comments, as `seed` has it. The models keep
    /// their order, which is part of the content.
    pub(crate) fn shuffled(&self, seed: &[u8; 32]) -> String {
        let mut draws = seed.iter().cycle().zip(1..).map(|(byte, i)| usize::from(*byte).wrapping_mul(i) / 3);
        let mut draw = move |below: usize| draws.next().unwrap() % below.max(1);
        let models = self.sections.iter().filter(|section| section.name() == "model");
        let mut text = String::new();
        let mut rest: Vec<Section> = self.sections.clone();
        let mut models = models.cloned();
        // The keys without a header can only stand first.
        let mut order = vec![rest.remove(0)];
        while !rest.is_empty() {
            let next = rest.remove(draw(rest.len()));
            order.push(if next.name() == "model" { models.next().unwrap() } else { next });
        }
        for mut section in order {
            text.push_str(&format!("{}  # {}\n", section.header, "note ".repeat(draw(3))));
            while !section.entries.is_empty() {
                let (key, value) = section.entries.remove(draw(section.entries.len()));
                let (pad, blank) = (" ".repeat(draw(4)), "\n# a remark\n".repeat(draw(2)));
                text.push_str(&format!("{blank}{pad}{key}{pad} ={pad}{value}{pad}\n"));
            }
        }
        text
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Section { header, entries } in &self.sections {
            writeln!(f, "{header}")?;
            for (key, value) in entries {
                writeln!(f, "{key} = {value}")?;
            }
        }
        Ok(())
    }
}
