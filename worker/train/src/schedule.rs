//! The learning rate of each step.

use std::f64::consts::PI;

use fulcrum_common::plan::{Optimizer, Schedule};

use crate::Error;

/// Warm-up in a line, then one of the [`Schedule`]s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    peak: f64,
    schedule: Schedule,
    floor: f64,
    warmup: usize,
    steps: usize,
}

impl Rate {
    /// The rates of a training of `steps` steps.
    pub(crate) fn new(settings: &Optimizer, steps: usize) -> Result<Self, Error> {
        let Optimizer { learning_rate, warmup, schedule, floor, .. } = *settings;
        setting("learning_rate", learning_rate, learning_rate > 0.0, "above 0")?;
        setting("warmup", warmup, (0.0..=1.0).contains(&warmup), "a share of the steps, from 0 to 1")?;
        setting("floor", floor, (0.0..=1.0).contains(&floor), "a share of the peak, from 0 to 1")?;
        let warmup = (warmup * steps as f64).round() as usize;
        Ok(Self { peak: learning_rate, schedule, floor, warmup, steps })
    }

    /// The rate of a step, counted from 0. It is never 0, so no step is wasted: the warm-up reaches the peak
    /// with its last step, and a line or a cosine would reach 0 (or its floor) one step after the last.
    pub(crate) fn at(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.peak * (step + 1) as f64 / self.warmup as f64;
        }
        let done = (step - self.warmup) as f64 / (self.steps - self.warmup) as f64;
        let share = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - done,
            Schedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
            Schedule::InverseSqrt => (self.warmup.max(1) as f64 / (step + 1) as f64).sqrt(),
        };
        self.peak * (self.floor + (1.0 - self.floor) * share)
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
    use fulcrum_common::plan::Rule;

    use super::*;

    pub(crate) fn settings() -> Optimizer {
        Optimizer {
            passes: 1,
            batch: 8,
            micro_batch: 4,
            rule: Rule::default(),
            learning_rate: 1.0,
            schedule: Schedule::Constant,
            warmup: 0.0,
            floor: 0.0,
            weight_decay: 0.0,
            no_decay: Vec::new(),
            clip: None,
        }
    }

    #[test]
    fn every_schedule_warms_up_and_falls_as_drawn() {
        let root = |numerator: i32, denominator: i32| (f64::from(numerator) / f64::from(denominator)).sqrt();
        let cases = [
            (Schedule::Constant, 0.0, vec![1.0, 1.0, 1.0, 1.0]),
            (Schedule::Constant, 0.5, vec![0.5, 1.0, 1.0, 1.0]),
            (Schedule::Constant, 1.0, vec![0.25, 0.5, 0.75, 1.0]),
            (Schedule::Linear, 0.0, vec![1.0, 0.75, 0.5, 0.25]),
            (Schedule::Linear, 0.5, vec![0.5, 1.0, 1.0, 0.5]),
            (Schedule::Cosine, 0.0, vec![1.0, 0.853_553_390_593, 0.5, 0.146_446_609_406]),
            (Schedule::Cosine, 0.5, vec![0.5, 1.0, 1.0, 0.5]),
            (Schedule::InverseSqrt, 0.0, vec![1.0, root(1, 2), root(1, 3), 0.5]),
            (Schedule::InverseSqrt, 0.25, vec![1.0, root(1, 2), root(1, 3), 0.5]),
            (Schedule::InverseSqrt, 0.5, vec![0.5, 1.0, root(2, 3), root(1, 2)]),
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
            ("floor", Optimizer { floor: 1.5, ..settings() }),
        ];
        for (name, wrong) in cases {
            let error = Rate::new(&wrong, 4).unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }

    #[derive(serde::Deserialize)]
    struct Fixture {
        peak: f64,
        schedules: Vec<Torch>,
    }

    /// The rates of a scheduler of torch.
    #[derive(serde::Deserialize)]
    struct Torch {
        settings: Given,
        rates: Vec<f64>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Given {
        schedule: Schedule,
        warmup: f64,
        floor: f64,
    }

    #[test]
    fn rates_are_those_of_torch() {
        let fixture: Fixture =
            serde_json::from_str(include_str!("../tests/fixtures/optimizers/updates.json")).unwrap();
        for Torch { settings: given, rates } in fixture.schedules {
            let Given { schedule, warmup, floor } = given;
            let chosen = Optimizer { learning_rate: fixture.peak, schedule, warmup, floor, ..settings() };
            let rate = Rate::new(&chosen, rates.len()).unwrap();
            for (step, expected) in rates.into_iter().enumerate() {
                assert!((rate.at(step) - expected).abs() < 1e-12, "{given:?} step {step}: {}", rate.at(step));
            }
        }
    }
}
