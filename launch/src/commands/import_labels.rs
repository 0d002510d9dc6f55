//! `fulcrum import-labels`: weak labels that other programs left, as Parquet.

use std::path::PathBuf;

use anyhow::Result;

use super::{one_off::new_file, print};
use crate::{progress::thousands, weak_labels};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A folder that `save_to_disk` of the datasets library wrote, such as weak_labels/ of openai/weak-to-strong
    folder: PathBuf,
    /// The new Parquet file: columns row, id, text, soft_label, hard_label, gt_label
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Reads the folder and says what was in it.
///
/// # Errors
/// If the folder is not of that kind, or its labels are no probabilities.
pub(super) fn run(args: &Args) -> Result<()> {
    new_file(&args.out)?;
    let weak_labels::Imported { rows, classes, known, right } = weak_labels::import(&args.folder, &args.out)?;
    let accuracy = match known {
        0 => String::new(),
        _ => format!(
            ", right on {:.1} % of {} with ground truth",
            100.0 * right as f64 / known as f64,
            thousands(known)
        ),
    };
    print(&format!("{} rows of {classes} classes in {}{accuracy}\n", thousands(rows), args.out.display()))
}
