//! The worker's engine: checks inputs out of the store, meets its gang, runs the stage, puts the files.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use fulcrum_common::{
    Key, exit,
    fault::{self, Who, point},
    flight::Activity,
    plan::Work,
    protocol::{Heartbeat, Shard},
    store::{File, Manifest, Store, StoreError},
};
use fulcrum_methods::{Input, Job, Kept, Monitor, Progress};
use tokio::runtime::Handle;

use crate::{
    attempt::Attempt,
    checkpoints::{self, Checkpoints},
    device::Device,
    engine::{self, Engine, Fault, Product, Task},
    gang, note,
    scratch::Scratch,
};

/// Runs stages and shards with what is in the store.
#[derive(Debug)]
pub(crate) struct Stages {
    store: Store,
    scratch: Scratch,
    runtime: Handle,
    device: Device,
    note: note::Place,
}

impl Stages {
    /// To be made on the thread that computes.
    pub(crate) fn new(
        store: Store,
        scratch: Scratch,
        runtime: Handle,
        (device, threads): (Device, u32),
        note: note::Place,
    ) -> Self {
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        Self { store, scratch, runtime, device, note }
    }

    /// Every input's files on this machine, verified.
    fn check_out(&self, manifests: &BTreeMap<String, Manifest>) -> Result<BTreeMap<String, Input>, Fault> {
        let mut inputs = BTreeMap::new();
        for (role, manifest) in manifests {
            let mut files = BTreeMap::new();
            for file in &manifest.files {
                let path =
                    self.runtime.block_on(self.store.local(manifest, &file.name)).map_err(unreadable)?;
                files.insert(file.name.clone(), path);
            }
            inputs.insert(role.clone(), Input { files, facts: manifest.facts.clone() });
        }
        Ok(inputs)
    }

    /// The files that the stage left in its scratch folder, durable.
    fn put(&self, key: Key, epoch: u64, folder: &Path, names: &[String]) -> Result<Vec<File>, Fault> {
        let put = |name: &String| {
            point("worker.put").map_err(Fault::passing)?;
            let source = folder.join(name);
            let put = self.store.put_file(key, epoch, name, &source);
            self.runtime.block_on(put).map_err(Fault::passing)
        };
        names.iter().map(put).collect()
    }
}

impl Engine for Stages {
    fn run(&mut self, task: &Task, attempt: &Arc<Attempt>) -> Result<Product, Fault> {
        fault::i_am(Who::Rank(task.rank, task.world));
        fault::at_step(0);
        let does = |what| attempt.recorder.does(what, 0, 0);
        does(Activity::Inputs);
        let inputs = self.check_out(&task.inputs)?;
        point("worker.inputs").map_err(Fault::passing)?;
        let scratch = self.scratch.folder().map_err(Fault::passing)?;
        let shard = task.shard.map(|shard| rows(shard, task)).transpose()?;
        let device = self.device.torch();
        let job = Job { stage: &task.stage, inputs: &inputs, shard, output: scratch.path(), device };
        does(Activity::Meeting);
        point("worker.gather.before").map_err(Fault::passing)?;
        let gang = gang::gather(task, attempt, self.device)?;
        point("worker.gather.after").map_err(Fault::passing)?;
        let place = || checkpoints::Place {
            store: self.store.clone(),
            runtime: self.runtime.clone(),
            attempt: Arc::clone(attempt),
            key: task.stage.key,
            rank: task.rank,
        };
        let start = |what: &engine::Checkpoints| Checkpoints::start(what.clone(), place());
        let kept = task.checkpoints.as_ref().map(start).transpose().map_err(Fault::passing)?;
        let keeper = kept.as_ref().map(|kept| Kept { keeper: kept, past: kept });
        let trains = matches!(task.stage.spec.work, Work::Train(_));
        does(if trains { Activity::Load } else { Activity::Work });
        point("worker.load").map_err(Fault::passing)?;
        let outcome = {
            let watch = Watch { attempt, place: &self.note, note: Mutex::new(None) };
            fulcrum_methods::run(&job, &gang, &watch, keeper).map_err(fault)?
        };
        // Once all have said that they are done, checkpoints go: one that came later would stay for ever.
        kept.iter().for_each(Checkpoints::rest);
        does(Activity::Put);
        point("worker.made").map_err(Fault::passing)?;
        if task.rank > 0 {
            return Ok(Product::default());
        }
        let files = self.put(task.stage.key, task.epoch, scratch.path(), &outcome.files)?;
        point("worker.done").map_err(Fault::passing)?;
        Ok(Product { files, facts: outcome.facts })
    }
}

/// The rows of an assignment.
fn rows(shard: Shard, task: &Task) -> Result<fulcrum_methods::Shard, Fault> {
    let position = |at: u64| usize::try_from(at).map_err(|error| Fault::fatal(error, exit::MISMATCH));
    let trial =
        task.trial.map(|rows| Ok::<_, Fault>(position(rows.start)?..position(rows.end)?)).transpose()?;
    let skip = task.skip.iter().map(|&at| position(at)).collect::<Result<_, _>>()?;
    Ok(fulcrum_methods::Shard { range: position(shard.start)?..position(shard.end)?, skip, trial })
}

/// Brings the stage's progress to the control task, and its word to the stage.
struct Watch<'a> {
    attempt: &'a Attempt,
    place: &'a note::Place,
    /// Of the rows under way.
    note: Mutex<Option<note::Note>>,
}

impl Monitor for Watch<'_> {
    fn progress(&self, progress: Progress) {
        self.attempt.report(Heartbeat {
            epoch: self.attempt.epoch,
            step: progress.step as u64,
            steps: progress.steps as u64,
            examples: progress.examples as u64,
            loss: progress.loss.unwrap_or_default(),
            flight: None,
        });
    }

    fn rows(&self, rows: &[i64]) {
        self.attempt.at_rows(rows);
        *self.note.lock().unwrap_or_else(PoisonError::into_inner) = self.place.write(self.attempt, rows);
    }

    fn cancelled(&self) -> bool {
        self.attempt.is_cancelled()
    }

    fn leaving(&self) -> bool {
        self.attempt.is_leaving()
    }

    fn does(&self, what: Activity, step: usize, slot: usize) {
        self.attempt.recorder.does(what, step as u64, u32::try_from(slot).unwrap_or(u32::MAX));
    }

    fn ran_out_of_memory(&self) {
        self.attempt.recorder.ran_out_of_memory();
    }
}

/// Bytes that are not what the plan names cannot become so by trying again.
fn unreadable(error: StoreError) -> Fault {
    if error.is_damage() { Fault::fatal(error, exit::DIGEST) } else { Fault::passing(error) }
}

/// What a failure of the stage means for another attempt.
fn fault(error: fulcrum_methods::Error) -> Fault {
    Fault {
        retry: error.retry(),
        membership: error.is_membership() || error.is_cancelled(),
        code: error.exit_code(),
        message: error.to_string(),
        row: None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;
    use fulcrum_common::{
        plan::{Estimate, Stage},
        protocol::worker_event::Event,
    };
    use serde_json::json;
    use tokio::{runtime::Runtime, sync::mpsc};

    use super::*;

    fn stage(work: serde_json::Value, inputs: BTreeMap<String, Key>) -> Stage {
        let spec = fulcrum_common::plan::Spec { work: serde_json::from_value(work).unwrap(), inputs };
        let name = spec.work.kind().to_owned();
        Stage {
            key: spec.key(),
            name,
            spec,
            locations: BTreeMap::new(),
            estimate: Estimate::default(),
            workers: None,
        }
    }

    fn corpus() -> Stage {
        let source = json!({"arithmetic": {"rows": 20, "seed": 3, "below": 10, "noise": 0.0}});
        stage(json!({"prepare": {"corpus": {"source": source}}}), BTreeMap::new())
    }

    fn task(stage: Stage, (rank, world): (usize, usize), inputs: BTreeMap<String, Manifest>) -> Task {
        let (shard, skip, trial) = (None, vec![], None);
        Task { epoch: 5, stage, rank, world, shard, skip, trial, inputs, checkpoints: None }
    }

    fn attempt() -> (Arc<Attempt>, mpsc::UnboundedReceiver<Event>) {
        let (events, said) = mpsc::unbounded_channel();
        (Attempt::new(5, Ipv4Addr::LOCALHOST.into(), events), said)
    }

    struct Scene {
        runtime: Runtime,
        store: Store,
        _folder: tempfile::TempDir,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(folder.path()).unwrap();
            Self { runtime: Runtime::new().unwrap(), store, _folder: folder }
        }

        fn stages(&self) -> Stages {
            let scratch = Scratch::open(self.store.home(), "w0").unwrap();
            let note = note::Place::new(self.store.home(), "w0");
            Stages::new(self.store.clone(), scratch, self.runtime.handle().clone(), (Device::Cpu, 1), note)
        }

        fn run(&self, task: &Task) -> Result<Product, Fault> {
            self.stages().run(task, &attempt().0)
        }

        fn commit(&self, stage: &Stage, product: Product) -> Manifest {
            let (name, spec) = (stage.name.clone(), stage.spec.clone());
            let Product { files, facts } = product;
            let manifest = Manifest { key: stage.key, name, epoch: 5, files, facts, spec };
            self.runtime.block_on(self.store.commit(&manifest)).unwrap()
        }
    }

    #[test]
    fn a_stage_leaves_its_files_and_facts_under_its_epoch() {
        let scene = Scene::new();
        let stage = corpus();
        let product = scene.run(&task(stage.clone(), (0, 1), BTreeMap::new())).unwrap();
        assert_eq!(product.facts["rows/corpus"], 20);
        assert_eq!(product.files[0].path, format!("artifacts/{}/5/corpus.parquet", stage.key));
        scene.commit(&stage, product);
    }

    #[test]
    fn stages_write_below_the_store_and_a_lost_scratch_folder_is_worth_another_try() {
        let scene = Scene::new();
        let mut stages = scene.stages();
        std::fs::remove_dir_all(scene.store.home().join("scratch")).unwrap();
        let fault = stages.run(&task(corpus(), (0, 1), BTreeMap::new()), &attempt().0).unwrap_err();
        assert!(fault.retry && fault.message.contains("scratch"), "{}", fault.message);
    }

    #[test]
    fn a_dataset_with_a_bad_row_leaves_no_artifact_and_no_scratch() {
        let scene = Scene::new();
        let rows = scene.store.home().join("rows.jsonl");
        let good = "{\"text\": \"a lever\", \"label\": \"right\"}\n".repeat(3000);
        let cases = [
            ("{\"text\": 1", "rows.jsonl: line 3001: no JSON object: "),
            (
                "{\"txt\": \"a\", \"label\": \"right\"}",
                "rows.jsonl: line 3001: the template asks for the column `text`",
            ),
            (
                "{\"text\": \"a\", \"label\": \"left\"}",
                "rows.jsonl: line 3001: label is \"left\", which is none of",
            ),
            ("", "the split wants 2 rows for test, but of the source's 3000 rows 1 are left for it"),
        ];
        for (bad, expected) in cases {
            let text = format!("{good}{bad}");
            std::fs::write(&rows, &text).unwrap();
            let source =
                json!({"files": {"files": [{"name": "rows.jsonl", "digest": Key::of(text.as_bytes())}]}});
            let format = serde_json::to_value(fulcrum_common::plan::Format::arithmetic()).unwrap();
            let split = json!({"ground_truth": 1, "weak_labels": 1, "validation": 0, "test": 2, "balance": 0.5,
                "duplicates": "report", "seed": 0});
            let dataset = json!({"source": source, "format": format, "split": split, "drop_over": null});
            let mut stage = stage(json!({"prepare": {"dataset": dataset}}), BTreeMap::new());
            stage.locations.insert("file/0".into(), rows.to_str().unwrap().into());
            let key = stage.key;
            let fault = scene.run(&task(stage, (0, 1), BTreeMap::new())).unwrap_err();
            assert!(fault.message.contains(expected) && !fault.retry, "{}", fault.message);
            assert!(!fault.message.contains('\n'), "{}", fault.message);
            assert!(scene.runtime.block_on(scene.store.manifest(key)).unwrap().is_none());
            assert!(!scene.store.home().join("artifacts").join(key.to_string()).exists());
            let scratch = std::fs::read_dir(scene.store.home().join("scratch")).unwrap();
            let folders = scratch.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
            for folder in folders {
                let left = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
                assert_eq!(left.collect::<Vec<_>>(), ["lock"]);
            }
        }
    }

    #[test]
    fn an_input_that_is_damaged_fails_for_good_and_says_that_it_is_a_digest() {
        let scene = Scene::new();
        let data = corpus();
        let put = scene.store.put(data.key, 5, "corpus.parquet", Bytes::from_static(b"rows"));
        let file = scene.runtime.block_on(put).unwrap();
        std::fs::write(scene.store.home().join(&file.path), b"ruin").unwrap();
        let manifest = scene.commit(&data, Product { files: vec![file], facts: BTreeMap::new() });
        let measure = json!({"measure": {"accuracy": {"part": "corpus"}}});
        let reader = stage(measure, BTreeMap::from([("data".to_owned(), data.key)]));
        let fault =
            scene.run(&task(reader, (0, 1), BTreeMap::from([("data".to_owned(), manifest)]))).unwrap_err();
        assert_eq!((fault.retry, fault.code), (false, exit::DIGEST), "{}", fault.message);
    }
}
