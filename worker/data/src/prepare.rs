//! From the source that a plan names to the rows of a prepared artifact, whether files or generated.

use std::path::PathBuf;

use fulcrum_common::plan::{Format, Source};

use crate::{
    Examples, Table, arithmetic,
    error::{DataError, Result},
    source::{self, SourceFile},
};

/// The examples of a source: `paths` are where the source's files lie, in its order.
///
/// # Errors
/// The first row that cannot be read or does not fit the format, with file, line and the way out.
pub fn examples(source: &Source, paths: &[PathBuf], format: &Format) -> Result<Examples> {
    match source {
        Source::Arithmetic(task) => Examples::collect(arithmetic::rows(task)?, format),
        Source::Files { .. } => {
            Examples::collect(source::read(located(source, paths)?, format.columns()), format)
        }
    }
}

/// The texts of a source for language modelling: of files, their column `text`.
///
/// # Errors
/// As [`examples`].
pub fn corpus(source: &Source, paths: &[PathBuf]) -> Result<Table> {
    match source {
        Source::Arithmetic(task) => arithmetic::corpus(task),
        Source::Files { .. } => {
            let format = Format::unlabelled("{{ text }}");
            Ok(Examples::collect(source::read(located(source, paths)?, &[]), &format)?.table)
        }
    }
}

/// The source's files with their places; those of the plan have names, those of the machine have paths.
fn located(source: &Source, paths: &[PathBuf]) -> Result<Vec<SourceFile>> {
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
        plan::{Arithmetic, FileDigest},
    };

    use super::*;

    #[test]
    fn generated_claims_become_examples_like_any_rows() {
        let source = Source::Arithmetic(Arithmetic { rows: 10, seed: 0, below: 100, noise: 0.0 });
        let table = examples(&source, &[], &Format::arithmetic()).unwrap().table;
        assert_eq!(table.labels, Some([0, 1].repeat(5)));
        assert_eq!(corpus(&source, &[]).unwrap().len(), 10);
    }

    #[test]
    fn files_are_read_under_the_names_of_the_plan() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file-0");
        fs::write(&path, "text\tlabel\n1+1=2\tright\n1+1=3\twrong\n").unwrap();
        let files = vec![FileDigest { name: "claims.tsv".to_owned(), digest: Key::of(b"") }];
        let source = Source::Files { files };
        let paths = [path];
        let examples = examples(&source, &paths, &Format::arithmetic()).unwrap();
        assert_eq!(examples.table.texts, ["1+1=2", "1+1=3"]);
        assert_eq!(examples.table.labels, Some(vec![1, 0]));
        assert_eq!(corpus(&source, &paths).unwrap(), Table { labels: None, ..examples.table });

        let message = corpus(&source, &[]).unwrap_err().to_string();
        assert_eq!(message, "the source has 1 files, but 0 were located");
    }
}
