//! The norm of a gradient that ranks own in shares, and clipping by it.

use fulcrum_collective::{Collective, Reduction};
use tch::{Kind, Tensor};

use crate::Error;

/// Numbers that are widened at a time.
const CHUNK: i64 = 1 << 20;

/// The norm of all numbers that the members of `shards` own, the same on every member; infinite or NaN where one of
/// them is.
///
/// With `exact` it has the same bits for any number of shards: squares are taken relative to the largest number and
/// rounded to whole quanta, whose sum does not depend on the order. `total` numbers are owned in all.
pub(crate) fn norm(own: &[Tensor], shards: &dyn Collective, exact: bool, total: usize) -> Result<f64, Error> {
    let _guard = tch::no_grad_guard();
    if exact { exact_norm(own, shards, total) } else { plain_norm(own, shards) }
}

fn plain_norm(own: &[Tensor], shards: &dyn Collective) -> Result<f64, Error> {
    let mut squares = 0.0;
    for gradient in own {
        squares += gradient.f_norm()?.f_double_value(&[])?.powi(2);
    }
    if shards.world() > 1 {
        let sum = on_device(own, &Tensor::from(squares))?;
        shards.all_reduce(&sum, Reduction::Sum)?.wait()?;
        squares = sum.f_double_value(&[])?;
    }
    Ok(squares.sqrt())
}

fn exact_norm(own: &[Tensor], shards: &dyn Collective, total: usize) -> Result<f64, Error> {
    let mut largest = 0f64;
    for gradient in own.iter().filter(|gradient| gradient.numel() > 0) {
        let (low, high) = gradient.f_aminmax(None, false)?;
        let magnitude = high.f_maximum(&low.f_neg()?)?.f_double_value(&[])?;
        // NaN is the largest of all.
        largest = if magnitude.is_nan() { f64::INFINITY } else { largest.max(magnitude) };
    }
    let shared = on_device(own, &Tensor::from(largest))?;
    shards.all_reduce(&shared, Reduction::Max)?.wait()?;
    let largest = shared.f_double_value(&[])?;
    if largest == 0.0 || !largest.is_finite() {
        return Ok(largest);
    }
    // So many quanta that the sum of all squares, each at most one, still fits.
    let quanta = 2f64.powi(62 - total.max(2).ilog2() as i32 - 1);
    let mut sum = 0i64;
    for gradient in own {
        for chunk in gradient.f_view(-1)?.f_split(CHUNK, 0)? {
            let mut relative = chunk.f_to_kind(Kind::Double)?.f_div_scalar(largest)?;
            let squares = relative.f_square_()?.f_mul_scalar_(quanta)?.f_round_()?.f_to_kind(Kind::Int64)?;
            sum += squares.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        }
    }
    let sum = on_device(own, &Tensor::from(sum))?;
    shards.all_reduce(&sum, Reduction::Sum)?.wait()?;
    Ok(largest * (sum.f_int64_value(&[])? as f64 / quanta).sqrt())
}

/// Where the gradients are, for the collective.
fn on_device(own: &[Tensor], number: &Tensor) -> Result<Tensor, Error> {
    Ok(match own.first() {
        Some(gradient) => number.f_to_device(gradient.device())?,
        None => number.shallow_clone(),
    })
}

#[cfg(test)]
mod tests {
    use fulcrum_collective::{Gloo, Solo};
    use fulcrum_common::rng::Rng;

    use super::*;

    fn numbers(count: usize) -> Vec<f32> {
        let mut rng = Rng::new(4, "norm", 0);
        (0..count).map(|_| ((rng.uniform() - 0.5) * 10f64.powf(-6.0 * rng.uniform())) as f32).collect()
    }

    /// The norm of `numbers`, cut among so many members.
    fn over(numbers: &[f32], shards: usize, exact: bool) -> f64 {
        let cut = |rank| {
            let (from, to) = (rank * numbers.len() / shards, (rank + 1) * numbers.len() / shards);
            let middle = (from + to) / 2;
            [&numbers[from..middle], &numbers[middle..to]].map(Tensor::from_slice)
        };
        if shards == 1 {
            return norm(&cut(0), &Solo::new(), exact, numbers.len()).unwrap();
        }
        let gang = Gloo::gang(shards, std::time::Duration::from_secs(60)).unwrap();
        let norms: Vec<f64> = std::thread::scope(|scope| {
            let ranks = gang.into_iter().enumerate().map(|(rank, end)| {
                let own = cut(rank);
                scope.spawn(move || norm(&own, &end, exact, numbers.len()).unwrap())
            });
            ranks.collect::<Vec<_>>().into_iter().map(|rank| rank.join().unwrap()).collect()
        });
        assert!(norms.iter().all(|norm| norm.to_bits() == norms[0].to_bits()));
        norms[0]
    }

    #[test]
    fn the_norm_is_that_of_all_shards_and_exactly_so_where_asked() {
        let numbers = numbers(10_000);
        let expected = numbers.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        let exact = over(&numbers, 1, true);
        for shards in [1, 2, 3] {
            assert!((over(&numbers, shards, false) / expected - 1.0).abs() < 1e-6);
            assert_eq!(over(&numbers, shards, true).to_bits(), exact.to_bits(), "{shards} shards");
        }
        assert!((exact / expected - 1.0).abs() < 1e-6, "{exact} {expected}");
    }

    #[test]
    fn a_number_that_is_not_finite_makes_the_norm_so() {
        for wrong in [f32::NAN, f32::INFINITY] {
            for exact in [true, false] {
                assert!(!over(&[1.0, wrong, 2.0, 3.0], 1, exact).is_finite());
            }
        }
        assert_eq!(over(&[0.0, 0.0], 1, true), 0.0);
    }
}
