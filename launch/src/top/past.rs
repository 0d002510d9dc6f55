//! The losses of trainings that were done before anybody looked, out of the store.

use std::collections::BTreeMap;

use anyhow::Result;
use fulcrum_common::{Key, protocol::StageStatus, store::Store};

use crate::{
    losses,
    run_folder::{RunFacts, RunFolder, read_json},
};

/// What was read so far, by the stage's key: steps and losses.
#[derive(Debug)]
pub(super) struct Past {
    folder: RunFolder,
    read: BTreeMap<String, Vec<(u64, f64)>>,
}

impl Past {
    /// Nothing read yet.
    pub(super) fn new(folder: RunFolder) -> Self {
        Self { folder, read: BTreeMap::new() }
    }

    /// The losses of a training that is done; none of any other stage, and where the store does not have them.
    pub(super) async fn of(&mut self, stage: &StageStatus) -> &[(u64, f64)] {
        let is_made = matches!(stage.state.as_str(), "done" | "cached");
        if is_made && stage.kind == "train" && !self.read.contains_key(&stage.key) {
            let found = self.find(&stage.key).await.unwrap_or_default();
            self.read.insert(stage.key.clone(), found);
        }
        self.read.get(&stage.key).map_or(&[], Vec::as_slice)
    }

    /// The store is not kept open, as nobody cleans it while it is.
    async fn find(&self, key: &str) -> Result<Vec<(u64, f64)>> {
        let (facts, key): (RunFacts, Key) = (read_json(&self.folder.facts())?, key.parse()?);
        let store = Store::at(&facts.store)?;
        let Some(made) = store.manifest(key).await? else { return Ok(Vec::new()) };
        let losses = losses::read(&store, &made).await?;
        Ok(losses.iter().filter_map(|at| Some((at.step, at.loss?))).collect())
    }
}
