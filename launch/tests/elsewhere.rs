//! `fulcrum worker` and `fulcrum launch`: who is started where, by which words.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use support::{Place, finish, pid_in, runs, wait_for};

/// Workers that stay until their input ends, and leave their arguments behind.
const STAY: &str = "echo \"$@\" > \"words.$$\"; cat > /dev/null";

/// The arguments of the workers that were started.
fn words(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.at(".")).unwrap().map(|entry| entry.unwrap().path());
    let left = entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("words."));
    let mut words: Vec<_> = left.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    words.retain(|words| words.ends_with('\n'));
    words.sort_unstable();
    words
}

#[test]
fn where_no_run_begins_a_worker_says_so() {
    let place = Place::with_worker(STAY);
    let done = place.run(&["worker", "--run-folder", "runs/tiny", "--wait", "0"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("no run has begun in runs/tiny within 0 s"), "{}", done.err);
}

#[test]
fn a_worker_looks_after_its_own_and_leaves_none() {
    let place = Place::with_worker(STAY);
    let run = place.start(&["run", "tiny.toml", "--workers", "3", "--here", "1", "--interface", "127.0.0.1"]);
    wait_for("the coordinator", || pid_in(&place.at("runs/tiny/coordinator.json")));
    let far = place.start(&[
        "worker",
        "--run-folder",
        "runs/tiny",
        "--count",
        "2",
        "--seat",
        "far",
        "--threads",
        "3",
    ]);
    let words = wait_for("three workers", || Some(words(&place)).filter(|words| words.len() == 3));
    for seat in ["w0", "far-0", "far-1"] {
        assert!(words.iter().any(|words| words.contains(&format!("--seat {seat} "))), "{words:?}");
    }
    assert_eq!(
        words.iter().filter(|words| words.contains("--threads 3 --device=cpu")).count(),
        2,
        "{words:?}"
    );
    assert!(place.at("runs/tiny/logs/far-1.log").is_file());
    kill(Pid::from_raw(far.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(finish(far).code, Some(10));
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    assert_eq!(finish(run).code, Some(10));
}

#[test]
fn more_workers_here_than_there_are_is_refused() {
    let place = Place::with_worker(STAY);
    let done = place.run(&["run", "tiny.toml", "--workers", "2", "--here", "3"]);
    assert_eq!(
        (done.code, done.err.as_str()),
        (Some(2), "error: --here 3 is more than all 2 workers of the run\n")
    );
}

/// What stands for ssh: the last word is run by a shell of this machine, as a host's would.
const SSH: &str = "for last; do :; done; echo \"$@\" > \"ssh.$$\"; exec sh -c \"$last\"";

#[test]
fn hosts_are_given_workers_over_ssh_and_lose_them_with_the_run() {
    let place = Place::with_worker(STAY);
    place.program("bin/ssh", SSH);
    let run =
        place.start(&["launch", "ssh", "tiny.toml", "--hosts", "me@a,b[1-2]", "--per-host", "2", "--ssh=-v"]);
    let words = wait_for("six workers", || Some(words(&place)).filter(|words| words.len() == 6));
    for seat in ["a-0", "a-1", "b1-0", "b1-1", "b2-0", "b2-1"] {
        assert!(words.iter().any(|words| words.contains(&format!("--seat {seat} "))), "{words:?}");
    }
    let entries = std::fs::read_dir(place.at(".")).unwrap().map(|entry| entry.unwrap().path());
    let ssh: Vec<_> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ssh.")).collect();
    let said: String = ssh.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(said.contains("-oConnectTimeout=10 -v -- me@a cd ") && ssh.len() == 3, "{said}");
    assert!(!said.contains(place.read("runs/tiny/token").trim()), "the token is in a command line");
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(finish(run).code, Some(10));
    for path in ssh {
        let pid = path.extension().unwrap().to_str().unwrap().parse().unwrap();
        wait_for("the end of a connection", || (!runs(pid)).then_some(()));
    }
}

#[test]
fn a_host_that_cannot_be_reached_ends_the_run_with_what_ssh_said() {
    let place = Place::with_worker(STAY);
    place.program("bin/ssh", "echo 'error: ssh: no route to host a' >&2; exit 255");
    let done = place.run(&["launch", "ssh", "tiny.toml", "--hosts", "a"]);
    assert_eq!(done.code, Some(30), "{}", done.err);
    assert!(done.err.contains("no route to host a"), "{}", done.err);
}

#[test]
fn a_job_for_slurm_has_what_the_file_asks_for_and_is_given_to_sbatch() {
    let place = Place::with_worker(STAY);
    let cluster = "\n[parallel]\nworkers = 2\n[cluster]\npartition = \"gpu\"\ntime = \"1:00:00\"\ncpus = 4\ngpus = true\n\
        flags = [\"--constraint=ib\"]\n";
    place.write("job.toml", &format!("{}{cluster}", support::EXPERIMENT));
    let print = place.run(&["launch", "slurm", "job.toml", "--print", "--store", "my store"]);
    assert_eq!(print.code, Some(0), "{}", print.err);
    let script = print.out;
    for line in [
        "#SBATCH --job-name=fulcrum-tiny",
        "#SBATCH --ntasks=2",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --gpus-per-task=1",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=1:00:00",
        "#SBATCH --signal=B:TERM@120",
        "#SBATCH --requeue",
        "#SBATCH --constraint=ib",
        "worker=(\"$fulcrum\" worker --threads=4 --device=cuda)",
        "options=(--workers=2 --here=0 --threads=4 '--store=my store' --runs=runs)",
        "files=(job.toml)",
        "runs=(runs/tiny)",
    ] {
        assert!(script.lines().any(|found| found == line), "no {line}\n{script}");
    }
    assert!(!place.at("runs").exists(), "what is only printed leaves nothing");
    place.program("bin/sbatch", "echo \"$@\" > sbatch.words; echo 4711");
    let done = place.run(&["launch", "slurm", "job.toml", "--wait"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "job 4711: runs/fulcrum-tiny.slurm\n"));
    assert_eq!(place.read("sbatch.words"), "--parsable --wait runs/fulcrum-tiny.slurm\n");
    place.program("bin/sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1");
    let done = place.run(&["launch", "slurm", "job.toml"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("invalid partition") && done.err.contains("did not take"), "{}", done.err);
}

#[test]
fn several_experiments_are_an_array_if_they_ask_for_the_same() {
    let place = Place::with_worker(STAY);
    place.write("other.toml", &support::EXPERIMENT.replace("\"tiny\"", "\"other\""));
    let script = place.run(&["launch", "slurm", "tiny.toml", "other.toml", "--print"]).out;
    for line in ["#SBATCH --array=0-1", "#SBATCH --job-name=fulcrum-sweep", "runs=(runs/tiny runs/other)"] {
        assert!(script.lines().any(|found| found == line), "no {line}\n{script}");
    }
    place.write("other.toml", &format!("{}[cluster]\nnodes = 2\n", support::EXPERIMENT));
    let done = place.run(&["launch", "slurm", "tiny.toml", "other.toml", "--print"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("differ in [cluster]"), "{}", done.err);
}
