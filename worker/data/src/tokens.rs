//! A part of a prepared table as token ids, row after row, in flat files that readers map into memory.
//!
//! | file | numbers (little-endian) |
//! |---|---|
//! | `tokens.bin` | i32, the ids of all rows, one after the other |
//! | `offsets.bin` | i64, where each row begins in them, and where the last ends: one more than there are rows |
//! | `prompts.bin` | i32, how many tokens of each row are its prompt; only for tables with a column `prompt` |
//!
//! Where rows are pairs of texts, a row is two sequences, its own text's and then the other's, and there are no prompts.
//!
//! Rows pass through one batch at a time, so memory does not grow with the table.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use fulcrum_common::plan::Style;

use crate::{
    Tokenizer,
    columns::{self, Batch},
    error::{DataError, Result},
    tokenizer::{Limits, Tokens},
};

/// Name of the file with the ids.
pub const TOKENS: &str = "tokens.bin";

/// Name of the file with the beginnings of the rows.
pub const OFFSETS: &str = "offsets.bin";

/// Name of the file with the lengths of the prompts.
pub const PROMPTS: &str = "prompts.bin";

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows.
    pub rows: u64,
    /// Tokens of all rows.
    pub tokens: u64,
    /// Rows that lost tokens.
    pub truncated: u64,
    /// Rows with a prompt that lost every token of what follows it.
    pub without_completion: Option<u64>,
    /// Sequences of all rows, where a row is a pair.
    pub sequences: Option<u64>,
}

impl Counts {
    /// The files that were written.
    pub fn files(&self) -> &'static [&'static str] {
        if self.without_completion.is_some() { &[TOKENS, OFFSETS, PROMPTS] } else { &[TOKENS, OFFSETS] }
    }
}

/// Writes the tokens of a prepared table's rows into `folder`. The same table and tokenizer give the same bytes.
///
/// # Errors
/// When the table cannot be read or is not of the style, a row gives no token or one that the model does not know, or a
/// file cannot be written.
pub fn write(
    table: &Path,
    style: Style,
    tokenizer: &Tokenizer,
    limits: &Limits,
    folder: &Path,
) -> Result<Counts> {
    tokenizer.check(limits)?;
    let mut reader = columns::Reader::open(table)?;
    let (paired, prompted) = (style == Style::Pair, reader.has("prompt"));
    if reader.has("other") != paired {
        let rows = if paired { "single texts, pairs" } else { "pairs of texts, single ones" };
        return Err(DataError::file(table, format!("its rows are {rows} are asked for")));
    }
    let mut writer = Writer::create(folder, prompted && !paired, paired)?;
    while let Some(batch) = reader.next()? {
        let others = if paired { Some(batch.utf8("other")?) } else { None };
        for (at, (row, prompt, text)) in rows(&batch, prompted)?.enumerate() {
            let named = |fault| DataError::file(table, format!("row {row}: {fault}"));
            match others {
                None => writer.push(&[tokenizer.row(prompt, text, limits).map_err(named)?])?,
                Some(others) => {
                    let ending = |text| tokenizer.ending(prompt, text, limits).map_err(named);
                    writer.push(&[ending(text)?, ending(others.value(at))?])?;
                }
            }
        }
    }
    writer.finish()
}

/// Id, prompt and text of each row.
type Row<'b> = (i64, Option<&'b str>, &'b str);

fn rows(batch: &Batch, prompts: bool) -> Result<impl Iterator<Item = Row<'_>>> {
    let (rows, texts) = (batch.int64("row")?.values(), batch.utf8("text")?);
    let prompts = if prompts { Some(batch.utf8("prompt")?) } else { None };
    let row = move |at: usize| (rows[at], prompts.map(|prompts| prompts.value(at)), texts.value(at));
    Ok((0..rows.len()).map(row))
}

/// The files being written.
struct Writer {
    tokens: Flat,
    offsets: Flat,
    prompts: Option<Flat>,
    counts: Counts,
}

impl Writer {
    fn create(folder: &Path, prompts: bool, paired: bool) -> Result<Self> {
        let flat = |name| Flat::create(folder.join(name));
        let mut offsets = flat(OFFSETS)?;
        offsets.push(&0i64.to_le_bytes())?;
        let prompts = prompts.then(|| flat(PROMPTS)).transpose()?;
        let counts = Counts {
            without_completion: prompts.is_some().then_some(0),
            sequences: paired.then_some(0),
            ..Counts::default()
        };
        Ok(Self { tokens: flat(TOKENS)?, offsets, prompts, counts })
    }

    /// The sequences of one row.
    fn push(&mut self, row: &[Tokens]) -> Result<()> {
        self.counts.rows += 1;
        self.counts.truncated += u64::from(row.iter().any(|sequence| sequence.truncated));
        self.counts.sequences.iter_mut().for_each(|sequences| *sequences += row.len() as u64);
        row.iter().try_for_each(|sequence| self.append(sequence))
    }

    fn append(&mut self, row: &Tokens) -> Result<()> {
        for id in &row.ids {
            self.tokens.push(&id.to_le_bytes())?;
        }
        self.counts.tokens += row.ids.len() as u64;
        self.offsets.push(&(self.counts.tokens as i64).to_le_bytes())?;
        if let (Some(prompts), Some(without)) = (&mut self.prompts, &mut self.counts.without_completion) {
            prompts.push(&(row.prompt as i32).to_le_bytes())?;
            *without += u64::from(row.prompt == row.ids.len());
        }
        Ok(())
    }

    fn finish(self) -> Result<Counts> {
        for file in [Some(self.tokens), Some(self.offsets), self.prompts].into_iter().flatten() {
            file.finish()?;
        }
        Ok(self.counts)
    }
}

/// A file of numbers.
struct Flat {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Flat {
    fn create(path: PathBuf) -> Result<Self> {
        let file = BufWriter::new(File::create(&path).map_err(DataError::io(&path))?);
        Ok(Self { path, file })
    }

    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(DataError::io(&self.path))
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(DataError::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        datatypes::{DataType, Field, Schema},
        record_batch::RecordBatch,
    };

    use super::*;
    use crate::{Table, tokenizer::character_tokenizer};

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_bytes(character_tokenizer("abc").as_bytes()).unwrap()
    }

    const LIMITS: Limits = Limits { max_tokens: 4, vocabulary: 6, end: None };

    /// Writes a table of these rows, with a column `prompt` where they have prompts.
    fn table(path: &Path, rows: &[Row<'_>]) {
        let mut fields =
            vec![Field::new("row", DataType::Int64, false), Field::new("text", DataType::Utf8, false)];
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>()),
            Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.2))),
        ];
        if rows.iter().any(|row| row.1.is_some()) {
            fields.push(Field::new("prompt", DataType::Utf8, false));
            arrays.push(Arc::new(StringArray::from_iter_values(rows.iter().filter_map(|row| row.1))));
        }
        let schema = Arc::new(Schema::new(fields));
        columns::write(path, &schema, [RecordBatch::try_new(schema.clone(), arrays)].into_iter()).unwrap();
    }

    fn numbers(path: PathBuf, size: usize) -> Vec<i64> {
        let number = |bytes: &[u8]| {
            let mut whole = [if bytes[size - 1] > 127 { 255 } else { 0 }; 8];
            whole[..size].copy_from_slice(bytes);
            i64::from_le_bytes(whole)
        };
        fs::read(path).unwrap().chunks(size).map(number).collect()
    }

    #[test]
    fn rows_lie_one_after_the_other_cut_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        table(&path, &[(0, None, "ab"), (7, None, ""), (3, None, "abcabc"), (4, None, "c")]);
        let counts = write(&path, Style::Plain, &tokenizer(), &LIMITS, dir.path()).unwrap();
        assert_eq!(
            counts,
            Counts { rows: 4, tokens: 10, truncated: 1, without_completion: None, sequences: None }
        );
        assert_eq!(counts.files(), [TOKENS, OFFSETS]);
        assert_eq!(numbers(dir.path().join(TOKENS), 4), [1, 3, 4, 1, 1, 3, 4, 5, 1, 5]);
        assert_eq!(numbers(dir.path().join(OFFSETS), 8), [0, 3, 4, 8, 10]);
        assert!(!dir.path().join(PROMPTS).exists());
    }

    #[test]
    fn of_rows_with_prompts_it_is_known_where_the_prompt_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        table(
            &path,
            &[(0, Some("a"), "b"), (1, Some("ab"), "cc"), (2, Some("abcabc"), "c"), (3, Some(""), "a")],
        );
        let limits = Limits { end: Some(2), ..LIMITS };
        let counts = write(&path, Style::Plain, &tokenizer(), &limits, dir.path()).unwrap();
        assert_eq!((counts.rows, counts.tokens, counts.truncated), (4, 15, 2));
        assert_eq!((counts.without_completion, counts.sequences), (Some(1), None));
        assert_eq!(counts.files(), [TOKENS, OFFSETS, PROMPTS]);
        let expected = [1, 3, 4, 2, 1, 3, 4, 5, 1, 3, 4, 5, 1, 3, 2];
        assert_eq!(numbers(dir.path().join(TOKENS), 4), expected);
        assert_eq!(numbers(dir.path().join(PROMPTS), 4), [2, 3, 4, 1]);
    }

    #[test]
    fn a_pair_is_two_sequences_of_which_each_loses_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        let texts = |texts: [&str; 2]| texts.map(str::to_owned).to_vec();
        let pairs = Table {
            rows: vec![3, 5],
            texts: texts(["a", "abcabc"]),
            others: Some(texts(["b", "c"])),
            prompts: Some(texts(["cc", "b"])),
            ..Table::default()
        };
        pairs.write(&path).unwrap();
        let limits = Limits { end: Some(2), ..LIMITS };
        let write = |style| write(&path, style, &tokenizer(), &limits, dir.path());
        let counts = write(Style::Pair).unwrap();
        assert_eq!((counts.rows, counts.truncated, counts.sequences), (2, 1, Some(4)));
        assert_eq!(counts.files(), [TOKENS, OFFSETS]);
        let expected = [1, 5, 5, 3, 1, 5, 5, 4, 1, 3, 4, 5, 1, 4, 5];
        assert_eq!(numbers(dir.path().join(TOKENS), 4), expected);
        assert_eq!(numbers(dir.path().join(OFFSETS), 8), [0, 4, 8, 12, 15]);

        let message = write(Style::Plain).unwrap_err().to_string();
        assert!(message.ends_with("its rows are pairs of texts, single ones are asked for"), "{message}");
        Table { others: None, ..pairs }.write(&path).unwrap();
        let message = write(Style::Pair).unwrap_err().to_string();
        assert!(message.ends_with("its rows are single texts, pairs are asked for"), "{message}");
    }

    #[test]
    fn a_tokenizer_of_another_model_is_refused_before_any_row() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        table(&path, &[(0, None, "ab")]);
        let limits = Limits { vocabulary: 5, ..LIMITS };
        let message = write(&path, Style::Plain, &tokenizer(), &limits, dir.path()).unwrap_err().to_string();
        assert_eq!(
            message,
            "the tokenizer gives ids up to 5, but the model embeds 5 tokens: tokenizer.json is of another model"
        );
        assert!(!dir.path().join(TOKENS).exists());
    }

    #[test]
    fn a_row_that_gives_no_token_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.parquet");
        table(&path, &[(5, None, "ab"), (9, None, "")]);
        let mut file: serde_json::Value = serde_json::from_str(&character_tokenizer("ab")).unwrap();
        file["post_processor"] = serde_json::Value::Null;
        let tokenizer = Tokenizer::from_bytes(file.to_string().as_bytes()).unwrap();
        let message = write(&path, Style::Plain, &tokenizer, &LIMITS, dir.path()).unwrap_err().to_string();
        assert!(message.ends_with("row 9: \"\" gives no tokens"), "{message}");
    }
}
