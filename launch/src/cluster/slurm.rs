//! The job that Slurm runs: workers on all its tasks, and `fulcrum run` on its first machine.

use std::{fmt::Write as _, path::Path};

use anyhow::{Result, bail};
use fulcrum_common::experiment::Cluster;

use super::shell::{line, quoted, text};

/// What the first machine does. The rest of the script says with what.
const BODY: &str = r#"
# Each task keeps one worker alive. One that is lost does not take the others with it.
srun --kill-on-bad-exit=0 "${worker[@]}" --run-folder "$run" &
workers=$!

"$fulcrum" run "$file" "${options[@]}" &
head=$!

# Slurm says it before the time is over, and when it wants the machines back: trainings then keep a checkpoint.
trap 'kill -TERM "$head"' TERM USR1

code=0
wait "$head" || code=$?
# A signal ends the wait and not the run.
while kill -0 "$head" 2> /dev/null; do
    code=0
    wait "$head" || code=$?
done

# The workers were sent home. Who has not heard of it is told.
{ sleep 20 && kill -TERM "$workers"; } 2> /dev/null &
late=$!
wait "$workers"
kill "$late" 2> /dev/null

# 10 says that the same command goes on from what was kept. A job that was preempted waits in the queue already, and one that
# was cancelled is not to come back.
job="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
if [ "$code" = 10 ] && [ "$(squeue --noheader --format=%T --jobs="$job")" = RUNNING ]; then
    scontrol requeue "$job"
fi
exit "$code"
"#;

/// What a job is made of.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    /// What the queue calls it.
    pub(crate) name: String,
    /// The program, where every machine has it.
    pub(crate) fulcrum: &'a Path,
    /// Where it is started: relative paths begin there.
    pub(crate) folder: &'a Path,
    /// Where the job writes what it says.
    pub(crate) log: &'a Path,
    /// The experiments; with several the job is an array.
    pub(crate) experiments: &'a [Member],
    /// What `fulcrum run` is told besides.
    pub(crate) options: Vec<String>,
    /// What each task runs.
    pub(crate) worker: Vec<String>,
    /// Workers of an experiment.
    pub(crate) workers: usize,
    /// What is asked of the scheduler.
    pub(crate) cluster: &'a Cluster,
}

/// One experiment of a job.
#[derive(Debug)]
pub(crate) struct Member {
    /// The experiment file.
    pub(crate) file: String,
    /// The folder of its run.
    pub(crate) run: String,
}

/// The job as `sbatch` reads it.
///
/// # Errors
/// If a path cannot stand in a script.
pub(crate) fn script(job: &Job<'_>) -> Result<String> {
    let mut script = "#!/bin/bash\n".to_owned();
    for option in options(job) {
        if option.contains(['\n', '\r']) {
            bail!("{option:?} does not fit into a line of a job script");
        }
        writeln!(script, "#SBATCH {option}")?;
    }
    writeln!(script, "\n# Written by `fulcrum launch slurm`, which writes it anew.")?;
    writeln!(script, "cd {} || exit 2", quoted(&text(job.folder)?)?)?;
    writeln!(script, "fulcrum={}", quoted(&text(job.fulcrum)?)?)?;
    writeln!(script, "options=({})", line(&job.options)?)?;
    writeln!(script, "worker=(\"$fulcrum\" {})", line(&job.worker)?)?;
    let of = |part: fn(&Member) -> &String| job.experiments.iter().map(part).cloned().collect::<Vec<_>>();
    writeln!(script, "files=({})", line(&of(|member| &member.file))?)?;
    writeln!(script, "runs=({})", line(&of(|member| &member.run))?)?;
    writeln!(script, "file=${{files[${{SLURM_ARRAY_TASK_ID:-0}}]}}")?;
    writeln!(script, "run=${{runs[${{SLURM_ARRAY_TASK_ID:-0}}]}}")?;
    script.push_str(BODY);
    Ok(script)
}

/// The lines at the top of the script. What the file asks for besides comes last, and so wins.
fn options(job: &Job<'_>) -> Vec<String> {
    let Cluster { partition, account, time, nodes, cpus, gpus, memory, grace, flags } = job.cluster;
    let mut options = vec![
        format!("--job-name={}", job.name),
        format!("--ntasks={}", job.workers),
        format!("--cpus-per-task={cpus}"),
        format!("--output={}", job.log.display()),
        "--open-mode=append".to_owned(),
        "--requeue".to_owned(),
        format!("--signal=B:TERM@{grace}"),
    ];
    let last = job.experiments.len().saturating_sub(1);
    options.extend((last > 0).then(|| format!("--array=0-{last}")));
    options.extend(nodes.map(|nodes| format!("--nodes={nodes}")));
    options.extend(gpus.then(|| "--gpus-per-task=1".to_owned()));
    let said = [("partition", partition), ("account", account), ("time", time), ("mem-per-cpu", memory)];
    options.extend(said.iter().filter_map(|(key, value)| Some(format!("--{key}={}", value.as_ref()?))));
    options.extend(flags.iter().cloned());
    options
}
