//! When snapshots are taken, and what a training that leaves has in safety.

use std::sync::Mutex;

use fulcrum_train::{Error, Gang, Keeper, Monitor, Past, Progress, Snapshot, Training, Wanted, train};

use crate::support::{CrossEntropy, examples, gang, model, settings};

const OBJECTIVE: CrossEntropy = CrossEntropy { threshold: false };

/// Notes what happens to snapshots, and when.
struct Notes {
    /// Steps after which this rank asks for one.
    due: usize,
    /// Steps after which this rank leaves.
    leaves: usize,
    seen: Mutex<Vec<String>>,
}

impl Notes {
    fn new(due: usize, leaves: usize) -> Self {
        Self { due, leaves, seen: Mutex::default() }
    }

    fn note(&self, what: String) {
        self.seen.lock().unwrap().push(what);
    }
}

impl Keeper for Notes {
    fn is_due(&self, steps: usize) -> bool {
        steps == self.due
    }

    fn keep(&self, snapshot: Snapshot) {
        self.note(format!("keep {}", snapshot.step));
    }

    fn settle(&self) {
        self.note("settle".to_owned());
    }

    fn finish(&self) {
        self.note("finish".to_owned());
    }
}

impl Monitor for Notes {
    fn progress(&self, progress: Progress) {
        self.note(format!("step {}", progress.step));
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn leaving(&self) -> bool {
        self.seen.lock().unwrap().iter().filter(|what| what.starts_with("step")).count() + 1 >= self.leaves
    }
}

/// Trains on two ranks; what each noted, and how it ended.
fn on_two(notes: impl Fn(usize) -> Notes + Sync) -> Vec<(Vec<String>, Result<usize, Error>)> {
    gang(2, |end| {
        let notes = notes(end.rank());
        let (model, examples) = (model(fulcrum_common::plan::Head::Classifier { classes: 2 }), examples(60));
        let training = Training::new(&model, &examples, &OBJECTIVE, settings(), 1, Gang::data(end));
        let ended = train(Training { monitor: &notes, keeper: Some(&notes), ..training });
        (notes.seen.into_inner().unwrap(), ended.map(|trained| trained.losses.len()))
    })
}

#[test]
fn where_one_rank_asks_all_take_a_snapshot_which_is_read_before_the_next_update() {
    let ranks = on_two(|rank| Notes::new(if rank == 1 { 2 } else { 0 }, usize::MAX));
    for (seen, ended) in ranks {
        assert!(ended.is_ok());
        let at = seen.iter().position(|what| what == "keep 2").expect("a snapshot after step 2");
        assert_eq!(seen[at - 1..at + 3], ["step 2", "keep 2", "settle", "step 3"]);
        assert_eq!(seen.iter().filter(|what| what.starts_with("keep")).count(), 1);
    }
}

#[test]
fn where_one_rank_leaves_all_finish_the_step_keep_it_and_end() {
    let ranks = on_two(|rank| Notes::new(0, if rank == 0 { 3 } else { usize::MAX }));
    for (seen, ended) in ranks {
        assert!(matches!(ended, Err(Error::Cancelled { step: 3 })), "{ended:?}");
        assert_eq!(seen[seen.len() - 3..], ["step 3", "keep 3", "finish"]);
    }
}

/// Places of which a rank can read some.
struct Places<'a> {
    snapshots: &'a Mutex<Vec<Snapshot>>,
    readable: &'a [bool],
}

impl Past for Places<'_> {
    fn places(&self) -> usize {
        self.readable.len()
    }

    fn read(&self, place: usize, wanted: Wanted<'_>) -> Result<Vec<Snapshot>, Error> {
        match self.readable[place] {
            true => Past::read(&*self.snapshots.lock().unwrap(), 0, wanted),
            false => Err(Error::State("torn".into())),
        }
    }
}

#[test]
fn all_ranks_go_on_from_the_latest_place_that_each_of_them_can_read() {
    let began = |readable: [&[bool]; 2]| {
        let steps = gang(2, |end| {
            let (model, examples) =
                (model(fulcrum_common::plan::Head::Classifier { classes: 2 }), examples(60));
            let notes = Notes::new(0, usize::MAX);
            let readable = readable[end.rank()];
            let training = Training::new(&model, &examples, &OBJECTIVE, settings(), 1, Gang::data(end));
            let snapshots = Mutex::new(vec![copied(training.clone())]);
            let past = Places { snapshots: &snapshots, readable };
            train(Training { monitor: &notes, past: Some(&past), ..training }).unwrap();
            notes.seen.into_inner().unwrap()[0].clone()
        });
        assert_eq!(steps[0], steps[1]);
        steps[0].clone()
    };
    assert_eq!(began([&[true], &[true]]), "step 2");
    assert_eq!(began([&[true, true], &[false, true]]), "step 2", "the second place is of the same step here");
    assert_eq!(began([&[true, false], &[false, true]]), "step 1", "no place that both can read");
    assert_eq!(began([&[], &[]]), "step 1");
}

/// A snapshot of the model as it is, as if after one step.
fn copied(training: Training<'_>) -> Snapshot {
    let zero = |tensor: &tch::Tensor| tch::Tensor::zeros([tensor.numel() as i64], tch::kind::FLOAT_CPU);
    let part = |(name, tensor): &(String, tch::Tensor)| {
        let weights = tensor.detach().contiguous().view(-1).copy();
        let tensors = [("weights", weights), ("means", zero(tensor)), ("squares", zero(tensor))];
        fulcrum_train::Part {
            name: name.clone(),
            numbers: 0..tensor.numel(),
            tensors: tensors.into_iter().map(|(kind, tensor)| (kind.to_owned(), tensor)).collect(),
        }
    };
    let loss = fulcrum_train::StepLoss { step: 0, loss: 0.5, learning_rate: 0.1, rows: 0, skipped: false };
    Snapshot {
        step: 1,
        updates: 1,
        skipped: 0,
        micro_batch: training.settings.micro_batch,
        resized: false,
        parts: training.model.parameters().iter().map(part).collect(),
        memory: Default::default(),
        losses: vec![loss],
    }
}
