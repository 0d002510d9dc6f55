//! `cargo xtask setup`: makes ./libtorch, so that plain cargo commands work with no exported variable.
//!
//! In this order: a LIBTORCH of the user is used as it is; an installed torch of the right release is
//! linked; else pinned wheels are fetched and unpacked. The folder is made aside and takes its place when
//! it is whole, so an interrupted call leaves nothing half-made, and the next one goes on with its wheels.

mod existing;
mod fetch;
mod layout;
mod pip;
mod progress;
mod unpack;
mod wheels;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::{repository, tools};
use existing::Installed;
use layout::Present;
use wheels::{Machine, Set, TORCH, wheels};

/// Provisions what is asked for, if it is not there.
///
/// # Errors
/// If a tool, the network or room on the disk is missing, or what arrives is not what is pinned.
pub(crate) fn run(cuda: bool, into: Option<PathBuf>) -> Result<()> {
    let set = if cuda { Set::Cuda } else { Set::Cpu };
    if let (None, Some(folder)) = (&into, repository::libtorch_of_the_user()) {
        let version =
            existing::check(&folder).context("LIBTORCH is set, but of no use: correct or unset it")?;
        println!("libtorch: LIBTORCH={} (torch {version}) is used as it is", folder.display());
        return Ok(());
    }
    let place = std::path::absolute(into.unwrap_or_else(repository::libtorch))?;
    if ready(&place, set)? {
        return Ok(());
    }
    let cache = repository::root().join(".fulcrum/wheels");
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let lock = File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the folder of wheels")?;
    // Another call may have done it while this one waited.
    if ready(&place, set)? {
        return Ok(());
    }
    let start = Instant::now();
    provision(&place, set, &cache)?;
    println!(
        "libtorch: torch {TORCH} ({}) is ready in {}, {:.0?}",
        set.name(),
        place.display(),
        start.elapsed()
    );
    Ok(())
}

fn ready(place: &Path, set: Set) -> Result<bool> {
    match layout::present(place, set)? {
        Present::Ready { source } => {
            println!(
                "libtorch: torch {TORCH} ({}) is ready in {}, from {source}",
                set.name(),
                place.display()
            );
            Ok(true)
        }
        Present::Foreign { version } => {
            ensure!(
                set == Set::Cpu,
                "{} was not made by this program, so the CUDA libraries cannot be added: move it away",
                place.display()
            );
            println!(
                "libtorch: {} (torch {version}) was put there by hand and is used as it is",
                place.display()
            );
            Ok(true)
        }
        Present::Replaceable => Ok(false),
    }
}

fn provision(place: &Path, set: Set, cache: &Path) -> Result<()> {
    let parent = place.parent().context("the root folder cannot be provisioned")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let unfinished = layout::aside(place, "new");
    layout::remove(&unfinished)?;
    if let Some(torch) = Installed::find() {
        let source = torch.package.display().to_string();
        match torch.link(set, &unfinished).and_then(|()| layout::complete(&unfinished, set, &source, None)) {
            Ok(()) => {
                println!("libtorch: linking to torch {} in {source}", torch.version);
                return layout::replace(&unfinished, place);
            }
            Err(error) => eprintln!("libtorch: torch {} in {source} is not used: {error:#}", torch.version),
        }
        layout::remove(&unfinished)?;
    }
    from_wheels(&unfinished, set, cache)?;
    layout::replace(&unfinished, place)
}

fn from_wheels(unfinished: &Path, set: Set, cache: &Path) -> Result<()> {
    let machine = Machine::here()?;
    let wheels: Vec<_> = wheels(set).collect();
    let missing = fetch::missing(&wheels, machine, cache);
    layout::room(cache, missing.bytes + set.unpacked_bytes_max())?;
    if !missing.wheels.is_empty() {
        tools::pip()?;
        println!(
            "libtorch: fetching {} of {} wheels, {} MB, through pip; what has arrived is kept in {}",
            missing.wheels.len(),
            wheels.len(),
            missing.bytes.div_ceil(1_000_000),
            cache.display()
        );
    }
    fetch::fetch(&wheels, machine, cache)?;
    for wheel in wheels {
        unpack::unpack(&cache.join(wheel.file(machine)), set, unfinished, wheel.name)?;
    }
    layout::complete(unfinished, set, "pinned wheels", Some(machine))
}
