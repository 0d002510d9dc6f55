//! Sums over all ranks, as training does them to gradients.

use std::time::Instant;

use fulcrum_collective::Reduction;
use fulcrum_common::bench::{Job, Quantiles, Traffic};
use fulcrum_methods::Gang;
use tch::{Device, Kind, Tensor};

use super::Found;

/// Numbers of f32 in a mebibyte.
const PER_MIB: usize = 1 << 18;

pub(super) fn measure(job: &Job, mib: usize, gang: &Gang, device: Device) -> anyhow::Result<Found> {
    let numbers = (mib * PER_MIB) as i64;
    let mut tensor = Tensor::f_ones([numbers], (Kind::Float, device))?;
    let mut times = Vec::with_capacity(job.warmup + job.steps);
    for _ in 0..job.warmup + job.steps {
        // Sums of sums would not stay finite.
        let _ = tensor.f_fill_(1.0)?;
        gang.all().barrier()?.wait()?;
        let begun = Instant::now();
        gang.all().all_reduce(&tensor, Reduction::Sum)?.wait()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    let (sum, world) = (tensor.f_double_value(&[numbers - 1])?, job.world as f64);
    anyhow::ensure!(sum == world, "a sum over {world} ranks of ones came to {sum}");
    let steps = times.split_off(job.warmup);
    let rate = (mib << 20) as f64 / Quantiles::of(steps.iter().copied()).p50 / 1e9;
    let traffic = Traffic { mib, gb_per_s: rate, bus_gb_per_s: rate * 2.0 * (world - 1.0) / world };
    Ok(Found { steps, traffic: Some(traffic), ..Found::default() })
}
