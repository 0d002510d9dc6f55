//! From the source that a plan names to the tables of a prepared artifact, whether files or generated.
//!
//! Rows flow from source through format to the writer one at a time. A split reads its source twice or more: once for
//! the compact [`Records`] by which it decides, once more for each look at lengths, and last to write what was chosen.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use fulcrum_common::plan::{Duplicates, Format, Source, SplitRule};

use crate::{
    Table, Tokenizer, arithmetic,
    chess::mates,
    error::{DataError, Result},
    format::{Example, Formatter},
    mixture,
    source::{self, Row, SourceFile},
    split::{Lengths, Manifest, Records, split},
    table::{Columns, TableRow, TableWriter},
    tokenizer::Limits,
};

/// Looks at lengths in which only rows are measured that would be taken; what the next one finds unmeasured makes it
/// measure all.
const CHOSEN_LOOKS: usize = 3;

/// A source that can be read again and again: `paths` are where its files lie on this machine, in the plan's order.
#[derive(Clone, Copy, Debug)]
pub struct Dataset<'a> {
    /// What the plan names.
    pub source: &'a Source,
    /// Where the files lie.
    pub paths: &'a [PathBuf],
    /// How a row becomes examples.
    pub format: &'a Format,
}

/// A source that was written as one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Rows of the table.
    pub rows: usize,
    /// Rows of the source that gave none, see [`ExampleReader::passed_over`].
    pub passed_over: usize,
}

/// Reads a source row by row and formats it.
pub struct ExampleReader {
    formatter: Formatter,
    rows: Box<dyn Iterator<Item = Result<Row>>>,
    /// Examples of the row that was read last.
    waiting: std::vec::IntoIter<Example>,
    /// Rows so far that gave no example: pairs whose texts are equal, or one of them empty.
    pub passed_over: usize,
}

impl Iterator for ExampleReader {
    type Item = Result<Example>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(example) = self.waiting.next() {
                return Some(Ok(example));
            }
            match self.rows.next()?.and_then(|row| self.formatter.format(&row)) {
                Ok(examples) => {
                    self.passed_over += usize::from(examples.is_empty());
                    self.waiting = examples.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A bound on tokens that holds for every model of an experiment.
#[derive(Debug)]
pub struct Longest {
    /// More tokens than this are too many.
    pub tokens: usize,
    /// The models' tokenizers, with what each model sets to its sequences.
    pub models: Vec<(Tokenizer, Limits)>,
}

impl Longest {
    /// Whether any of the models would read the example without its end.
    fn is_over(&self, example: &Example) -> Result<bool> {
        for (tokenizer, limits) in &self.models {
            if example.other.is_none() {
                if tokenizer.row(example.prompt.as_deref(), &example.text, limits)?.truncated {
                    return Ok(true);
                }
                continue;
            }
            for text in example.texts() {
                if tokenizer.ending(example.prompt.as_deref(), text, limits)?.truncated {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Dataset<'_> {
    /// The examples in the order of the source; the place of each is its row id.
    ///
    /// # Errors
    /// Each that cannot be read or does not fit the format, with file, line and the way out.
    pub fn examples(&self) -> Result<ExampleReader> {
        let (formatter, rows) = (Formatter::new(self.format)?, self.rows()?);
        Ok(ExampleReader { formatter, rows, waiting: Vec::new().into_iter(), passed_over: 0 })
    }

    pub(crate) fn rows(&self) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
        Ok(match self.source {
            Source::Arithmetic(task) => Box::new(arithmetic::rows(task)?),
            Source::ArithmeticQuestions(task) => Box::new(arithmetic::questions::rows(task)?),
            Source::Mixture(task) => Box::new(mixture::rows(task)?),
            Source::MateInOne(task) => Box::new(mates::rows(task)?),
            Source::Files { .. } => {
                Box::new(source::read(located(self.source, self.paths)?, self.format.columns()))
            }
        })
    }

    fn columns(&self) -> Result<Columns> {
        let formatter = Formatter::new(self.format)?;
        Ok(Columns {
            labels: formatter.labelled(),
            groups: formatter.grouped(),
            prompts: formatter.prompted(),
            others: formatter.paired(),
        })
    }

    /// Splits the source by a rule and writes each part's table into `folder`.
    ///
    /// # Errors
    /// The first row that cannot be read or does not fit the format, with file, line and the way out; a rule that the
    /// source has too few rows for; texts that parts share where the rule refuses them.
    pub fn split_into(&self, folder: &Path, rule: &SplitRule, longest: Option<&Longest>) -> Result<Manifest> {
        let columns = self.columns()?;
        let mut examples = self.examples()?;
        let mut records = Records::collect(&mut examples, (columns.labels, columns.groups), rule.seed)?;
        records.passed_over = examples.passed_over;
        let mut lengths = Lengths { most: longest.map(|longest| longest.tokens), measured: HashMap::new() };
        let mut split_by = split(&records, rule, &lengths)?;
        for look in 0.. {
            let Some(longest) = longest.filter(|_| !split_by.unmeasured.is_empty()) else { break };
            let chosen = (look < CHOSEN_LOOKS).then_some(split_by.unmeasured.as_slice());
            self.measure(longest, chosen, &mut lengths.measured)?;
            split_by = split(&records, rule, &lengths)?;
        }
        let mut manifest = split_by.manifest;
        if rule.duplicates == Duplicates::Refuse && manifest.duplicates.rows > 0 {
            return Err(self.refuse(manifest)?);
        }
        let mut parts = Vec::new();
        for (part, places) in split_by.parts {
            let writer = TableWriter::create(&folder.join(part.file()), columns)?;
            parts.push((writer, places.into_iter().peekable()));
        }
        for (place, example) in (0..).zip(self.examples()?) {
            let example = example?;
            manifest.duplicates.tell(place.into(), &example.text);
            for (writer, places) in &mut parts {
                if places.next_if_eq(&place).is_some() {
                    let group = columns.groups.then(|| records.group(place).into());
                    writer.push(row(place.into(), &example, group))?;
                }
            }
        }
        parts.into_iter().try_for_each(|(writer, _)| writer.finish())?;
        Ok(manifest)
    }

    /// Measures the rows at these places, or all.
    fn measure(
        &self,
        longest: &Longest,
        chosen: Option<&[u32]>,
        measured: &mut HashMap<u32, bool>,
    ) -> Result<()> {
        let mut chosen = chosen.map(<[u32]>::to_vec);
        chosen.iter_mut().for_each(|places| places.sort_unstable());
        let mut next = chosen.as_ref().map(|places| places.iter().copied().peekable());
        for (place, example) in (0..).zip(self.examples()?) {
            let example = example?;
            let asked = next.as_mut().is_none_or(|places| places.next_if_eq(&place).is_some());
            if asked && !measured.contains_key(&place) {
                measured.insert(place, longest.is_over(&example)?);
            }
        }
        Ok(())
    }

    /// Says which texts parts share.
    fn refuse(&self, mut manifest: Manifest) -> Result<DataError> {
        for (place, example) in (0..).zip(self.examples()?) {
            manifest.duplicates.tell(place, &example?.text);
        }
        let (rows, pairs) = (manifest.duplicates.rows, manifest.duplicates.line());
        let copy = manifest.duplicates.pairs.iter().flat_map(|pair| &pair.examples).next();
        let first = copy.map_or_else(String::new, |copy| {
            format!(" (row {} has the text of row {}: {:?})", copy.row, copy.copy_of, copy.text)
        });
        Ok(DataError::value(format!(
            "{rows} texts are in two parts of the split: {pairs}{first}; task.split.duplicates = \"drop\" leaves the \
             later ones out"
        )))
    }

    /// Writes the whole source as one table.
    ///
    /// # Errors
    /// The first row that cannot be read or does not fit the format, with file, line and the way out.
    pub fn write(&self, path: &Path) -> Result<Written> {
        let columns = self.columns()?;
        let mut groups = HashMap::new();
        let mut writer = TableWriter::create(path, columns)?;
        let mut examples = self.examples()?;
        for (place, example) in (0..).zip(&mut examples) {
            let example = example?;
            let group = example.group.as_ref().map(|group| {
                // A digest, so that what is remembered of a group does not grow with its value.
                *groups.entry(blake3::hash(group.as_bytes())).or_insert(place)
            });
            writer.push(row(place, &example, group))?;
        }
        let written = Written { rows: writer.len(), passed_over: examples.passed_over };
        writer.finish()?;
        Ok(written)
    }
}

/// Writes the texts of a source for language modelling, of files their column `text`, and says how many there are.
///
/// # Errors
/// As [`Dataset::write`].
pub fn corpus(source: &Source, paths: &[PathBuf], path: &Path) -> Result<usize> {
    let generated: Option<Table> = match source {
        Source::Arithmetic(task) => Some(arithmetic::corpus(task)?),
        Source::MateInOne(task) => Some(mates::corpus(task)?),
        Source::ArithmeticQuestions(_) | Source::Mixture(_) | Source::Files { .. } => None,
    };
    if let Some(table) = generated {
        table.write(path)?;
        return Ok(table.len());
    }
    Ok(Dataset { source, paths, format: &Format::unlabelled("{{ text }}") }.write(path)?.rows)
}

fn row(row: i64, example: &Example, group: Option<i64>) -> TableRow<'_> {
    let (prompt, other) = (example.prompt.as_deref(), example.other.as_deref());
    TableRow { row, text: &example.text, label: example.label, group, prompt, other }
}

/// The source's files with their places; those of the plan have names, those of the machine have paths.
pub(crate) fn located(source: &Source, paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
    let Source::Files { files } = source else { return Ok(Vec::new()) };
    if files.len() != paths.len() {
        let (files, paths) = (files.len(), paths.len());
        return Err(DataError::value(format!("the source has {files} files, but {paths} were located")));
    }
    let pairs = files.iter().zip(paths);
    Ok(pairs.map(|(file, path)| SourceFile { name: file.name.clone(), path: path.clone() }).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fulcrum_common::{
        Key,
        plan::{Arithmetic, FileDigest, Form, Part, Pick, Templates},
    };

    use super::*;
    use crate::{split::ORDER, tokenizer::character_tokenizer};

    /// A source of one file, written into a folder of its own.
    struct Scene {
        folder: tempfile::TempDir,
        source: Source,
        paths: [PathBuf; 1],
        format: Format,
    }

    impl Scene {
        fn new(name: &str, bytes: &[u8]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let paths = [folder.path().join("file-0")];
            fs::write(&paths[0], bytes).unwrap();
            fs::create_dir(folder.path().join("out")).unwrap();
            let files = vec![FileDigest { name: name.to_owned(), digest: Key::of(bytes) }];
            Self { folder, source: Source::Files { files }, paths, format: Format::arithmetic() }
        }

        /// `rows` claims in two classes, grouped by their number over 3.
        fn claims(rows: usize) -> Self {
            let line = |i: usize| {
                let (class, text) = (["right", "wrong"][i % 2], "1".repeat(1 + i % 9));
                format!("{{\"text\":\"{i}={text}\",\"label\":\"{class}\",\"question\":{}}}\n", i / 3)
            };
            let mut scene = Self::new("a.jsonl", (0..rows).map(line).collect::<String>().as_bytes());
            let classes = Arithmetic::CLASSES.map(str::to_owned).into();
            let form = Form::Classes { text: "{{ text }}".into(), label: "label".into(), classes };
            let group_by = Some("question".to_owned());
            scene.format =
                Format::Templates(Templates { columns: Vec::new(), form, group_by, difficulty: None });
            scene
        }

        fn dataset(&self) -> Dataset<'_> {
            Dataset { source: &self.source, paths: &self.paths, format: &self.format }
        }

        fn out(&self) -> PathBuf {
            self.folder.path().join("out")
        }

        fn split(&self, rule: &SplitRule, longest: Option<&Longest>) -> Result<Manifest> {
            self.dataset().split_into(&self.out(), rule, longest)
        }

        fn part(&self, part: Part) -> Table {
            Table::read(&self.out().join(part.file())).unwrap()
        }
    }

    const RULE: SplitRule = SplitRule {
        ground_truth: 20,
        weak_labels: 20,
        validation: 0,
        test: 12,
        fresh: 0,
        balance: 0.5,
        duplicates: Duplicates::Report,
        levels: None,
        seed: 1,
    };

    #[test]
    fn generated_claims_are_split_like_any_rows() {
        let source = Source::Arithmetic(Arithmetic { rows: 60, seed: 0, below: 100, noise: 0.0 });
        let format = Format::arithmetic();
        let dir = tempfile::tempdir().unwrap();
        let dataset = Dataset { source: &source, paths: &[], format: &format };
        let manifest = dataset.split_into(dir.path(), &RULE, None).unwrap();
        assert_eq!(manifest.parts["test"].classes, [6, 6]);
        assert_eq!(manifest.facts()["rows/weak_labels"], 20);
        assert_eq!(corpus(&source, &[], &dir.path().join("corpus.parquet")).unwrap(), 60);
    }

    #[test]
    fn the_tables_hold_the_rows_that_the_manifest_counts_with_groups_that_no_two_share() {
        let scene = Scene::claims(120);
        let manifest = scene.split(&RULE, None).unwrap();
        let mut groups = std::collections::BTreeSet::new();
        for part in ORDER {
            let (table, told) = (scene.part(part), &manifest.parts[part.word()]);
            assert_eq!((table.len(), told.rows), (told.rows, table.rows.len()));
            let rows: Vec<u8> = table.rows.iter().flat_map(|row| row.to_le_bytes()).collect();
            assert_eq!(told.digest, Key::of(&rows).to_string());
            for (place, row) in table.rows.iter().enumerate() {
                assert!(table.texts[place].starts_with(&format!("{row}=")));
                assert_eq!(table.labels.as_ref().unwrap()[place], i32::from(row % 2 == 0));
                assert_eq!(table.groups.as_ref().unwrap()[place], row / 3 * 3, "named by its first row");
            }
            let own: std::collections::BTreeSet<_> = table.groups.unwrap().into_iter().collect();
            assert_eq!(own.len(), told.groups);
            assert!(groups.is_disjoint(&own));
            groups.extend(own);
        }
    }

    #[test]
    fn rows_that_any_tokenizer_makes_too_long_are_left_out_for_all() {
        let scene = Scene::claims(240);
        let path = scene.folder.path().join("tokenizer.json");
        // One reads every character as a token, the other all of them as one: the first decides.
        let models = ["0123456789=", "="].map(|alphabet| {
            fs::write(&path, character_tokenizer(alphabet)).unwrap();
            let limits = Limits { max_tokens: 9, vocabulary: 100, end: None };
            (Tokenizer::from_file(&path).unwrap(), limits)
        });
        let longest = Longest { tokens: 9, models: models.into() };
        let manifest = scene.split(&RULE, Some(&longest)).unwrap();
        let texts: Vec<_> = ORDER.into_iter().flat_map(|part| scene.part(part).texts).collect();
        assert!(texts.iter().all(|text| text.len() < 9), "with the mark of the beginning, 9 tokens");
        assert!(texts.iter().any(|text| text.len() == 8));
        assert!(manifest.facts()["dropped/over_long"] > 10, "{:?}", manifest.facts());
        assert_eq!(manifest.drop_over, Some(9));
    }

    #[test]
    fn pairs_that_teach_nothing_are_counted_and_a_source_without_rows_is_told() {
        let line = |i: usize| {
            let rejected = [format!("worse {i}"), format!("better {i}"), String::new()][i % 3].clone();
            format!("{{\"good\":\"better {i}\",\"bad\":\"{rejected}\"}}\n")
        };
        let pairs = |rows: usize| {
            let text: String = (0..rows).map(line).collect();
            let mut scene = Scene::new("a.jsonl", text.as_bytes());
            let (chosen, rejected) = ("good".into(), "bad".into());
            let form = Form::Pair { prompt: None, chosen, rejected, pick: Pick::All, seed: 0 };
            scene.format =
                Format::Templates(Templates { columns: Vec::new(), form, group_by: None, difficulty: None });
            scene
        };
        let manifest = pairs(120).split(&RULE, None).unwrap();
        assert_eq!((manifest.rows, manifest.groups, manifest.passed_over), (80, 40, 80));
        assert_eq!(manifest.facts()["dropped/pairs"], 80);
        let scene = pairs(120);
        let written = scene.dataset().write(&scene.out().join("rows.parquet")).unwrap();
        assert_eq!((written.rows, written.passed_over), (80, 80));

        let message = |rows| pairs(rows).split(&RULE, None).unwrap_err().to_string();
        assert!(
            message(3).contains("after leaving out 2 pairs of equal or empty texts, 0 dup"),
            "{}",
            message(3)
        );
        assert!(message(0).ends_with("but the source has no rows"), "{}", message(0));
    }

    #[test]
    fn texts_in_two_parts_are_told_dropped_or_refused() {
        let line = |i: usize| format!("the  Lever {}\t{}\n", i / 2, ["right", "wrong"][i % 2]).to_uppercase();
        let text: String = (0..60).map(line).collect();
        let mut scene = Scene::new("a.tsv", format!("text\tlabel\n{text}").as_bytes());
        let classes = vec!["WRONG".to_owned(), "RIGHT".to_owned()];
        scene.format = Format::labelled("{{ text }}", "label", classes);
        let told = scene.split(&RULE, None).unwrap().duplicates;
        let copy = &told.pairs[0].examples[0];
        assert_eq!(copy.text, format!("THE  LEVER {}", copy.row / 2));
        assert_eq!(copy.row / 2, copy.copy_of / 2);
        assert_eq!(told.line().split(", ").count(), told.pairs.len());

        let refuse = SplitRule { duplicates: Duplicates::Refuse, ..RULE };
        ORDER.iter().for_each(|part| fs::remove_file(scene.out().join(part.file())).unwrap());
        let message = scene.split(&refuse, None).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{} texts are in two parts", told.rows)), "{message}");
        assert_eq!(fs::read_dir(scene.out()).unwrap().count(), 0);
    }
}
