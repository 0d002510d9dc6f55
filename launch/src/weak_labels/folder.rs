//! The files of a folder that `save_to_disk` wrote: `state.json` names them, in order.

use std::{
    fs::{self, File},
    io::{BufReader, Seek},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use arrow::{ipc::reader::StreamReader, record_batch::RecordBatch};
use serde::Deserialize;

use super::frames;
use crate::run_folder::read_json;

/// What names the files.
const STATE: &str = "state.json";

/// More files than this are no set of weak labels.
const MAX_FILES: usize = 4096;

/// Rows that are held at once. A batch of a stream has a thousand where nobody asked for others.
const MAX_BATCH_ROWS: usize = 1 << 20;

#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    files: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    filename: String,
}

/// The Arrow files of the folder, in order.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join("dataset_dict.json").is_file() {
        bail!("{} holds several sets of rows: name one of the folders in it", folder.display());
    }
    let state = folder.join(STATE);
    if !state.is_file() {
        bail!(
            "{} has no {STATE}: name a folder that `save_to_disk` of the datasets library wrote, such as weak_labels/",
            folder.display()
        );
    }
    let State { files } = read_json(&state)?;
    if files.is_empty() || files.len() > MAX_FILES {
        bail!("{} names {} files, of 1 to {MAX_FILES}", state.display(), files.len());
    }
    let path = |Named { filename }: Named| {
        let mut parts = Path::new(&filename).components();
        match (parts.next(), parts.next()) {
            (Some(Component::Normal(name)), None)
                if fs::metadata(folder.join(name)).is_ok_and(|m| m.is_file()) =>
            {
                Ok(folder.join(name))
            }
            _ => bail!("{} names {filename:?}, which is no file beside it", state.display()),
        }
    };
    files.into_iter().map(path).collect()
}

/// Hands over the batches of a file.
pub(super) fn batches(path: &Path, mut take: impl FnMut(&RecordBatch) -> Result<()>) -> Result<()> {
    const UNREADABLE: &str = "not readable as Arrow";
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    frames::check(&mut BufReader::new(&mut file), bytes).context(UNREADABLE)?;
    file.rewind()?;
    let mut reader = StreamReader::try_new(BufReader::new(file), None).context(UNREADABLE)?;
    // What the frames' checks let through may still break an assumption of the reader, which panics then.
    while let Some(batch) = catch_unwind(AssertUnwindSafe(|| reader.next())).ok().context(UNREADABLE)? {
        let batch = batch.context(UNREADABLE)?;
        if batch.num_rows() > MAX_BATCH_ROWS {
            bail!("a batch of {} rows, the most is {MAX_BATCH_ROWS}", batch.num_rows());
        }
        take(&batch)?;
    }
    Ok(())
}
