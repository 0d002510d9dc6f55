//! What is tried in place of what `[train]` says.

use crate::plan::Optimizer;

/// One combination of settings; none for that of `[train]`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Trial {
    /// Peak learning rate.
    pub learning_rate: Option<f64>,
    /// Passes over the rows.
    pub passes: Option<usize>,
    /// Decoupled weight decay of matrices.
    pub weight_decay: Option<f64>,
}

impl Trial {
    /// The settings with those of the trial.
    pub(crate) fn of(&self, settings: &Optimizer) -> Optimizer {
        Optimizer {
            learning_rate: self.learning_rate.unwrap_or(settings.learning_rate),
            passes: self.passes.unwrap_or(settings.passes),
            weight_decay: self.weight_decay.unwrap_or(settings.weight_decay),
            ..settings.clone()
        }
    }

    /// `rate 0.001, 2 epochs, decay 0.1`: as much of it as is tried.
    pub(crate) fn words(&self) -> String {
        let rate = self.learning_rate.map(|rate| format!("rate {rate}"));
        let passes = self.passes.map(|passes| format!("{passes} epochs"));
        let decay = self.weight_decay.map(|decay| format!("decay {decay}"));
        [rate, passes, decay].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}
