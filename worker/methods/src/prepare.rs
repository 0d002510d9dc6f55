//! Prepare: bring datasets, corpora and models from outside into the form that every other stage reads.

use std::{fs, path::PathBuf};

use fulcrum_common::{
    Key,
    plan::{Architecture, Format, Part, Prepare, Source, SplitRule},
    source,
};
use fulcrum_data::{
    Table, Tokenizer, prepare,
    split::split,
    tokenizer::{BEGIN, character_tokenizer},
};
use fulcrum_models::{Model, ModelFiles, SpecialTokens};

use crate::{Error, Job, Outcome};

/// Name of the file that says what went where.
const SPLIT: &str = "split.json";

pub(crate) fn run(job: &Job<'_>, work: &Prepare) -> Result<Outcome, Error> {
    match work {
        Prepare::Dataset { source, format, split } => dataset(job, source, format, split),
        Prepare::Corpus { source } => {
            let corpus = prepare::corpus(source, &files(job, source)?)?;
            tables(job, [(Part::Corpus, &corpus)])
        }
        Prepare::Rows { source, format } => {
            let rows = prepare::examples(source, &files(job, source)?, format)?.table;
            tables(job, [(Part::Rows, &rows)])
        }
        Prepare::Model { digest, layers } => import(job, *digest, *layers),
        Prepare::NewModel { architecture, alphabet, seed } => new_model(job, architecture, alphabet, *seed),
    }
}

fn dataset(job: &Job<'_>, source: &Source, format: &Format, rule: &SplitRule) -> Result<Outcome, Error> {
    let examples = prepare::examples(source, &files(job, source)?, format)?;
    let split = split(&examples, rule)?;
    let mut outcome = tables(job, split.parts.iter().map(|(part, table)| (*part, table)))?;
    let mut text = serde_json::to_vec_pretty(&split.manifest).expect("a split's description is plain data");
    text.push(b'\n');
    let path = job.output.join(SPLIT);
    fs::write(&path, text).map_err(Error::io(&path))?;
    outcome.files.push(SPLIT.to_owned());
    Ok(outcome)
}

fn tables<'t>(job: &Job<'_>, parts: impl IntoIterator<Item = (Part, &'t Table)>) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    for (part, table) in parts {
        table.write(&job.output.join(part.file()))?;
        outcome.files.push(part.file());
        outcome.facts.insert(part.fact(), table.len() as u64);
    }
    Ok(outcome)
}

/// Where the files of a source lie, their bytes compared with the plan's.
fn files(job: &Job<'_>, source: &Source) -> Result<Vec<PathBuf>, Error> {
    let Source::Files { files } = source else { return Ok(Vec::new()) };
    let located = files.iter().enumerate().map(|(at, file)| {
        let path = location(job, &format!("file/{at}"))?;
        Error::check_digest(&path, source::digest(&path)?, file.digest)?;
        Ok(path)
    });
    located.collect()
}

fn location(job: &Job<'_>, role: &str) -> Result<PathBuf, Error> {
    let found = job.stage.locations.get(role);
    found.map(PathBuf::from).ok_or_else(|| Error::Location(role.to_owned()))
}

/// Reads a checkpoint from a copy of it, so that what is compared with the plan is what is read.
fn import(job: &Job<'_>, digest: Key, layers: Option<usize>) -> Result<Outcome, Error> {
    let folder = location(job, "model")?;
    let copy = job.output.join("imported");
    fs::create_dir(&copy).map_err(Error::io(&copy))?;
    for name in [ModelFiles::CONFIG, ModelFiles::WEIGHTS, ModelFiles::TOKENIZER] {
        fs::copy(folder.join(name), copy.join(name)).map_err(Error::io(folder.join(name)))?;
    }
    Error::check_digest(&folder, source::model_digest(&copy)?, digest)?;
    let tokenizer = copy.join(ModelFiles::TOKENIZER);
    Tokenizer::from_file(&tokenizer)?;
    let mut model = Model::load(&ModelFiles::in_folder(&copy), job.device)?;
    if let Some(layers) = layers {
        model = model.truncate(layers)?;
    }
    let outcome = job.save(&model, &tokenizer)?;
    fs::remove_dir_all(&copy).map_err(Error::io(&copy))?;
    Ok(outcome)
}

fn new_model(
    job: &Job<'_>,
    architecture: &Architecture,
    alphabet: &str,
    seed: u64,
) -> Result<Outcome, Error> {
    let path = job.output.join("characters.json");
    fs::write(&path, character_tokenizer(alphabet)).map_err(Error::io(&path))?;
    let tokenizer = Tokenizer::from_file(&path)?;
    let tokens = SpecialTokens { pad: Some(tokenizer.pad_id()), begin: Some(BEGIN), end: None };
    let model = Model::new(architecture, tokenizer.vocab_size(), tokens, seed, job.device)?;
    let outcome = job.save(&model, &path)?;
    fs::remove_file(&path).map_err(Error::io(&path))?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_model_knows_the_token_that_opens_its_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, character_tokenizer("01+=")).unwrap();
        let tokens = Tokenizer::from_file(&path).unwrap().encode("1+1=", 16).unwrap();
        assert_eq!((tokens.len(), tokens.first()), (5, Some(&BEGIN)));
    }
}
