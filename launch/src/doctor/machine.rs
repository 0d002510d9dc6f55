//! The programs, the processor, limits of the system, GPUs, addresses.

use std::{fs, num::NonZeroUsize, process::Command, thread::available_parallelism};

use anyhow::{Context as _, Result};
use fulcrum_common::{
    equipment::{self, Equipment},
    network::reachable,
    plan::CODE_VERSION,
    program,
    protocol::PROTOCOL_VERSION,
};

use super::{Finding, Verdict, gib};
use crate::{devices::Devices, supervise::Programs};

/// Open files that a coordinator of many workers may need.
const FILES: u64 = 4096;

/// Memory below which not even small models of real size train.
const MEMORY: u64 = 4 << 30;

/// Whether both programs are there, start, and are of one version.
pub(crate) fn programs() -> Finding {
    let what = "programs";
    let found = match Programs::find() {
        Ok(found) => found,
        Err(error) => return Finding::unseen(what, &error),
    };
    let own = env!("CARGO_PKG_VERSION");
    let worker = found.worker_program().display().to_string();
    match Command::new(found.worker_program()).arg("--version").output() {
        Err(error) => Finding::bad(what, format!("{worker} does not start: {error}")),
        Ok(output) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said.lines().next().unwrap_or("it says nothing").to_owned();
            Finding::bad(what, format!("{worker} does not start ({line}): is libtorch where it was built?"))
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            let version = said.split_whitespace().last().unwrap_or_default().to_owned();
            if version == own {
                let known = format!("protocol {PROTOCOL_VERSION}, results {CODE_VERSION}");
                let build = program::digest(found.worker_program());
                let build = build.map_or_else(|error| error.to_string(), |build| build.short());
                let said =
                    format!("fulcrum and fulcrum-worker {own}, build {build}, {known}; libtorch loads");
                Finding::good(what, said)
            } else {
                Finding::bad(what, format!("fulcrum is {own} and fulcrum-worker {version}: build both anew"))
            }
        }
    }
}

/// Cores and memory.
pub(crate) fn processor() -> Finding {
    let what = "processor";
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let file = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
    };
    let (Some(all), Some(free)) = (of("MemTotal"), of("MemAvailable")) else {
        return Finding::doubtful(what, format!("{cores} cores; the system does not tell its memory"));
    };
    let said = format!("{cores} cores, {} of {} memory free", gib(free), gib(all));
    if free < MEMORY {
        Finding::doubtful(what, format!("{said}: larger models will not fit"))
    } else {
        Finding::good(what, said)
    }
}

/// How many files a process may open.
pub(crate) fn limits() -> Finding {
    let what = "limits";
    let file = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    match open_files(&file) {
        None => Finding::doubtful(what, "the system does not tell how many files a process may open"),
        Some(files) if files < FILES => {
            Finding::doubtful(what, format!("{files} open files: raise them with `ulimit -n {FILES}`"))
        }
        Some(u64::MAX) => Finding::good(what, "as many open files as there are"),
        Some(files) => Finding::good(what, format!("{files} open files")),
    }
}

fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// GPUs, by their device files, the driver, and what the worker's libraries make of them: those of CUDA and NCCL.
pub(crate) fn gpus(devices: Devices) -> Vec<Finding> {
    let (driver, found) = driver();
    let asked = driver.verdict != Verdict::Bad && (found > 0 || devices != Devices::Cpu);
    let libraries = asked.then(|| match equipment() {
        Ok(equipment) => libraries(&equipment, found),
        Err(error) => Finding::unseen("CUDA", &error),
    });
    [driver].into_iter().chain(libraries).collect()
}

/// What the worker beside this program says.
fn equipment() -> Result<Equipment> {
    let output = Command::new(Programs::find()?.worker_program()).arg(equipment::WORD).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| {
        let line = said.lines().next_back().unwrap_or("it says nothing").to_owned();
        format!("fulcrum-worker does not tell what it finds: {line}")
    })
}

fn libraries(found: &Equipment, devices: usize) -> Finding {
    let what = "CUDA";
    match (&found.gpus, &found.nccl) {
        (Err(reason), _) => Finding::bad(what, reason),
        (Ok(count), nccl) => {
            let model = found.model.as_deref().unwrap_or("of several kinds");
            let said = format!("libtorch sees {count} ({model})");
            match nccl {
                Err(reason) => Finding::bad(what, format!("{said}; no NCCL, so no gangs: {reason}")),
                Ok(_) if *count < devices => Finding::doubtful(
                    what,
                    format!("{said} of {devices}: does CUDA_VISIBLE_DEVICES hide some?"),
                ),
                Ok(release) => Finding::good(what, format!("{said}; NCCL {release}")),
            }
        }
    }
}

/// GPUs by their device files, with how many there are.
fn driver() -> (Finding, usize) {
    let what = "GPUs";
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
    };
    let count = devices.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).count();
    let driver = fs::read_to_string("/proc/driver/nvidia/version").ok();
    let finding = match (count, driver.as_deref().and_then(|text| text.lines().next())) {
        (0, None) => Finding::good(what, "none: models compute on the processor"),
        (0, Some(_)) => Finding::bad(what, "a driver and no device: is this container given its GPUs?"),
        (_, None) => Finding::bad(what, format!("{count} devices and no driver")),
        (_, Some(driver)) => Finding::good(what, format!("{count}, {}", driver.trim())),
    };
    (finding, count)
}

/// Under which address others find this machine.
pub(crate) fn addresses() -> Finding {
    let what = "network";
    match reachable() {
        Ok(address) if address.is_loopback() => {
            Finding::doubtful(what, "no address but the loopback: all workers must be on this machine")
        }
        Ok(address) => {
            Finding::good(what, format!("others find this machine at {address} (--interface chooses)"))
        }
        Err(error) => Finding::unseen(what, &error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_as_good_as_what_the_libraries_make_of_them() {
        let of = |gpus: Result<usize, &str>, nccl: Result<&str, &str>| Equipment {
            gpus: gpus.map_err(str::to_owned),
            model: Some("NVIDIA H200".to_owned()),
            nccl: nccl.map(str::to_owned).map_err(str::to_owned),
        };
        for (found, verdict, said) in [
            (of(Ok(2), Ok("2.28.9")), Verdict::Good, "libtorch sees 2 (NVIDIA H200); NCCL 2.28.9"),
            (of(Ok(1), Ok("2.28.9")), Verdict::Doubtful, "of 2: does CUDA_VISIBLE_DEVICES hide some?"),
            (of(Ok(2), Err("none is there")), Verdict::Bad, "no gangs: none is there"),
            (of(Err("no CUDA"), Ok("2.28.9")), Verdict::Bad, "no CUDA"),
        ] {
            let finding = libraries(&found, 2);
            assert_eq!(finding.verdict, verdict, "{}", finding.said);
            assert!(finding.said.ends_with(said), "{}", finding.said);
        }
    }

    #[test]
    fn limits_are_those_of_the_system() {
        let line = |soft: &str| {
            format!(
                "Limit  Soft Limit  Hard Limit  Units\nMax open files            {soft}  1048576  files\n"
            )
        };
        assert_eq!(open_files(&line("1024")), Some(1024));
        assert_eq!(open_files(&line("unlimited")), Some(u64::MAX));
        assert_eq!(open_files(""), None);
        assert!(open_files(&fs::read_to_string("/proc/self/limits").unwrap()).is_some());
    }
}
