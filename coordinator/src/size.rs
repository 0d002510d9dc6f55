//! Whether assignments fit into messages. Each carries the manifests of its stage's inputs, and those of sharded
//! inputs name every shard: a stage that reads very many of them would be told to no worker, ever.

use fulcrum_common::{
    Key,
    plan::{Infer, Plan, Stage, Work},
    protocol::MESSAGE_LIMIT,
};

/// What is left for the rest of a message, in bytes.
const RESERVE: usize = 64 << 10;

/// A file in a manifest, in bytes of JSON: name, path, length, digest.
const FILE: usize = 320;

/// Facts, key, field names of a manifest.
const FRAME: usize = 1024;

/// Framing of one input in a message.
const ENTRY: usize = 32;

/// Files of a stage that is not cut into shards, at most.
const FILES: u64 = 8;

/// An assignment that no message holds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stage {name:?} reads {inputs} artifacts, and telling a worker about them takes {bytes} bytes, over the {MESSAGE_LIMIT} \
     of a message: raise `shard` under [infer] or --shard, or split the experiment"
)]
pub struct SizeError {
    name: String,
    inputs: usize,
    bytes: usize,
}

/// Checks a plan before anything is run. Rows that only their files tell count as one shard here;
/// [`check_assignment`] finds what that misses.
pub(crate) fn check(plan: &Plan) -> Result<(), SizeError> {
    let inputs = |key| plan.stage(key).map(estimate);
    plan.stages().iter().try_for_each(|stage| fits(stage, inputs))
}

/// Checks a stage whose inputs are all there. `manifest` tells the bytes of an input's manifest.
pub(crate) fn check_assignment(
    stage: &Stage,
    manifest: impl Fn(Key) -> Option<usize>,
) -> Result<(), SizeError> {
    fits(stage, manifest)
}

fn fits(stage: &Stage, input: impl Fn(Key) -> Option<usize>) -> Result<(), SizeError> {
    let inputs = &stage.spec.inputs;
    let manifests = inputs.iter().map(|(role, key)| role.len() + ENTRY + input(*key).unwrap_or_default());
    let bytes = manifests.fold(json(stage), usize::saturating_add);
    if bytes > MESSAGE_LIMIT - RESERVE {
        return Err(SizeError { name: stage.name.clone(), inputs: inputs.len(), bytes });
    }
    Ok(())
}

/// Bytes of the manifest that the stage will have.
fn estimate(stage: &Stage) -> usize {
    let files = match stage.spec.work {
        Work::Infer(Infer { shard, .. }) => stage.estimate.examples.div_ceil(shard.max(1) as u64).max(1),
        _ => FILES,
    };
    let files = usize::try_from(files).unwrap_or(usize::MAX).saturating_mul(FILE);
    files.saturating_add(json(stage)).saturating_add(FRAME)
}

fn json(value: &impl serde::Serialize) -> usize {
    serde_json::to_vec(value).expect("plans and manifests are plain data").len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tick::tests::builder::{ROWS, SHARD, Sketch, manifest};

    /// A plan that measures so many predictions at once, each of so many rows.
    fn plan(predictions: u64, rows: u64) -> Plan {
        let mut sketch = Sketch::default();
        let data = sketch.prepare("data", 0);
        let labels: Vec<(String, Key)> = (0..predictions)
            .map(|seed| {
                let model = sketch.train(&format!("model {seed}"), seed, data);
                (format!("labels/{seed}"), sketch.infer(&format!("labels {seed}"), model, data))
            })
            .collect();
        let inputs: Vec<(&str, Key)> = labels.iter().map(|(role, key)| (role.as_str(), *key)).collect();
        sketch.measure("goal", &inputs);
        let mut stages = Vec::from(sketch.0);
        stages.iter_mut().for_each(|stage| stage.estimate.examples = rows);
        stages.into()
    }

    #[test]
    fn a_plan_whose_assignments_exceed_a_message_is_refused_beforehand() {
        let many = 10_000 * SHARD as u64;
        assert_eq!(check(&plan(4, many)), Ok(()));
        let error = check(&plan(6, many)).unwrap_err();
        assert_eq!((error.name.as_str(), error.inputs), ("goal", 6));
        assert_eq!(check(&plan(6, ROWS)), Ok(()), "fewer shards help");
    }

    #[test]
    fn what_a_plan_is_thought_to_need_is_not_less_than_what_its_manifests_need() {
        for stage in plan(1, ROWS).stages() {
            let file = |index| fulcrum_common::store::File {
                name: format!("part-{index:05}.parquet"),
                path: format!("artifacts/{}/{}/part-{index:05}.parquet", stage.key, u64::MAX),
                bytes: u64::MAX,
                digest: stage.key,
            };
            let mut made = manifest(stage);
            let files =
                if matches!(stage.spec.work, Work::Infer(_)) { ROWS.div_ceil(SHARD as u64) } else { FILES };
            made.files = (0..files).map(file).collect();
            assert!(json(&made) <= estimate(stage), "{}", stage.name);
        }
    }
}
