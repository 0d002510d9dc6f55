//! The learning rate of each step.

use std::f64::consts::PI;

use fulcrum_common::plan::{Optimizer, Schedule};

use crate::Error;

/// Warm-up in a line, then one of the [`Schedule`]s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    peak: f64,
    schedule: Schedule,
    warmup: usize,
    steps: usize,
}

impl Rate {
    /// The rates of a training of `steps` steps.
    pub(crate) fn new(settings: &Optimizer, steps: usize) -> Result<Self, Error> {
        let Optimizer { learning_rate, warmup, schedule, .. } = *settings;
        setting("learning_rate", learning_rate, learning_rate > 0.0, "above 0")?;
        setting("warmup", warmup, (0.0..=1.0).contains(&warmup), "a share of the steps, from 0 to 1")?;
        let warmup = (warmup * steps as f64).round() as usize;
        Ok(Self { peak: learning_rate, schedule, warmup, steps })
    }

    /// The rate of a step, counted from 0. It is never 0, so no step is wasted: the warm-up reaches the peak
    /// with its last step, and a falling schedule would reach 0 one step after the last.
    pub(crate) fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup) as f64;
        self.peak
            * match self.schedule {
                Schedule::Constant => 1.0,
                Schedule::Linear => 1.0 - done,
                Schedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
            }
    }
}

/// Refuses a setting that is not finite or not within `range`.
pub(crate) fn setting(
    name: &'static str,
    value: f64,
    within: bool,
    range: &'static str,
) -> Result<(), Error> {
    if value.is_finite() && within { Ok(()) } else { Err(Error::Setting { name, value, range }) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> Optimizer {
        Optimizer {
            passes: 1,
            batch: 8,
            micro_batch: 4,
            learning_rate: 1.0,
            schedule: Schedule::Constant,
            warmup: 0.0,
            weight_decay: 0.0,
            clip: None,
        }
    }

    #[test]
    fn every_schedule_warms_up_and_falls_as_drawn() {
        let cases = [
            (Schedule::Constant, 0.0, vec![1.0, 1.0, 1.0, 1.0]),
            (Schedule::Constant, 0.5, vec![0.5, 1.0, 1.0, 1.0]),
            (Schedule::Constant, 1.0, vec![0.25, 0.5, 0.75, 1.0]),
            (Schedule::Linear, 0.0, vec![1.0, 0.75, 0.5, 0.25]),
            (Schedule::Linear, 0.5, vec![0.5, 1.0, 1.0, 0.5]),
            (Schedule::Cosine, 0.0, vec![1.0, 0.853_553_390_593, 0.5, 0.146_446_609_406]),
            (Schedule::Cosine, 0.5, vec![0.5, 1.0, 1.0, 0.5]),
        ];
        for (schedule, warmup, expected) in cases {
            let rate = Rate::new(&Optimizer { schedule, warmup, ..settings() }, 4).unwrap();
            for (step, expected) in expected.into_iter().enumerate() {
                let is = rate.at(step);
                assert!((is - expected).abs() < 1e-9, "{schedule:?} {warmup} step {step}: {is}");
            }
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let cases = [
            ("learning_rate", Optimizer { learning_rate: 0.0, ..settings() }),
            ("learning_rate", Optimizer { learning_rate: f64::NAN, ..settings() }),
            ("learning_rate", Optimizer { learning_rate: f64::INFINITY, ..settings() }),
            ("warmup", Optimizer { warmup: 1.5, ..settings() }),
            ("warmup", Optimizer { warmup: -0.1, ..settings() }),
        ];
        for (name, wrong) in cases {
            let error = Rate::new(&wrong, 4).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
