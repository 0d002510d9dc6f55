//! `fulcrum launch slurm` on a cluster of three nodes, which are all this machine.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use fulcrum_tests::workplace::Workplace;

use crate::daemon::{
    Daemon, left_out, listens, ports, undisturbed, undisturbed_of, wait_for, workplace, workplace_of,
};

const NODES: usize = 3;

/// A cluster. It ends with the test, controller and nodes before the service that knows their secret.
struct Slurm {
    folder: tempfile::TempDir,
    _daemons: Vec<Daemon>,
}

impl Slurm {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [controller, nodes @ ..] = ports::<{ NODES + 1 }>();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("state")).unwrap();
        fs::write(at("slurm.conf"), configuration(folder.path().to_str().unwrap(), controller, nodes))
            .unwrap();
        fs::write(at("munge.key"), Vec::from_iter((0..128).map(|byte: u8| byte.wrapping_mul(37) ^ 0x5a)))
            .unwrap();
        fs::set_permissions(at("munge.key"), fs::Permissions::from_mode(0o400)).unwrap();
        let mut munge = Command::new("munged");
        munge.args(["--foreground", "--force"]);
        for (option, name) in [
            ("key-file", "munge.key"),
            ("socket", "munge.socket"),
            ("pid-file", "munge.pid"),
            ("seed-file", "seed"),
        ] {
            munge.arg(format!("--{option}={}", at(name).display()));
        }
        let munge = Daemon::start(&mut munge, &at("munge.log"));
        wait_for(&at("munge.log"), || at("munge.socket").exists().then_some(()));
        let of = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            command.args(arguments).env("SLURM_CONF", at("slurm.conf"));
            command
        };
        let controls = Daemon::start(&mut of("slurmctld", &["-D"]), &at("slurmctld.log"));
        listens(controller, &at("slurmctld.log"));
        let mut daemons = vec![controls];
        for node in 1..=NODES {
            let (name, log) = (format!("n{node}"), at(&format!("n{node}.log")));
            daemons.push(Daemon::start(&mut of("slurmd", &["-D", "-N", &name]), &log));
        }
        // Fields are dropped in this order.
        daemons.push(munge);
        let slurm = Self { folder, _daemons: daemons };
        wait_for(&slurm.log(), || {
            let idle = slurm.run("sinfo", &["--noheader", "--states=idle", "--format=%D", "--partition=low"]);
            (String::from_utf8_lossy(&idle.stdout).trim() == NODES.to_string()).then_some(())
        });
        slurm
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("slurmctld.log")
    }

    fn know(&self, command: &mut Command) {
        command.env("SLURM_CONF", self.folder.path().join("slurm.conf"));
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        self.know(&mut command);
        command.args(arguments).output().unwrap()
    }

    fn succeed(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.run(program, arguments);
        assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The state of a job, and why it waits.
    fn state(&self, job: &str) -> (String, String) {
        let said = self.succeed("scontrol", &["show", "--oneliner", "job", job]);
        let field = |name: &str| {
            let found = said.split_whitespace().find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_default().to_owned()
        };
        (field("JobState"), field("Restarts"))
    }

    /// Gives the experiment to the cluster; the number of the job.
    fn launch(&self, place: &Workplace) -> String {
        let mut command = place.command(&["launch", "slurm", "tiny.toml"]);
        self.know(&mut command);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        said.split([' ', ':']).nth(1).unwrap().to_owned()
    }

    /// Waits until the job was taken from its nodes so often, and lets it go on at once: Slurm would wait two minutes.
    fn goes_on_after(&self, job: &str, restarts: &str) {
        wait_for(&self.log(), || (self.state(job) == ("PENDING".into(), restarts.into())).then_some(()));
        self.succeed("scontrol", &["update", &format!("JobId={job}"), "StartTime=now"]);
    }
}

fn configuration(folder: &str, controller: u16, nodes: [u16; NODES]) -> String {
    let node = |(number, port): (usize, u16)| {
        format!("NodeName=n{number} NodeHostname=localhost Port={port} CPUs=2 State=UNKNOWN\n")
    };
    let nodes: String = (1..).zip(nodes).map(node).collect();
    format!(
        "ClusterName=fulcrum\nSlurmctldHost=localhost\nSlurmUser=root\nAuthType=auth/munge\n\
         AuthInfo=socket={folder}/munge.socket\nProctrackType=proctrack/pgid\nTaskPlugin=task/none\n\
         SelectType=select/cons_tres\nSelectTypeParameters=CR_Core\nSlurmctldPort={controller}\n\
         StateSaveLocation={folder}/state\nSlurmdSpoolDir={folder}/spool-%n\nSlurmctldPidFile={folder}/slurmctld.pid\n\
         SlurmdPidFile={folder}/slurmd-%n.pid\nSlurmdParameters=config_overrides\nReturnToService=2\nKillWait=30\n\
         PreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\nJobRequeue=1\n{nodes}\
         PartitionName=low Nodes=ALL Default=YES PriorityTier=1 State=UP\n\
         PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP\n"
    )
}

/// Waits until a training of the run has a checkpoint, which means that it is in the middle.
fn in_the_middle(place: &Workplace) {
    let log = place.at("runs/tiny/logs/coordinator.log");
    let said = fs::read_to_string(&log).unwrap_or_default().matches("can go on from step").count();
    wait_for(&log, || {
        let now = fs::read_to_string(&log).unwrap_or_default();
        (now.matches("can go on from step").count() > said).then_some(())
    });
}

#[test]
fn a_job_comes_to_its_report_through_a_signal_before_its_time_is_over_and_through_preemption() {
    if left_out() {
        return;
    }
    // Long enough that it still runs when Slurm comes to preempt it.
    const ROWS: usize = 12_000;
    let (slurm, place) = (Slurm::start(), workplace_of(ROWS));
    let job = slurm.launch(&place);
    in_the_middle(&place);
    // What Slurm does when the time of a job comes to its end.
    slurm.succeed("scancel", &["--batch", "--signal=TERM", &job]);
    slurm.goes_on_after(&job, "1");
    in_the_middle(&place);
    let other =
        ["--parsable", "--partition=high", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=true"];
    let other = slurm.succeed("sbatch", &other);
    wait_for(&slurm.log(), || (slurm.state(&other).0 == "COMPLETED").then_some(()));
    slurm.goes_on_after(&job, "2");
    wait_for(&slurm.log(), || (slurm.state(&job).0 == "COMPLETED").then_some(()));
    assert!(place.at("runs/tiny/report.html").is_file());
    // The signal comes at once; the preemption takes Slurm a while, and may meet the run between two trainings.
    let logs = place.logs();
    assert!(logs.contains("goes on from step"), "{logs}");
    assert_eq!(place.artifacts(), undisturbed_of(ROWS).artifacts());
}

#[test]
fn a_job_that_fails_ends_with_the_code_of_its_run_and_is_not_queued_again() {
    if left_out() {
        return;
    }
    let (slurm, place) = (Slurm::start(), workplace());
    fs::write(place.at("fulcrum-store"), "no folder").unwrap();
    let mut command = place.command(&["launch", "slurm", "tiny.toml", "--wait"]);
    slurm.know(&mut command);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ended with 30"), "{said}");
    assert_eq!(output.status.code(), Some(30), "{said}");
}

#[test]
fn a_job_that_is_cancelled_keeps_what_it_has_and_does_not_come_back() {
    if left_out() {
        return;
    }
    let (slurm, place) = (Slurm::start(), workplace());
    let job = slurm.launch(&place);
    in_the_middle(&place);
    slurm.succeed("scancel", &[&job]);
    let log = place.at(&format!("runs/slurm-{job}.log"));
    wait_for(&log, || {
        fs::read_to_string(&log).ok()?.contains("the same command goes on from there").then_some(())
    });
    wait_for(&slurm.log(), || {
        slurm.succeed("squeue", &["--noheader", "--jobs", &job]).is_empty().then_some(())
    });
    assert_eq!(slurm.state(&job), ("CANCELLED".into(), "0".into()));
    let output = place.command(&["run", "tiny.toml"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(place.logs().contains("goes on from step"), "{}", place.logs());
    assert_eq!(place.artifacts(), undisturbed().artifacts());
}
