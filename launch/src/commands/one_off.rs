//! What `fulcrum train`, `fulcrum infer` and `fulcrum generate` have in common: a small plan, run in a folder that
//! is not kept.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use fulcrum_common::{
    experiment::{Cadence, Origin},
    plan::Plan,
    source::{ModelFolder, SourceFile},
    store::{Manifest, Place, Store},
};

use crate::{
    experiment::{Copies, fetch_missing},
    hub::Needs,
    job::{self, Crew, Spread, Width},
    progress::Progress,
    run_folder::RunFolder,
    splice::{parts, splice},
    warnings::left_out,
};

/// The arguments of all.
#[derive(Debug, clap::Args)]
pub(super) struct OneOff {
    /// The model: a folder with config.json, model.safetensors and tokenizer.json, or hf:OWNER/NAME[@REVISION]
    #[arg(long, value_name = "MODEL")]
    model: Origin,
    #[command(flatten)]
    copies: Copies,
    /// The rows: JSON lines, CSV, TSV or Parquet, also with .zst; given several times, read one after the other
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    #[command(flatten)]
    width: Width,
    /// The artifact store: what is in it already is not done again
    #[arg(long, value_name = "PLACE", default_value = "fulcrum-store")]
    store: Place,
}

/// What a model reads of a row.
#[derive(Debug, clap::Args)]
pub(super) struct Text {
    /// The column with the text, or a template over the columns such as "{{ question }} {{ answer }}"
    #[arg(long, value_name = "COLUMN", default_value = "text")]
    text: String,
}

impl Text {
    /// The template that makes a row's text.
    pub(super) fn template(&self) -> String {
        template(&self.text)
    }
}

impl OneOff {
    /// The model, fetched where it is not on this machine, and digested.
    pub(super) fn model(&self) -> Result<ModelFolder> {
        let roots = self.copies.roots()?;
        fetch_missing(&Needs { models: vec![&self.model], ..Needs::default() }, &roots)?;
        Ok(roots.model(&self.model)?)
    }

    /// The files with the rows, digested.
    pub(super) fn files(&self) -> Result<Vec<SourceFile>> {
        Ok(self.data.iter().map(|path| SourceFile::open(path)).collect::<Result<_, _>>()?)
    }

    /// Runs the plan; returns the store and the goal's artifact in it. The run's folder is kept only where the error
    /// names a log in it.
    pub(super) async fn run(&self, name: &str, plan: &Plan) -> Result<(Store, Manifest)> {
        let crew = Crew::new(self.width, None, None)?;
        let store = Store::at(&self.store)?;
        let runs = tempfile::Builder::new().prefix("fulcrum-").tempdir()?;
        let folder = RunFolder::create(runs.path(), name)?;
        let (crew, checkpoints) = ((crew, Spread::default()), Cadence::default());
        let mut progress = Progress::new(name, plan.stages().len());
        let done = job::run(name, plan, &folder, &store, crew, checkpoints, &mut progress).await;
        progress.end(&done);
        if let Err(error) = &done
            && format!("{error:#}").contains(&runs.path().display().to_string())
        {
            let _ = runs.keep();
        }
        let made = done?;
        for stage in plan.stages().iter().filter(|stage| stage.key == made.key) {
            left_out(stage, &made)?.iter().for_each(|line| eprintln!("{line}"));
        }
        Ok((store, made))
    }
}

/// None of them writes over what is there.
pub(super) fn refuse_full(folder: &Path) -> Result<()> {
    if folder.exists() && std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    if folder.exists() {
        bail!("{} is there already: name a new folder with --out", folder.display());
    }
    Ok(())
}

/// Inference and generation write one new file.
pub(super) fn new_file(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        bail!("cannot write {}: --out names a file in a folder that is there", file.display());
    }
    if file.exists() {
        bail!("{} is there already: name a new file with --out", file.display());
    }
    Ok(())
}

/// Puts the parts that workers wrote together in one file; how many rows it has.
pub(super) async fn collect(store: &Store, made: &Manifest, out: &Path) -> Result<u64> {
    splice(&parts(store, made).await?, out)
}

/// A column as a template; a template as it is.
pub(super) fn template(text: &str) -> String {
    let identifier =
        text.chars().all(|c| c.is_alphanumeric() || c == '_') && !text.starts_with(|c: char| c.is_numeric());
    match text {
        text if text.contains("{{") || text.contains("{%") => text.to_owned(),
        text if identifier => format!("{{{{ {text} }}}}"),
        text => format!("{{{{ columns[{}] }}}}", serde_json::Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_becomes_a_template_and_a_template_stays_one() {
        let cases = [
            ("text", "{{ text }}"),
            ("Best Answer", r#"{{ columns["Best Answer"] }}"#),
            (r#"a"b"#, r#"{{ columns["a\"b"] }}"#),
            ("2nd", r#"{{ columns["2nd"] }}"#),
            ("{{ a }} {{ b }}", "{{ a }} {{ b }}"),
        ];
        for (text, expected) in cases {
            assert_eq!(template(text), expected);
        }
    }

    #[test]
    fn only_a_new_or_empty_folder_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        refuse_full(folder.path()).unwrap();
        refuse_full(&folder.path().join("new")).unwrap();
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert!(refuse_full(folder.path()).is_err());
        assert!(refuse_full(&folder.path().join("x")).is_err());
    }
}
