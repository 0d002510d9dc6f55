//! Prepare: bring datasets, corpora and models from outside into the form that every other stage reads.

use std::{fs, path::PathBuf};

use fulcrum_common::{
    Key,
    plan::{Architecture, Format, HeadSpec, Part, Prepare, ProbeHead, Source, SplitRule, Style, View},
    source::{self, COMPANIONS},
};
use fulcrum_data::{
    Positions, Questions, Table, Tokenizer, features, images,
    prepare::{self, Dataset, Longest},
    split::{self, Manifest},
    tokenizer::{BEGIN, Limits, character_tokenizer},
    tokens,
};
use fulcrum_models::{Backbone, Model, ModelFiles, SpecialTokens, Summary};
use tch::Tensor;

use crate::{
    Error, Job, Outcome,
    job::{Companions, SEQUENCES},
    prompt, revise,
    train::new_head,
};

pub(crate) fn run(job: &Job<'_>, work: &Prepare) -> Result<Outcome, Error> {
    match work {
        Prepare::Dataset { source, format, split, drop_over, questions } => {
            dataset(job, (source, format), split, *drop_over, *questions)
        }
        Prepare::Corpus { source } => {
            let path = job.output.join(Part::Corpus.file());
            let rows = unchanged(job, source, |paths| Ok(prepare::corpus(source, paths, &path)?))?;
            Ok(table(Part::Corpus, rows))
        }
        Prepare::Rows { source, format } => {
            let path = job.output.join(Part::Rows.file());
            let written =
                unchanged(job, source, |paths| Ok(Dataset { source, paths, format }.write(&path)?))?;
            let mut outcome = table(Part::Rows, written.rows);
            outcome.facts.insert(Prepare::DROPPED_PAIRS.to_owned(), written.passed_over as u64);
            Ok(outcome)
        }
        Prepare::SoftLabels { source, column, classes } => soft_labels(job, source, column, *classes),
        Prepare::Model { digest, layers, adapter } => import(job, *digest, *layers, *adapter),
        Prepare::NewModel { architecture, alphabet, ends, seed } => {
            new_model(job, architecture, (alphabet, *ends), *seed)
        }
        Prepare::Prompted { part, shots, max_tokens } => {
            let (tokenizer, limits) = reader(job, "model", *max_tokens)?;
            prompt::run(job, *part, shots, |text| Ok(!tokenizer.row(None, text, &limits)?.truncated))
        }
        Prepare::Head { head } => headed(job, head),
        Prepare::Share { part, index, of } => revise::share(job, *part, *index, *of),
        Prepare::Revised { part, revision } => revise::run(job, *part, revision),
        Prepare::Tokens { part, max_tokens, style } => tokenize(job, *part, *max_tokens, *style),
        Prepare::Features { part, view } => vectors(job, *part, view),
        Prepare::Images { part, source } => pixels(job, *part, source),
        Prepare::Probe { head } => probe(job, *head),
    }
}

fn dataset(
    job: &Job<'_>,
    (source, format): (&Source, &Format),
    rule: &SplitRule,
    drop_over: Option<usize>,
    questions: bool,
) -> Result<Outcome, Error> {
    let longest = drop_over.map(|tokens| longest(job, tokens)).transpose()?;
    let (manifest, questions, positions) = unchanged(job, source, |paths| {
        let dataset = Dataset { source, paths, format };
        let manifest = dataset.split_into(job.output, rule, longest.as_ref())?;
        let test = || Table::read_labels(&job.output.join(Part::Test.file()));
        let questions = questions.then(|| Questions::of(&dataset, &test()?.rows)).transpose()?;
        let positions = format.has_positions().then(|| Positions::of(&dataset, &test()?.rows)).transpose()?;
        Ok((manifest, questions, positions))
    })?;
    let mut text = serde_json::to_vec_pretty(&manifest).expect("a split's description is plain data");
    text.push(b'\n');
    let path = job.output.join(Manifest::FILE);
    fs::write(&path, text).map_err(Error::io(&path))?;
    let mut outcome = Outcome { files: vec![Manifest::FILE.to_owned()], facts: manifest.facts() };
    outcome.files.extend(split::parts(rule).map(Part::file));
    if let Some(positions) = positions {
        positions.write(&job.output.join(Positions::FILE))?;
        outcome.files.push(Positions::FILE.to_owned());
    }
    if let Some(questions) = questions {
        if questions.answers.is_empty() {
            let none = "no question has a right answer, a wrong one, and all of them among the test rows: ask for more \
                        rows in task.split.test";
            return Err(Error::Mismatch(none.to_owned()));
        }
        questions.write(&job.output.join(Questions::FILE))?;
        outcome.files.push(Questions::FILE.to_owned());
        outcome.facts.insert("questions".to_owned(), questions.answers.len() as u64);
    }
    Ok(outcome)
}

/// The models that read the same rows, none of which may find one too long.
fn longest(job: &Job<'_>, tokens: usize) -> Result<Longest, Error> {
    let models = job.inputs.keys().filter(|role| role.starts_with("model/"));
    let models = models.map(|role| reader(job, role, tokens)).collect::<Result<_, _>>()?;
    Ok(Longest { tokens, models })
}

/// A model's tokenizer, and what the model sets to its sequences.
fn reader(job: &Job<'_>, role: &str, max_tokens: usize) -> Result<(Tokenizer, Limits), Error> {
    let model = Summary::read(job.file(role, ModelFiles::CONFIG)?)?;
    let limits = Limits {
        max_tokens: max_tokens.min(model.positions),
        vocabulary: model.vocabulary,
        end: model.tokens.end,
    };
    Ok((Tokenizer::from_file(job.file(role, ModelFiles::TOKENIZER)?)?, limits))
}

/// Labels as inference leaves them, of the rows that the table has.
fn soft_labels(job: &Job<'_>, source: &Source, column: &str, classes: usize) -> Result<Outcome, Error> {
    const FILE: &str = "part-00000.parquet";
    let found =
        unchanged(job, source, |paths| Ok(fulcrum_data::soft_labels::read(source, paths, column, classes)?))?;
    let table = job.labels(Part::Rows)?;
    if table.rows != found.rows {
        let (rows, labels) = (table.rows.len(), found.rows.len());
        return Err(Error::Mismatch(format!("the table has {rows} rows, its source {labels} soft labels")));
    }
    found.write(&job.output.join(FILE))?;
    Ok(Outcome { files: vec![FILE.to_owned()], facts: [("rows".to_owned(), found.rows.len() as u64)].into() })
}

fn table(part: Part, rows: usize) -> Outcome {
    Outcome { files: vec![part.file()], facts: [(part.fact(), rows as u64)].into() }
}

/// Reads the files of a source where they lie. Their bytes are compared with the plan's before, so that a fault in
/// a file that was changed since the plan is not blamed on its lines, and after: what was read is what the plan names.
fn unchanged<T>(
    job: &Job<'_>,
    source: &Source,
    read: impl FnOnce(&[PathBuf]) -> Result<T, Error>,
) -> Result<T, Error> {
    let files = match source {
        Source::Files { files } => files.as_slice(),
        Source::Arithmetic(_)
        | Source::ArithmeticQuestions(_)
        | Source::Mixture(_)
        | Source::MateInOne(_) => &[],
    };
    let paths =
        (0..files.len()).map(|at| location(job, &format!("file/{at}"))).collect::<Result<Vec<_>, _>>()?;
    let compare = || {
        let mut pairs = paths.iter().zip(files);
        pairs.try_for_each(|(path, file)| Error::check_digest(path, source::digest(path)?, file.digest))
    };
    compare()?;
    let read = read(&paths)?;
    compare()?;
    Ok(read)
}

fn location(job: &Job<'_>, role: &str) -> Result<PathBuf, Error> {
    let found = job.stage.locations.get(role);
    found.map(PathBuf::from).ok_or_else(|| Error::Location(role.to_owned()))
}

/// Reads a checkpoint where it lies, and its adapters. As for files, their bytes are compared with the plan's before
/// (a fault in what was changed since is not blamed on its tensors) and after.
fn import(job: &Job<'_>, digest: Key, layers: Option<usize>, adapter: Option<Key>) -> Result<Outcome, Error> {
    let folder = location(job, "model")?;
    let adapter = adapter.map(|digest| Ok::<_, Error>((location(job, "adapter")?, digest))).transpose()?;
    let compare = || {
        if let Some((folder, digest)) = &adapter {
            Error::check_digest(folder, source::adapter_digest(folder)?, *digest)?;
        }
        Error::check_digest(&folder, source::model_digest(&folder)?, digest)
    };
    compare()?;
    if source::reads_images(&folder) {
        let network = Backbone::load(&ModelFiles::in_folder(&folder), job.device)?;
        network.save(job.output)?;
        compare()?;
        let files = [ModelFiles::CONFIG, ModelFiles::WEIGHTS].map(str::to_owned).into();
        let facts = [("parameters".to_owned(), network.parameter_count() as u64)].into();
        return Ok(Outcome { files, facts });
    }
    let companions: Companions = COMPANIONS
        .into_iter()
        .map(|name| (name, folder.join(name)))
        .filter(|(_, path)| path.is_file())
        .collect();
    Tokenizer::from_file(&folder.join(ModelFiles::TOKENIZER))?;
    let mut model = Model::load(&ModelFiles::in_folder(&folder), job.device)?;
    if let Some((adapter, _)) = &adapter {
        model = model.with_adapter(adapter)?.merged();
    }
    if let Some(layers) = layers {
        model = model.truncate(layers)?;
    }
    let outcome = job.save(&model, &companions)?;
    compare()?;
    Ok(outcome)
}

/// The model, which answers by what it knows already.
fn headed(job: &Job<'_>, head: &HeadSpec) -> Result<Outcome, Error> {
    let head = new_head(head, || job.tokenizer("model"))?;
    job.save(&job.model("model")?.with_head(&head, 0)?, &job.companions("model")?)
}

fn new_model(
    job: &Job<'_>,
    architecture: &Architecture,
    (alphabet, ends): (&str, bool),
    seed: u64,
) -> Result<Outcome, Error> {
    let path = job.output.join("characters.json");
    fs::write(&path, character_tokenizer(alphabet)).map_err(Error::io(&path))?;
    let tokenizer = Tokenizer::from_file(&path)?;
    // What begins a text ends the one before, as in GPT-2.
    let end = ends.then_some(BEGIN);
    let tokens = SpecialTokens { pad: Some(tokenizer.pad_id()), begin: Some(BEGIN), end };
    let model = Model::new(architecture, tokenizer.vocab_size(), tokens, seed, job.device)?;
    let outcome = job.save(&model, &[(ModelFiles::TOKENIZER, path.clone())].into())?;
    fs::remove_file(&path).map_err(Error::io(&path))?;
    Ok(outcome)
}

/// A part's rows as the model reads them.
fn tokenize(job: &Job<'_>, part: Part, max_tokens: usize, style: Style) -> Result<Outcome, Error> {
    let (tokenizer, limits) = reader(job, "model", max_tokens)?;
    let counts = tokens::write(job.file("data", &part.file())?, style, &tokenizer, &limits, job.output)?;
    let facts = [("rows", counts.rows), ("tokens", counts.tokens), ("truncated", counts.truncated)];
    let without = counts.without_completion.map(|count| ("without_completion", count));
    let sequences = counts.sequences.map(|count| (SEQUENCES, count));
    let facts =
        facts.into_iter().chain(without).chain(sequences).map(|(name, count)| (name.to_owned(), count));
    let files = counts.files().iter().map(|name| (*name).to_owned());
    Ok(Outcome { files: files.collect(), facts: facts.collect() })
}

/// What a model sees of a part's rows.
fn vectors(job: &Job<'_>, part: Part, view: &View) -> Result<Outcome, Error> {
    let rows = job.labels(part)?.rows;
    let file = features::file_name(0);
    let to = job.output.join(&file);
    match view {
        View::Stored { source, .. } => {
            unchanged(job, source, |paths| Ok(features::write(view, paths, &rows, &to)?))?;
        }
        View::Projected { .. } => features::write(view, &[], &rows, &to)?,
    }
    Ok(Outcome { files: vec![file], facts: [("rows".to_owned(), rows.len() as u64)].into() })
}

/// The pixels of a part's rows.
fn pixels(job: &Job<'_>, part: Part, source: &Source) -> Result<Outcome, Error> {
    let rows = job.labels(part)?.rows;
    let to = job.output.join(images::PIXELS);
    let [height, width] = unchanged(job, source, |paths| Ok(images::write(source, paths, &rows, &to)?))?;
    let facts = [("rows", rows.len()), ("height", height), ("width", width)];
    let facts = facts.map(|(name, count)| (name.to_owned(), count as u64)).into();
    Ok(Outcome { files: vec![images::PIXELS.to_owned()], facts })
}

/// A head over vectors as wide as those of the input, or as those that the network makes.
fn probe(job: &Job<'_>, head: ProbeHead) -> Result<Outcome, Error> {
    let network = job.inputs.contains_key("model").then(|| job.backbone("model")).transpose()?;
    let (width, below) = match &network {
        Some(network) => (network.width(), network.parameter_count()),
        None => (width(job)?, 0),
    };
    let model = Model::probe(width, below, job.device)?;
    let model = match (head, &network) {
        (ProbeHead::None, _) => model,
        (ProbeHead::Identity, _) => {
            let (width, options) = (width as i64, (tch::Kind::Float, job.device));
            model.with_classifier(&Tensor::f_eye(width, options)?, &Tensor::f_zeros([width], options)?)?
        }
        (ProbeHead::Own, Some(network)) => {
            let (weight_cd, bias_c) = network.classifier();
            model.with_classifier(weight_cd, bias_c)?
        }
        (ProbeHead::Own, None) => {
            return Err(Error::Mismatch("there is no network whose classifier it could be".to_owned()));
        }
    };
    job.save(&model, &Companions::new())
}

/// Numbers of each of the vectors of the input.
fn width(job: &Job<'_>) -> Result<usize, Error> {
    let mut numbers = 0;
    for path in job.features()? {
        numbers += fs::metadata(path).map_err(Error::io(path))?.len() / 4;
    }
    Ok(numbers.checked_div(job.rows_read()? as u64).unwrap_or(0) as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fulcrum_common::plan::{Estimate, FileDigest, Spec, Stage, Work};

    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_read_makes_no_artifact() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.txt");
        fs::write(&path, "then\n").unwrap();
        let files = vec![FileDigest { name: "rows.txt".into(), digest: source::digest(&path).unwrap() }];
        let source = Source::Files { files };
        let work = Work::Prepare(Prepare::Corpus { source: source.clone() });
        let spec = Spec { work, inputs: BTreeMap::new() };
        let locations = BTreeMap::from([("file/0".to_owned(), path.to_str().unwrap().to_owned())]);
        let estimate = Estimate::default();
        let stage =
            Stage { key: spec.key(), name: "corpus".into(), spec, locations, estimate, workers: None };
        let (inputs, device) = (BTreeMap::new(), tch::Device::Cpu);
        let job = Job { stage: &stage, inputs: &inputs, shard: None, output: folder.path(), device };
        let text = |paths: &[PathBuf]| fs::read_to_string(&paths[0]).map_err(Error::io(&paths[0]));
        assert_eq!(unchanged(&job, &source, text).unwrap(), "then\n");
        let error = unchanged(&job, &source, |paths| {
            fs::write(&path, "now\n").unwrap();
            text(paths)
        });
        assert!(matches!(error, Err(Error::Digest { .. })), "{error:?}");
    }

    #[test]
    fn a_new_model_knows_the_token_that_opens_its_texts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        fs::write(&path, character_tokenizer("01+=")).unwrap();
        let tokens = Tokenizer::from_file(&path).unwrap().encode("1+1=", 16).unwrap();
        assert_eq!((tokens.len(), tokens.first()), (5, Some(&BEGIN)));
    }
}
