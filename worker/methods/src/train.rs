//! Train: finetune a model on ground truth, on weak labels, or as a language model.

use std::{cell::Cell, fs, path::Path};

use fulcrum_common::{
    fault::point,
    plan::{self, Head, HeadInit, HeadSpec, Mode, Part, RESIZED, Train, Trainable},
    source::ADAPTER_FILES,
};
use fulcrum_data::Tokenizer;
use fulcrum_models::{Init, Model, NewHead};
use fulcrum_train::{
    Examples, Gang, Monitor, Past, Snapshot, Training, Wanted, checkpoint::Files, write_losses,
};

use crate::{Error, Job, Kept, Outcome, job::parameters, labels, objectives};

/// Name of the file with the loss of every step.
const LOSSES: &str = "losses.jsonl";

/// Name of the file with what else can be compared.
const TRAINED: &str = "training.json";

/// The input that holds weak labels.
const LABELS: &str = "labels";

/// The input of a stretch of a training that holds the stretch before.
const BEFORE: &str = "before";

/// Names of the files that the next stretch goes on from.
const STATE: [&str; 2] = ["state.bin", "state.safetensors"];

pub(crate) fn run(
    job: &Job<'_>,
    work: &Train,
    gang: &Gang,
    monitor: &dyn Monitor,
    kept: Option<Kept<'_>>,
) -> Result<Outcome, Error> {
    let loaded = load(job, work);
    if let Err(error) = &loaded {
        // The other members may have loaded well and wait for this one.
        gang.abort(&error.to_string());
    }
    let (model, examples) = loaded?;
    let rank = gang.all().rank();
    let objective = objectives::objective(work.objective);
    let settings = work.optimizer.clone();
    let training = Training::new(&model, &examples, &*objective, settings, work.seed, gang.clone());
    let past = Reached {
        kept: kept.map(|kept| kept.past),
        before: before(job, work)?,
        world: gang.all().world(),
        changed: Cell::new(None),
    };
    let keeper = kept.map(|kept| kept.keeper);
    let (numerics, span) = (work.numerics, work.span);
    let training =
        Training { numerics, monitor, keeper, past: Some(&past), span, everywhere: false, ..training };
    let trained = fulcrum_train::train(training)?;
    let losses = &trained.losses;
    let steps = ("steps".to_owned(), losses.len() as u64);
    let skipped = losses.iter().filter(|loss| loss.skipped).count() as u64;
    let skipped = (skipped > 0).then(|| ("skipped".to_owned(), skipped));
    // In deterministic mode the number of ranks changes no byte.
    let changed = past.changed.get().filter(|_| work.numerics.mode == Mode::Fast);
    let resized = changed.map(|ranks| (RESIZED.to_owned(), ranks as u64));
    if rank > 0 {
        return Ok(Outcome { files: Vec::new(), facts: [parameters(&model), steps].into() });
    }
    point("train.save").map_err(fulcrum_train::Error::from)?;
    let mut adapter = Vec::new();
    if work.lora.is_some() {
        model.save_adapter(job.output)?;
        adapter.extend(ADAPTER_FILES.map(str::to_owned));
    }
    let mut outcome = job.save(&model.merged(), &job.companions("model")?)?;
    outcome.files.append(&mut adapter);
    write_losses(&job.output.join(LOSSES), losses)?;
    trained.write(&job.output.join(TRAINED))?;
    outcome.files.extend([LOSSES, TRAINED].map(str::to_owned));
    if let Some(state) = &trained.state {
        for (name, bytes) in STATE.into_iter().zip([&state.header, &state.tensors]) {
            let path = job.output.join(name);
            fs::write(&path, bytes).map_err(Error::io(&path))?;
            outcome.files.push(name.to_owned());
        }
    }
    outcome.facts.extend([steps].into_iter().chain(skipped).chain(resized));
    Ok(outcome)
}

/// Where a training can go on from: its own checkpoints, then what the stretch before it left. Notes whether it goes on
/// from a checkpoint of another number of ranks.
struct Reached<'a> {
    kept: Option<&'a dyn Past>,
    /// The files of the stretch before. They are as large as three models, and read only where they are gone on from.
    before: Option<[&'a Path; 2]>,
    world: usize,
    /// How many they were.
    changed: Cell<Option<usize>>,
}

impl Past for Reached<'_> {
    fn places(&self) -> usize {
        self.kept.map_or(0, Past::places) + usize::from(self.before.is_some())
    }

    fn read(&self, place: usize, wanted: Wanted<'_>) -> Result<Vec<Snapshot>, fulcrum_train::Error> {
        if let Some(kept) = self.kept.filter(|kept| place < kept.places()) {
            let snapshots = kept.read(place, wanted)?;
            let changed = snapshots.len() != self.world || snapshots.iter().any(|snapshot| snapshot.resized);
            self.changed.set(changed.then_some(snapshots.len()));
            return Ok(snapshots);
        }
        self.changed.set(None);
        let Some(before) = self.before else { return Ok(Vec::new()) };
        let read = |path| fs::read(path).map_err(|error| state(path, &error));
        let [header, tensors] = before;
        let files = Files { header: read(header)?, tensors: read(tensors)? };
        files.handed_over(self.world, wanted)
    }
}

/// What the stretch before left, where there is one.
fn before<'a>(job: &'a Job<'_>, work: &Train) -> Result<Option<[&'a Path; 2]>, Error> {
    let [header, tensors] = STATE;
    match work.span {
        Some(span) if span.begin > 0 => Ok(Some([job.file(BEFORE, header)?, job.file(BEFORE, tensors)?])),
        _ => Ok(None),
    }
}

fn state(path: &Path, error: &std::io::Error) -> fulcrum_train::Error {
    fulcrum_train::Error::State(format!("{}: {error}", path.display()))
}

/// The model as it is trained, and the rows with their labels.
fn load(job: &Job<'_>, work: &Train) -> Result<(Model, Examples), Error> {
    let rows = job.rows_read()?;
    if rows == 0 {
        return Err(Error::Mismatch("there is nothing to train on: the data has no rows".to_owned()));
    }
    let head = new_head(&work.head, || job.tokenizer("model"))?;
    let model = prepare(job.outline("model")?.with_head(&head, work.seed)?, work)?;
    let examples = job.examples(0..rows, &model)?;
    let examples = match (work.objective, work.head.head) {
        (plan::Objective::LanguageModel, Head::LanguageModel) => examples,
        (objective, Head::Classifier { classes }) if objective != plan::Objective::LanguageModel => {
            labelled(job, examples, work.part, classes)?
        }
        (objective, Head::Reward) if objective != plan::Objective::LanguageModel => {
            labelled(job, examples, work.part, 2)?
        }
        (objective, head) => {
            return Err(Error::Mismatch(format!(
                "a model that ends in {head:?} cannot minimize {objective:?}"
            )));
        }
    };
    Ok((model, examples))
}

/// The model with everything frozen but what is to be trained.
fn prepare(mut model: Model, work: &Train) -> Result<Model, Error> {
    match (&work.lora, &work.trainable) {
        (Some(lora), Trainable::All) => Ok(model.with_lora(lora, work.seed)?),
        (Some(_), other) => {
            let what =
                format!("with adapters, these and the head are trained: {other:?} cannot be asked for");
            Err(Error::Mismatch(what))
        }
        (None, trainable) => {
            model.freeze(trainable)?;
            Ok(model)
        }
    }
}

/// The head that a plan tells of, with ids for tokens.
pub(crate) fn new_head<'a>(
    spec: &HeadSpec,
    tokenizer: impl Fn() -> Result<&'a Path, Error>,
) -> Result<NewHead, Error> {
    let init = match &spec.init {
        HeadInit::Normal => Init::Normal,
        HeadInit::Zero => Init::Zero,
        HeadInit::Unembedding(tokens) => {
            let tokenizer = Tokenizer::from_file(tokenizer()?)?;
            let ids: Vec<i64> =
                tokens.iter().map(|token| tokenizer.single(token)).collect::<Result<_, _>>()?;
            if let Some(same) = (1..ids.len()).find(|&at| ids[..at].contains(&ids[at])) {
                let what = format!("{:?} is the token of another class for this tokenizer", tokens[same]);
                return Err(Error::Mismatch(what));
            }
            Init::Unembedding(ids)
        }
    };
    Ok(NewHead { head: spec.head, init, readout: spec.readout })
}

/// The rows that have labels, with them: weak ones where the stage has them, else the rows' own.
fn labelled(job: &Job<'_>, examples: Examples, part: Part, classes: usize) -> Result<Examples, Error> {
    let table = job.labels(part)?;
    let named = |error| match error {
        Error::Mismatch(what) => Error::Mismatch(format!("labels of {part}: {what}")),
        other => other,
    };
    if !job.stage.spec.inputs.contains_key(LABELS) {
        return Ok(examples.with_targets(labels::hard(&table, classes).map_err(named)?, classes)?);
    }
    let (kept, targets) = labels::soft(&table, job.prediction(LABELS)?, classes).map_err(named)?;
    let examples = if kept.len() < table.len() { examples.only(&kept)? } else { examples };
    Ok(examples.with_targets(targets, classes)?)
}
