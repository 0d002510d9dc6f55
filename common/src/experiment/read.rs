//! TOML text to raw sections: types, ranges and unknown keys, with the line of each.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    keys::{self, Field, Raw, Section},
    problem::Log,
    value::{Value, Wrong},
};

/// A table of the file (or the absence of one), and the log that its problems go to.
pub(super) struct Table<'a> {
    path: &'static str,
    log: &'a Log<'a>,
    /// Line of the header and the entries.
    found: Option<(usize, &'a DeTable<'a>)>,
}

impl<'a> Table<'a> {
    /// Line of the header; none where the file has no such table.
    pub(super) fn line(&self) -> Option<usize> {
        self.found.map(|(line, _)| line)
    }

    /// Reads one key; none after a problem, which goes to the log.
    pub(super) fn field<T: Value>(&self, name: &str, default: Option<T>) -> Option<Field<T>> {
        let path = dotted(self.path, name);
        let entry = self.found.and_then(|(_, entries)| entry(entries, name));
        let Some((key, value)) = entry else {
            if default.is_none() {
                self.log.add(self.line(), format!("{path} is missing: it must be {}", T::kind()));
            }
            return default.map(|value| Field { value, line: None });
        };
        let line = Some(self.log.line(&key.span()));
        match T::read(value.get_ref()) {
            Ok(value) => return Some(Field { value, line }),
            Err(Wrong::Because(why)) => self.log.add(line, format!("{path} {why}")),
            Err(Wrong::Kind) => {
                let found = self.log.snippet(&value.span());
                self.log.add(line, format!("{path} must be {}, not {found}", T::kind()));
            }
        }
        None
    }
}

/// What a file says of its tasks.
pub(super) enum Tasks {
    /// It has `[task]`.
    One(Box<Raw>),
    /// It has `[[task]]`: the whole file for each of them.
    List(Vec<Raw>),
}

/// Reads all sections, for each task. None if any is wrong: the log says why.
pub(super) fn read(text: &str, log: &Log<'_>) -> Option<Tasks> {
    let root = toml(text, log)?;
    File { root: &root, log }.refuse_unknown(&root, "");
    let Some(roots) = by_task(&root) else {
        return sections(&File { root: &root, log }).map(|raw| Tasks::One(Box::new(raw)));
    };
    // Every task is read before the first failure counts, as every section is below.
    let raws: Vec<_> = roots.iter().map(|root| sections(&File { root, log })).collect();
    raws.into_iter().collect::<Option<_>>().map(Tasks::List)
}

/// The file as it would be with each of its tasks alone, where it has a list of them.
fn by_task<'a>(root: &'a DeTable<'a>) -> Option<Vec<DeTable<'a>>> {
    let (key, value) = entry(root, keys::Task::PATH)?;
    let list = value.get_ref().as_array().filter(|list| !list.is_empty())?;
    let alone = |task: &Spanned<DeValue<'a>>| {
        // The header of this task, and not that of the first, is the line of what is wrong with it.
        let own = Spanned::new(task.span(), key.get_ref().clone());
        let others = root.iter().filter(|(other, _)| *other != key);
        let others = others.map(|(key, value)| (key.clone(), value.clone()));
        others.chain([(own, task.clone())]).collect()
    };
    Some(list.iter().map(alone).collect())
}

fn sections(file: &File<'_>) -> Option<Raw> {
    // Every section is read before the first failure counts, so that one run names all problems.
    let (top, task, split) = (file.section(), file.section(), file.section());
    let (arithmetic, mixture, mates) = (file.section(), file.section(), file.section());
    let (pretrain, methods) = (file.section(), file.section());
    let (naive, confidence, kl, product) = (file.section(), file.section(), file.section(), file.section());
    let (entropy, window, generalized, smoothing) =
        (file.section(), file.section(), file.section(), file.section());
    let train = file.section();
    let (lora, grid, infer, parallel) = (file.section(), file.section(), file.section(), file.section());
    let (checkpoint, cluster, store, report) =
        (file.section(), file.section(), file.section(), file.section());
    let (models, made) = (file.list(), file.list());
    Some(Raw {
        top: top?,
        task: task?,
        split: split?,
        arithmetic: arithmetic?,
        mixture: mixture?,
        mates: mates?,
        models: models?,
        pretrain: pretrain?,
        methods: methods?,
        naive: naive?,
        confidence: confidence?,
        kl: kl?,
        product: product?,
        entropy: entropy?,
        window: window?,
        generalized: generalized?,
        smoothing: smoothing?,
        made: made?,
        train: train?,
        lora: lora?,
        grid: grid?,
        infer: infer?,
        parallel: parallel?,
        checkpoint: checkpoint?,
        cluster: cluster?,
        store: store?,
        report: report?,
    })
}

/// Reads the keys of `[train]`, and its section `[lora]`, from a text that is nothing else.
pub(super) fn training(text: &str, log: &Log<'_>) -> Option<(keys::Train, keys::Lora)> {
    let root = toml(text, log)?;
    let path = keys::Train::PATH;
    File { root: &root, log }.refuse_unknown(&root, path);
    let lora = entry(&root, "lora")
        .and_then(|(key, value)| Some((log.line(&key.span()), value.get_ref().as_table()?)));
    let train = keys::Train::read(&Table { path, log, found: Some((1, &root)) });
    let lora = keys::Lora::read(&Table { path: keys::Lora::PATH, log, found: lora });
    Some((train?, lora?))
}

fn toml<'a>(text: &'a str, log: &Log<'_>) -> Option<DeTable<'a>> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        log.add(error.span().map(|span| log.line(&span)), format!("not TOML: {}", error.message()));
    }
    errors.is_empty().then(|| root.into_inner())
}

struct File<'a> {
    root: &'a DeTable<'a>,
    log: &'a Log<'a>,
}

impl<'a> File<'a> {
    fn section<S: Section>(&self) -> Option<S> {
        let mut found = Some((1, self.root));
        for name in S::PATH.split('.').filter(|name| !name.is_empty()) {
            let Some((key, value)) = found.and_then(|(_, entries)| entry(entries, name)) else {
                found = None;
                break;
            };
            let line = self.log.line(&key.span());
            match value.get_ref().as_table() {
                Some(entries) => found = Some((line, entries)),
                None => {
                    self.log.add(Some(line), format!("{} must be a table", S::PATH));
                    return None;
                }
            }
        }
        S::read(&Table { path: S::PATH, log: self.log, found })
    }

    /// Reads the sections of which a file may have several.
    fn list<S: Section>(&self) -> Option<Vec<S>> {
        let path = S::PATH;
        let Some((key, value)) = entry(self.root, path) else { return Some(Vec::new()) };
        let tables = value.get_ref().as_array().and_then(|array| {
            let table = |entry: &'a Spanned<DeValue<'a>>| {
                Some((self.log.line(&entry.span()), entry.get_ref().as_table()?))
            };
            array.iter().map(table).collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            let line = self.log.line(&key.span());
            let way_out = format!("write [[{path}]], one for each {path}");
            self.log.add(Some(line), format!("{path} must be a list of tables: {way_out}"));
            return None;
        };
        let read = |found| S::read(&Table { path, log: self.log, found: Some(found) });
        let sections: Vec<_> = tables.into_iter().map(read).collect();
        sections.into_iter().collect()
    }

    /// Reports every key below `path` that the table of keys does not know.
    fn refuse_unknown(&self, entries: &DeTable<'_>, path: &str) {
        let sections = keys::all();
        for (key, value) in entries {
            let name = dotted(path, key.get_ref());
            let is_key =
                sections.iter().any(|s| s.path == path && s.keys.iter().any(|k| k.name == key.get_ref()));
            let is_section = sections.iter().any(|section| section.path == name);
            if !is_key && !is_section {
                self.log.add(Some(self.log.line(&key.span())), unknown(&sections, path, &name));
            } else if is_section {
                match value.get_ref() {
                    DeValue::Table(table) => self.refuse_unknown(table, &name),
                    DeValue::Array(array) => {
                        let tables = array.iter().filter_map(|entry| entry.get_ref().as_table());
                        tables.for_each(|table| self.refuse_unknown(table, &name));
                    }
                    _ => {}
                }
            }
        }
    }
}

/// Below this likeness a guess would be no help.
const LIKE: f64 = 0.75;

/// What to say of the unknown key `name` found in section `path`.
fn unknown(sections: &[keys::Description], path: &str, name: &str) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_lowercase();
    let wanted = last(name);
    let of_section = |section: &keys::Description| {
        let keys: Vec<_> = section.keys.iter().map(|key| dotted(section.path, key.name)).collect();
        keys
    };
    let known = sections.iter().flat_map(|section| {
        let own_name = (!section.path.is_empty()).then(|| section.path.to_owned());
        of_section(section).into_iter().chain(own_name)
    });
    let near = |candidate: &String| {
        let home = candidate.rsplit_once('.').map_or("", |(section, _)| section) == path;
        // A misspelling is likelier than a key in the wrong section.
        strsim::jaro_winkler(&wanted, &last(candidate)) + if home { 0.1 } else { 0.0 }
    };
    let best = known.map(|candidate| (near(&candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, candidate)) if likeness >= LIKE => {
            format!("{name} is not a key; did you mean {candidate}?")
        }
        _ => {
            let here = sections.iter().filter(|section| section.path == path).flat_map(of_section);
            let below = sections
                .iter()
                .map(|s| s.path)
                .filter(|p| path.is_empty() && !p.is_empty() && !p.contains('.'));
            let all: Vec<String> = here.chain(below.map(str::to_owned)).collect();
            format!("{name} is not a key; known here: {}", all.join(", "))
        }
    }
}

fn dotted(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

type Entry<'a> = (&'a Spanned<Cow<'a, str>>, &'a Spanned<DeValue<'a>>);

fn entry<'a>(table: &'a DeTable<'a>, name: &str) -> Option<Entry<'a>> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}
