//! What a stage is given and what it leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use fulcrum_common::{
    plan::{self, Part, Stage},
    source::COMPANIONS,
};
use fulcrum_data::{Labels, Probabilities, Table, features, tokens};
use fulcrum_models::{Backbone, Model, ModelFiles, WeightFiles};
use fulcrum_train::{Examples, TokenFiles};
use tch::Device;

use crate::Error;

/// A stage, or a shard of one, with everything it reads on this machine.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// What is to be done.
    pub stage: &'a Stage,
    /// The artifacts it reads, by role.
    pub inputs: &'a BTreeMap<String, Input>,
    /// The rows that are read, for inference.
    pub shard: Option<Shard>,
    /// An empty folder for the files it makes.
    pub output: &'a Path,
    /// Where tensors live.
    pub device: Device,
}

/// Rows of a part, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// All of them.
    pub range: Range<usize>,
    /// Those that are left out.
    pub skip: BTreeSet<usize>,
    /// Where it is only asked whether they can be computed: those that the question is about. No file is made.
    pub trial: Option<Range<usize>>,
}

impl From<Range<usize>> for Shard {
    fn from(range: Range<usize>) -> Self {
        Self { range, skip: BTreeSet::new(), trial: None }
    }
}

impl Shard {
    /// Positions of the rows that are computed.
    pub(crate) fn computed(&self) -> Vec<usize> {
        let asked = |at: &usize| self.trial.as_ref().is_none_or(|trial| trial.contains(at));
        self.range.clone().filter(|at| asked(at) && !self.skip.contains(at)).collect()
    }

    /// Counts and names the rows that are left out of what `rows` has by position.
    pub(crate) fn left_out(&self, rows: &[i64]) -> BTreeMap<String, u64> {
        left_out(self.skip.iter().map(|&at| rows[at]))
    }
}

/// The facts of an artifact that lacks these rows.
pub(crate) fn left_out(rows: impl IntoIterator<Item = i64>) -> BTreeMap<String, u64> {
    let mut facts: BTreeMap<String, u64> = rows.into_iter().map(|row| (plan::left_out(row), 1)).collect();
    if !facts.is_empty() {
        facts.insert(plan::LEFT_OUT.to_owned(), facts.len() as u64);
    }
    facts
}

/// A prediction, and the rows that are known to be left out of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prediction {
    pub(crate) found: Probabilities,
    pub(crate) left_out: BTreeSet<i64>,
}

impl Prediction {
    /// Leaves more rows out.
    pub(crate) fn leave_out(&mut self, rows: &BTreeSet<i64>) {
        self.left_out.extend(rows);
        let Probabilities { rows: known, probabilities } = std::mem::take(&mut self.found);
        let kept = known.into_iter().zip(probabilities).filter(|(row, _)| !rows.contains(row));
        (self.found.rows, self.found.probabilities) = kept.unzip();
    }
}

/// An artifact on this machine, its files verified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// Files by name.
    pub files: BTreeMap<String, PathBuf>,
    /// Facts by name.
    pub facts: BTreeMap<String, u64>,
}

/// The input that holds vectors, where a model reads those.
const FEATURES: &str = "features";

/// Files that go where a model goes, by their names there: its tokenizer, chat template and the like.
pub(crate) type Companions = BTreeMap<&'static str, PathBuf>;

/// What a stage made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Names of the files in the output folder that belong to the artifact.
    pub files: Vec<String>,
    /// The artifact's facts.
    pub facts: BTreeMap<String, u64>,
}

impl Job<'_> {
    pub(crate) fn file(&self, role: &str, name: &str) -> Result<&Path, Error> {
        let lacks = || Error::Lacks { role: role.to_owned(), what: "file", name: name.to_owned() };
        self.input(role)?.files.get(name).map(PathBuf::as_path).ok_or_else(lacks)
    }

    pub(crate) fn fact(&self, role: &str, name: &str) -> Result<u64, Error> {
        let lacks = || Error::Lacks { role: role.to_owned(), what: "fact", name: name.to_owned() };
        self.input(role)?.facts.get(name).copied().ok_or_else(lacks)
    }

    pub(crate) fn input(&self, role: &str) -> Result<&Input, Error> {
        self.inputs.get(role).ok_or_else(|| Error::Input(role.to_owned()))
    }

    /// A prediction of probabilities.
    pub(crate) fn prediction(&self, role: &str) -> Result<Prediction, Error> {
        let left_out = plan::rows_left_out(&self.input(role)?.facts).map_err(Error::Mismatch)?;
        Ok(Prediction { found: Probabilities::read(&self.parts(role)?)?, left_out })
    }

    /// The part files of a prediction, in the order of the rows.
    pub(crate) fn parts(&self, role: &str) -> Result<Vec<&Path>, Error> {
        let files = &self.input(role)?.files;
        let parts: Vec<_> =
            files.iter().filter(|(name, _)| is_part(name)).map(|(_, path)| path.as_path()).collect();
        if parts.is_empty() {
            return Err(Error::Lacks { role: role.to_owned(), what: "file", name: part_name(0) });
        }
        Ok(parts)
    }

    /// What the part holds beside texts, which are not read.
    pub(crate) fn labels(&self, part: Part) -> Result<Labels, Error> {
        Ok(Table::read_labels(self.file("data", &part.file())?)?)
    }

    /// The shard's rows in a part of so many, all where there is no shard. Shards begin at multiples of `size`.
    pub(crate) fn shard(&self, size: usize, rows: usize) -> Result<Shard, Error> {
        let shard = self.shard.clone().unwrap_or_else(|| (0..rows).into());
        let Range { start, end } = shard.range;
        let within = |at: &usize| (start..end).contains(at);
        let fits = start.checked_rem(size) == Some(0) && start <= end && end <= rows;
        if fits && shard.skip.iter().all(within) {
            return Ok(shard);
        }
        Err(Error::Shard { start, end, rows, shard: size })
    }

    /// How many rows there are of what a model reads.
    pub(crate) fn rows_read(&self) -> Result<usize, Error> {
        let role = if self.inputs.contains_key(FEATURES) { FEATURES } else { "tokens" };
        Ok(self.fact(role, "rows")? as usize)
    }

    /// The files of vectors, in the order of the rows.
    pub(crate) fn features(&self) -> Result<Vec<&Path>, Error> {
        let files = self.input(FEATURES)?.files.iter();
        let files = files.filter(|(name, _)| features::is_features(name));
        Ok(files.map(|(_, path)| path.as_path()).collect())
    }

    /// The tokens, or the vectors, of the part's rows `rows`, as the model reads them.
    pub(crate) fn examples(&self, rows: Range<usize>, model: &Model) -> Result<Examples, Error> {
        if self.inputs.contains_key(FEATURES) {
            return Ok(Examples::of_vectors(&self.features()?, rows, model.width())?);
        }
        let role = "tokens";
        let prompts = self.input(role)?.files.get(tokens::PROMPTS);
        let files = TokenFiles {
            tokens: self.file(role, tokens::TOKENS)?,
            offsets: self.file(role, tokens::OFFSETS)?,
            prompts: prompts.map(PathBuf::as_path),
        };
        // Padding is masked, so any id that the model knows serves.
        let pad = model.special_tokens().pad.unwrap_or(0);
        if !self.input(role)?.facts.contains_key(SEQUENCES) {
            return Ok(Examples::open(&files, rows, model.vocab_size(), pad)?);
        }
        let sequences = 2 * rows.start..2 * rows.end;
        Ok(Examples::open(&files, sequences, model.vocab_size(), pad)?.in_pairs()?)
    }

    /// The model in a role.
    pub(crate) fn model(&self, role: &str) -> Result<Model, Error> {
        Ok(self.outline(role)?.filled()?)
    }

    /// The tokenizer file of the model in a role.
    pub(crate) fn tokenizer(&self, role: &str) -> Result<&Path, Error> {
        self.file(role, ModelFiles::TOKENIZER)
    }

    /// The same, outlined only. Its weights are of a file that was verified and stays open.
    pub(crate) fn outline(&self, role: &str) -> Result<Model, Error> {
        Ok(Model::outline(&self.model_files(role)?, self.device)?)
    }

    /// The network for images in a role.
    pub(crate) fn backbone(&self, role: &str) -> Result<Backbone, Error> {
        Ok(Backbone::load(&self.model_files(role)?, self.device)?)
    }

    fn model_files(&self, role: &str) -> Result<ModelFiles, Error> {
        let file = |name| self.file(role, name);
        Ok(ModelFiles {
            config: file(ModelFiles::CONFIG)?.to_owned(),
            weights: WeightFiles::Whole(file(ModelFiles::WEIGHTS)?.to_owned()),
            tokenizer: None,
        })
    }

    /// The tokenizer of the model in a role, and all that goes with it.
    pub(crate) fn companions(&self, role: &str) -> Result<Companions, Error> {
        let files = &self.input(role)?.files;
        Ok(COMPANIONS.iter().filter_map(|name| Some((*name, files.get(*name)?.clone()))).collect())
    }

    /// Writes the model and copies its companions into the output folder.
    pub(crate) fn save(&self, model: &Model, companions: &Companions) -> Result<Outcome, Error> {
        model.save(self.output)?;
        let mut files = vec![ModelFiles::CONFIG.to_owned(), ModelFiles::WEIGHTS.to_owned()];
        for (name, path) in companions {
            fs::copy(path, self.output.join(name)).map_err(Error::io(path))?;
            files.push((*name).to_owned());
        }
        Ok(Outcome { files, facts: [parameters(model)].into() })
    }
}

/// The fact that counts a model's parameters, as it is saved, and those of what makes its vectors.
pub(crate) fn parameters(model: &Model) -> (String, u64) {
    ("parameters".to_owned(), (model.merged_count() + model.below()) as u64)
}

/// The fact of tokens that counts the sequences of pairs.
pub(crate) const SEQUENCES: &str = "sequences";

/// Name of a shard's file.
pub(crate) fn part_name(shard: usize) -> String {
    format!("part-{shard:05}.parquet")
}

fn is_part(name: &str) -> bool {
    name.starts_with("part-") && name.ends_with(".parquet")
}
