//! Infer: the vectors that a network makes of a shard of images.
//!
//! Shape suffixes: b images, h and w pixels, k colours, d numbers of a vector.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
};

use fulcrum_common::plan::Infer;
use fulcrum_data::{features, images};
use fulcrum_train::{Monitor, Progress};
use tch::{Device, Kind, Tensor};

use crate::{Error, Job, Outcome, Shard};

/// The input that holds pixels.
const IMAGES: &str = "images";

/// An image counts as a token for each square of so many pixels to a side.
const PATCH: u64 = 8;

/// Without a shard: all rows, as one.
pub(crate) fn run(job: &Job<'_>, work: &Infer, monitor: &dyn Monitor) -> Result<Outcome, Error> {
    let Shard { range, skip, trial } = job.shard(work.shard, job.fact(IMAGES, "rows")? as usize)?;
    if trial.is_some() || !skip.is_empty() {
        return Err(Error::Mismatch("no image may be left out: every row has its vector".to_owned()));
    }
    let [height, width] = [job.fact(IMAGES, "height")?, job.fact(IMAGES, "width")?];
    let network = job.backbone("model")?;
    let path = job.file(IMAGES, images::PIXELS)?;
    let file = File::open(path).map_err(Error::io(path))?;
    let (mut vectors, size) = (Vec::with_capacity(range.len() * network.width() * 4), height * width * 3);
    let rows: Vec<usize> = range.clone().collect();
    let tokens = (height.div_ceil(PATCH) * width.div_ceil(PATCH)) as usize;
    let batches = rows.chunks((work.batch_tokens / tokens.max(1)).max(1));
    let steps = batches.len();
    for (step, rows) in batches.enumerate() {
        if monitor.cancelled() {
            return Err(fulcrum_train::Error::Cancelled { step }.into());
        }
        let mut pixels = vec![0; rows.len() * size as usize];
        file.read_exact_at(&mut pixels, rows[0] as u64 * size).map_err(Error::io(path))?;
        let shape = [rows.len() as i64, height as i64, width as i64, 3];
        let pixels_bhwk = Tensor::f_from_data_size(&pixels, &shape, Kind::Uint8)?;
        let x_bd = network.features(&pixels_bhwk)?.f_to_device(Device::Cpu)?;
        let numbers = Vec::<f32>::try_from(x_bd.f_flatten(0, -1)?)?;
        if let Some(at) = numbers.iter().position(|number| !number.is_finite()) {
            let row = rows[at / network.width()];
            return Err(Error::Mismatch(format!(
                "the network makes a number of image {row} that is not finite"
            )));
        }
        vectors.extend(numbers.into_iter().flat_map(f32::to_le_bytes));
        let examples = rows[rows.len() - 1] + 1 - range.start;
        monitor.progress(Progress { step: step + 1, steps, examples, loss: None });
    }
    let name = features::file_name(range.start / work.shard);
    let to = job.output.join(&name);
    fs::write(&to, vectors).map_err(Error::io(&to))?;
    Ok(Outcome { files: vec![name], facts: [("rows".to_owned(), range.len() as u64)].into() })
}
