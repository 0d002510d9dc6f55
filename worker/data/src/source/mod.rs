//! Rows from outside: dataset files of the usual formats, read one after the other as records of named columns.
//!
//! The ending of a file's name decides how it is read; `docs/data.md` has the table. Every file is hostile until
//! read: lines, rows, columns and counts have limits, and an error names the file and the line.

mod arrow;
mod delimited;
mod json;
mod lines;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;

use crate::{
    embeddings,
    error::{DataError, Result},
    images,
};

/// One row of a source: its values by column.
pub type Record = BTreeMap<String, Value>;

/// Bytes that one line, or one row of a CSV file, may have.
const MAX_LINE_BYTES: usize = 16 << 20;

/// Columns that one row may have.
const MAX_COLUMNS: usize = 1024;

/// Rows that one source may have.
const MAX_ROWS: i64 = 1 << 31;

/// A file of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The name whose endings decide format and compression, e.g. `train.tsv.zst`.
    pub name: String,
    /// Where the bytes lie.
    pub path: PathBuf,
}

/// Where a row stands in its file, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Arc<str>,
    unit: Unit,
    number: u64,
}

/// What a file is counted in, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Line,
    Row,
}

impl Place {
    /// A line of a file.
    pub(crate) fn new(file: Arc<str>, line: u64) -> Self {
        Self { file, unit: Unit::Line, number: line }
    }

    /// A row of a file that has no lines.
    pub(crate) fn row(file: Arc<str>, row: u64) -> Self {
        Self { file, unit: Unit::Row, number: row }
    }

    /// An error at this place.
    pub fn fault(&self, what: impl ToString) -> DataError {
        let (file, what) = (self.file.to_string(), what.to_string());
        match self.unit {
            Unit::Line => DataError::Line { file, line: self.number, what },
            Unit::Row => DataError::Row { file, row: self.number, what },
        }
    }
}

/// A row of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Position in the source, counted from 0 over all its files.
    pub row: i64,
    /// Its values.
    pub record: Record,
    /// Where it stands.
    pub place: Place,
}

/// Records of one file with their places.
type Records = Box<dyn Iterator<Item = Result<(Place, Record)>>>;

/// The rows of files, in order.
pub struct Rows {
    files: std::vec::IntoIter<SourceFile>,
    columns: Vec<String>,
    current: Option<Records>,
    next_row: i64,
}

/// Reads the rows of some files, one file after the other.
///
/// `columns` names the columns of CSV and TSV files that have no header line, and is empty for all others. The
/// iterator ends at the first error.
pub fn read(files: Vec<SourceFile>, columns: &[String]) -> Rows {
    Rows { files: files.into_iter(), columns: columns.to_vec(), current: None, next_row: 0 }
}

impl Rows {
    fn advance(&mut self) -> Result<Option<Row>> {
        loop {
            let Some(records) = &mut self.current else {
                let Some(file) = self.files.next() else { return Ok(None) };
                self.current = Some(open(&file, &self.columns)?);
                continue;
            };
            let Some(next) = records.next() else {
                self.current = None;
                continue;
            };
            let (place, record) = next?;
            if record.len() > MAX_COLUMNS {
                return Err(place.fault(format!("{} columns, the most is {MAX_COLUMNS}", record.len())));
            }
            if self.next_row == MAX_ROWS {
                return Err(place.fault(format!("more than {MAX_ROWS} rows")));
            }
            self.next_row += 1;
            return Ok(Some(Row { row: self.next_row - 1, record, place }));
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.advance();
        if row.is_err() {
            self.current = None;
            self.files = Vec::new().into_iter();
        }
        row.transpose()
    }
}

/// What a file holds, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    JsonLines,
    Json,
    Csv,
    Tsv,
    Parquet,
    Arrow,
    Text,
    Vectors,
    Tar,
    IdxImages,
    IdxLabels,
}

/// What a file is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Zstd,
    Gzip,
}

impl Kind {
    /// What the name tells.
    fn of(name: &str) -> Option<(Self, Packing)> {
        let lower = name.to_ascii_lowercase();
        let packings = [(".zst", Packing::Zstd), (".gz", Packing::Gzip)];
        let unpacked = |(ending, packing)| Some((lower.strip_suffix(ending)?, packing));
        let (stem, packing) = packings.into_iter().find_map(unpacked).unwrap_or((&lower, Packing::None));
        // The names of MNIST have no ending of their own.
        for (ending, kind) in [("idx1-ubyte", Self::IdxLabels), ("idx3-ubyte", Self::IdxImages)] {
            if stem.ends_with(ending) {
                return Some((kind, packing));
            }
        }
        let kind = match stem.rsplit_once('.')?.1 {
            "jsonl" | "ndjson" => Self::JsonLines,
            "json" => Self::Json,
            "csv" => Self::Csv,
            "tsv" => Self::Tsv,
            "parquet" => Self::Parquet,
            "arrow" => Self::Arrow,
            "txt" => Self::Text,
            "safetensors" => Self::Vectors,
            "tar" => Self::Tar,
            _ => return None,
        };
        Some((kind, packing))
    }
}

fn open(file: &SourceFile, columns: &[String]) -> Result<Records> {
    let fault = |what: &str| DataError::File { path: file.name.clone().into(), what: what.to_owned() };
    let Some((kind, packing)) = Kind::of(&file.name) else {
        return Err(fault(
            "the ending tells no format; known are .jsonl, .json, .csv, .tsv, .txt, .arrow (each also with .zst or .gz) \
             and .parquet; .safetensors holds embeddings, .tar and idx files images",
        ));
    };
    if !columns.is_empty() && !matches!(kind, Kind::Csv | Kind::Tsv) {
        return Err(fault(
            "columns are named for a file that names its own; only .csv and .tsv files may lack names",
        ));
    }
    if kind == Kind::Parquet {
        if packing != Packing::None {
            return Err(fault(
                "Parquet is compressed inside: decompress the file and drop the second ending",
            ));
        }
        return arrow::parquet(&file.name, &file.path);
    }
    if kind == Kind::Vectors {
        if packing != Packing::None {
            return Err(fault(
                "embeddings are read where they lie: unpack the file and drop the second ending",
            ));
        }
        return Ok(Box::new(embeddings::records(&file.name, &file.path)?));
    }
    let input = unpacked(&file.path, packing)?;
    match kind {
        Kind::JsonLines => Ok(json::lines(&file.name, input)),
        Kind::Json => Ok(json::array(&file.name, input)),
        Kind::Csv => delimited::csv(&file.name, input, columns),
        Kind::Tsv => delimited::tsv(&file.name, input, columns),
        Kind::Arrow => arrow::stream(&file.name, input),
        Kind::Tar | Kind::IdxImages | Kind::IdxLabels => images::records(&file.name, kind, input),
        Kind::Text | Kind::Parquet | Kind::Vectors => Ok(lines::text(&file.name, input)),
    }
}

/// What a file is, and its bytes as a stream.
pub(crate) fn opened(file: &SourceFile) -> Result<(Kind, Box<dyn BufRead>)> {
    let unknown = || DataError::file(Path::new(&file.name), "the ending tells no format");
    let (kind, packing) = Kind::of(&file.name).ok_or_else(unknown)?;
    Ok((kind, unpacked(&file.path, packing)?))
}

fn unpacked(path: &Path, packing: Packing) -> Result<Box<dyn BufRead>> {
    let bytes = File::open(path).map_err(DataError::io(path))?;
    Ok(match packing {
        Packing::None => Box::new(BufReader::new(bytes)),
        Packing::Gzip => Box::new(BufReader::new(flate2::read::MultiGzDecoder::new(bytes))),
        Packing::Zstd => {
            let decoder = zstd::Decoder::new(bytes).map_err(DataError::io(path))?;
            Box::new(BufReader::new(decoder))
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path};

    use super::*;

    /// Puts bytes under a name and reads them back as rows.
    pub(super) fn read_bytes(name: &str, bytes: &[u8], columns: &[&str]) -> Result<Vec<Row>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        fs::write(&path, bytes).unwrap();
        let columns: Vec<_> = columns.iter().map(|&c| c.to_owned()).collect();
        read(vec![SourceFile { name: name.to_owned(), path }], &columns).collect()
    }

    /// The rows as JSON text, one line each.
    pub(super) fn show(rows: &[Row]) -> Vec<String> {
        rows.iter().map(|row| serde_json::to_string(&row.record).unwrap()).collect()
    }

    const SAME: [(&str, &str); 5] = [
        ("a.jsonl", "{\"text\":\"a, \\\"b\\\"\",\"label\":\"0\"}\n\n{\"text\":\"ça\",\"label\":\"1\"}"),
        ("a.json", "[{\"text\":\"a, \\\"b\\\"\",\"label\":\"0\"},\n {\"text\":\"ça\",\"label\":\"1\"}]"),
        ("a.csv", "text,label\n\"a, \"\"b\"\"\",0\r\nça,1"),
        ("a.tsv", "text\tlabel\na, \"b\"\t0\r\n\nça\t1\n"),
        ("A.TSV", "\u{feff}text\tlabel\na, \"b\"\t0\nça\t1\n"),
    ];

    #[test]
    fn the_same_rows_come_out_of_every_format() {
        for (name, text) in SAME {
            let plain = read_bytes(name, text.as_bytes(), &[]).unwrap();
            assert_eq!(
                show(&plain),
                [r#"{"label":"0","text":"a, \"b\""}"#, r#"{"label":"1","text":"ça"}"#],
                "{name}"
            );
            let packed = zstd::encode_all(text.as_bytes(), 3).unwrap();
            let zst = format!("{name}.zst");
            assert_eq!(show(&read_bytes(&zst, &packed, &[]).unwrap()), show(&plain), "{zst}");
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(text.as_bytes()).unwrap();
            let gz = format!("{name}.gz");
            assert_eq!(show(&read_bytes(&gz, &packed.finish().unwrap(), &[]).unwrap()), show(&plain), "{gz}");
        }
    }

    #[test]
    fn rows_are_counted_over_all_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            SourceFile { name: name.to_owned(), path }
        };
        let files = vec![file("a.txt", "one\ntwo\n"), file("b.txt", "\n"), file("c.csv", "text\nthree\n")];
        let rows: Vec<_> = read(files, &[]).map(|row| row.unwrap()).collect();
        assert_eq!(rows.iter().map(|row| row.row).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(show(&rows), [r#"{"text":"one"}"#, r#"{"text":"two"}"#, r#"{"text":"three"}"#]);
        assert_eq!(rows[2].place.fault("x").to_string(), "c.csv: line 2: x");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused_with_file_and_line() {
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        let long_row = format!("text\na\n\"{long}{}\"\n", "x".repeat(1 << 16));
        let wide = vec!["a\tb"; MAX_COLUMNS].join("\t");
        let many: String = (0..=MAX_COLUMNS).map(|i| format!("\"{i}\":0,")).collect();
        let many = format!("{{{}}}", many.trim_end_matches(','));
        let cases: [(&str, &[u8], &str); 21] = [
            (
                "a.jsonl",
                b"{\"a\":1}\n{\"a\":",
                "a.jsonl: line 2: no JSON object: EOF while parsing a value at column 5",
            ),
            ("a.jsonl", b"[1]", "a.jsonl: line 1: no JSON object: invalid type: sequence"),
            ("a.jsonl", b"{}\n\n\xff{}", "a.jsonl: line 3: not UTF-8"),
            ("a.jsonl", many.as_bytes(), "a.jsonl: line 1: 1025 columns, the most is 1024"),
            ("a.txt", long.as_bytes(), "a.txt: line 1: longer than 16777216 bytes"),
            ("a.json", b"{\"a\":1}7", "a.json: line 1: expected a JSON object"),
            ("a.json", b"[{\"a\":1},", "a.json: line 1: the file ends before the `]` of its array"),
            ("a.arrow", b"ARROW1", "a.arrow: not readable as Arrow: failed to fill whole buffer"),
            ("a.arrow", &[0xff; 64], "a.arrow: not readable as Arrow: "),
            ("a.txt.gz", b"plain text", "a.txt.gz: line 1: cannot be read: invalid gzip header"),
            ("a.csv", b"a,b\n1,2\n3\n", "a.csv: line 3: 1 fields, but there are 2 columns: a, b"),
            ("a.csv", b"a,a\n1,2\n", "a.csv: line 1: two columns are named `a`"),
            ("a.csv", b"a\n\xff\n", "a.csv: line 2: not UTF-8"),
            ("a.csv", long_row.as_bytes(), "a.csv: line 3: cannot be read: a row longer than 16777216 bytes"),
            ("a.csv", b"", "a.csv: line 1: no header line"),
            ("a.tsv", b"a\tb\n1\t2\t3\n", "a.tsv: line 2: 3 fields, but there are 2 columns: a, b"),
            ("a.tsv", wide.as_bytes(), "a.tsv: line 1: 2048 columns, the most is 1024"),
            ("a.tsv.zst", b"a\tb\n1\t2\n", "a.tsv.zst: line 1: cannot be read: Unknown frame descriptor"),
            ("a.parquet", b"PAR1PAR1PAR1", "not readable as Parquet"),
            ("a.parquet.zst", b"", "a.parquet.zst: Parquet is compressed inside"),
            ("weights.bin", b"", "weights.bin: the ending tells no format; known are .jsonl"),
        ];
        for (name, bytes, expected) in cases {
            let message = read_bytes(name, bytes, &[]).map(|rows| rows.len()).unwrap_err().to_string();
            assert!(message.contains(expected), "{name}: {message}");
            assert!(message.len() < 400, "{name}: an error of {} bytes", message.len());
        }
        let absent = SourceFile { name: "a.csv".to_owned(), path: Path::new("nowhere/a.csv").to_owned() };
        let mut rows = read(vec![absent.clone(), absent], &[]);
        assert!(rows.next().unwrap().unwrap_err().to_string().starts_with("nowhere/a.csv: "));
        assert!(rows.next().is_none(), "the iterator ends at the first error");
    }
}
