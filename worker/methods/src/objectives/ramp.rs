//! How the student's own share of a target grows.

/// A share that rises over the first part of the training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Where it ends, 0 to 1.
    pub weight: f64,
    /// Share of the steps over which it rises.
    pub warmup: f64,
    /// Whether it rises as in the code that was released with Burns et al. 2023: to the part `warmup` of its end, and then
    /// to the end at once. That is a slip there, kept to compare with results that were made by it.
    pub jumps: bool,
}

impl Ramp {
    /// The share at a step.
    pub(super) fn at(self, step: usize, steps: usize) -> f64 {
        let done = step as f64 / steps as f64;
        let Self { weight, warmup, jumps } = self;
        match jumps {
            true if done <= warmup => weight * done,
            false if done < warmup => weight * done / warmup,
            _ => weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::close, *};

    #[test]
    fn it_rises_in_a_line_and_stays() {
        let ramp = Ramp { weight: 0.75, warmup: 0.2, jumps: false };
        for (step, expected) in [(0, 0.0), (5, 0.1875), (10, 0.375), (20, 0.75), (21, 0.75), (99, 0.75)] {
            close(ramp.at(step, 100), expected);
        }
        close(Ramp { weight: 0.5, warmup: 0.0, jumps: false }.at(0, 10), 0.5);
    }

    #[test]
    fn the_released_one_jumps() {
        let ramp = Ramp { weight: 0.5, warmup: 0.1, jumps: true };
        for (step, expected) in [(0, 0.0), (5, 0.025), (10, 0.05), (11, 0.5), (99, 0.5)] {
            close(ramp.at(step, 100), expected);
        }
    }
}
