//! How fast workers sum a tensor with each other.

use std::{ffi::OsString, num::NonZeroUsize, path::Path, process::Command, thread::available_parallelism};

use anyhow::Result;
use fulcrum_common::{
    bench::{Job, Work},
    network::Interface,
};

use super::{Elsewhere, Finding};
use crate::{
    cluster::{
        shell::text,
        ssh::{connection, started_in},
    },
    devices::Devices,
    supervise,
};

const WHAT: &str = "link";

/// Size of the tensor that travels.
const MIB: usize = 8;

/// Below this, in GB/s, a network is felt: it is what the slowest that machines still have, of 1 Gbit/s, does not reach.
const SLOW: f64 = 0.15;

/// A link that has less than this share of what the middle one has is not what it was built for.
const LAGS: f64 = 0.5;

/// Bytes of the gradients that a speed is put in words with: of 100 million weights.
const GRADIENTS: f64 = 4e8;

/// Workers on this machine.
pub(crate) async fn here(world: usize, devices: Devices) -> Finding {
    match supervise::measure(&job(world), devices).await {
        Err(error) => Finding::unseen(WHAT, &error),
        Ok(report) => {
            let speed = report.traffic.map_or(0.0, |traffic| traffic.bus_gb_per_s);
            Finding::good(WHAT, format!("{world} workers here sum {MIB} MiB at {speed:.2} GB/s"))
        }
    }
}

/// Hosts with their neighbours in the list, the last with the first, and all at once; one host with this machine. What the
/// ranks share is in `folder`.
pub(crate) async fn across(
    elsewhere: &Elsewhere<'_>,
    folder: &Path,
    interface: Option<&Interface>,
) -> Vec<Finding> {
    let mut gangs: Vec<Vec<Option<&str>>> = Vec::new();
    match elsewhere.hosts {
        [host] => gangs.push(vec![None, Some(host)]),
        hosts => {
            let next = hosts.iter().cycle().skip(1);
            let pairs = if hosts.len() > 2 { hosts.len() } else { 1 };
            gangs.extend(
                hosts.iter().zip(next).take(pairs).map(|(one, other)| vec![Some(&**one), Some(&**other)]),
            );
            if hosts.len() > 2 {
                gangs.push(hosts.iter().map(|host| Some(&**host)).collect());
            }
        }
    }
    let mut speeds = Vec::new();
    for gang in gangs {
        speeds.push((between(&gang), speed(elsewhere, folder, interface, &gang).await));
    }
    judged(speeds)
}

/// Who is in a gang.
fn between(gang: &[Option<&str>]) -> String {
    match gang {
        [one, other] => format!("{} and {}", one.unwrap_or("this machine"), other.unwrap_or("this machine")),
        all => format!("all {} hosts", all.len()),
    }
}

/// What members move of the sum, in GB/s.
async fn speed(
    elsewhere: &Elsewhere<'_>,
    folder: &Path,
    interface: Option<&Interface>,
    gang: &[Option<&str>],
) -> Result<f64> {
    let place = tempfile::Builder::new().prefix("link-").tempdir_in(folder)?;
    let programs = supervise::Programs::find()?;
    let worker = elsewhere.fulcrum.with_file_name("fulcrum-worker");
    let command = |rank: usize| -> Result<Command> {
        let mut words = vec!["bench".to_owned(), "--across".to_owned(), format!("--rank={rank}")];
        words.push(format!("--folder={}", text(&std::path::absolute(place.path())?)?));
        words.extend(elsewhere.devices.of(0, 1));
        words.extend(interface.map(|interface| format!("--interface={}", interface.word())));
        let words: Vec<OsString> = match gang[rank] {
            None => [programs.worker_program().into()]
                .into_iter()
                .chain(words.into_iter().map(Into::into))
                .collect(),
            Some(host) => {
                words.insert(0, text(&worker)?);
                connection(host, elsewhere.ssh, started_in(elsewhere.folder, &words)?)
            }
        };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        Ok(command)
    };
    let report = supervise::measure_with(&job(gang.len()), place.path(), &command).await?;
    Ok(report.traffic.map_or(0.0, |traffic| traffic.bus_gb_per_s))
}

fn job(world: usize) -> Job {
    let threads = (available_parallelism().map_or(1, NonZeroUsize::get) / world).max(1);
    Job { work: Work::AllReduce { mib: MIB }, world, threads, steps: 10, warmup: 2, seed: 0 }
}

/// Links by themselves, and beside each other.
fn judged(speeds: Vec<(String, Result<f64>)>) -> Vec<Finding> {
    let mut known: Vec<f64> = speeds.iter().filter_map(|(_, speed)| speed.as_ref().ok().copied()).collect();
    known.sort_by(f64::total_cmp);
    let middle = known.get(known.len() / 2).copied().unwrap_or(0.0);
    let finding = |(who, speed): (String, Result<f64>)| match speed {
        Err(error) => Finding::unseen(WHAT, &error.context(who)),
        Ok(speed) => {
            let said = format!("{who} sum {MIB} MiB at {speed:.2} GB/s");
            if speed < SLOW {
                let seconds = GRADIENTS / (speed * 1e9);
                Finding::doubtful(
                    WHAT,
                    format!(
                        "{said}: a step of 100 million weights waits some {seconds:.0} s; is there a faster --interface?"
                    ),
                )
            } else if speed < LAGS * middle {
                Finding::doubtful(
                    WHAT,
                    format!("{said}, others at {middle:.2}: a gang is as fast as its slowest link"),
                )
            } else {
                Finding::good(WHAT, said)
            }
        }
    };
    speeds.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn a_link_is_judged_by_itself_and_beside_the_others() {
        let verdicts = |speeds: &[f64]| -> Vec<Verdict> {
            let speeds = speeds.iter().map(|speed| ("a and b".to_owned(), Ok(*speed)));
            judged(speeds.collect()).into_iter().map(|finding| finding.verdict).collect()
        };
        use Verdict::{Doubtful, Good};
        assert_eq!(verdicts(&[1.0]), [Good]);
        assert_eq!(verdicts(&[0.1]), [Doubtful]);
        assert_eq!(verdicts(&[10.0, 9.0, 4.0, 11.0]), [Good, Good, Doubtful, Good]);
        let failed = judged(vec![("a and b".to_owned(), Err(anyhow::anyhow!("no route")))]);
        assert_eq!((failed[0].verdict, &*failed[0].said), (Verdict::Bad, "a and b: no route"));
    }

    #[test]
    fn members_are_called_by_their_hosts() {
        assert_eq!(between(&[None, Some("a")]), "this machine and a");
        assert_eq!(between(&[Some("a"), Some("b"), Some("c")]), "all 3 hosts");
    }
}
