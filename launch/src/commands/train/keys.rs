//! The keys of `[train]` as flags.

use std::fmt::{Display, Write};

/// Keys of the `[train]` section of an experiment file. They have its defaults.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Keys {
    /// Passes over the rows [default: that of experiment files, as for all below]
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Rows per step over all workers
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// The rule of an update: adamw, sgd or adafactor
    #[arg(long, value_name = "RULE")]
    optimizer: Option<String>,
    /// Of sgd: the share of the last direction that is kept
    #[arg(long, value_name = "SHARE")]
    momentum: Option<f64>,
    /// Of sgd: count the gradient as if the momentum had been followed already
    #[arg(long)]
    nesterov: bool,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// How the learning rate falls: constant, linear, cosine or inverse_sqrt
    #[arg(long, value_name = "SCHEDULE")]
    schedule: Option<String>,
    /// Share of the steps over which the learning rate rises from 0
    #[arg(long, value_name = "SHARE")]
    warmup: Option<f64>,
    /// Decoupled weight decay of matrices
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
    /// Matrices without weight decay, by Hugging Face name; `*` stands for any characters
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    no_decay: Vec<String>,
    /// Largest global norm of the gradient; 0 for no clipping
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Texts are cut to this many tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
    /// Train the classifier alone
    #[arg(long, conflicts_with_all = ["freeze", "lora_rank", "lora_alpha", "lora_dropout", "lora_targets"])]
    pub(super) linear_probe: bool,
    /// Parameters that keep their bytes, by Hugging Face name; `*` stands for any characters
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    freeze: Vec<String>,
    /// Train low-rank adapters of this rank; the model is written merged, and the adapters beside it
    #[arg(long, value_name = "N", conflicts_with = "freeze")]
    lora_rank: Option<u64>,
    /// Strength of the adapters
    #[arg(long, value_name = "ALPHA", requires = "lora_rank")]
    lora_alpha: Option<f64>,
    /// Share of the adapters' inputs that are dropped in training
    #[arg(long, value_name = "SHARE", requires = "lora_rank")]
    lora_dropout: Option<f64>,
    /// Endings of the names of the linear maps that are adapted, e.g. "q_proj,v_proj"
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "lora_rank")]
    lora_targets: Vec<String>,
}

impl Keys {
    /// The section's text with the keys that were given.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (key, value) in [("epochs", self.epochs), ("batch", self.batch), ("max_tokens", self.max_tokens)]
        {
            write(&mut text, key, value);
        }
        let numbers = [
            ("momentum", self.momentum),
            ("learning_rate", self.learning_rate),
            ("warmup", self.warmup),
            ("weight_decay", self.weight_decay),
            ("clip", self.clip),
        ];
        for (key, value) in numbers {
            write(&mut text, key, value);
        }
        write(&mut text, "optimizer", self.optimizer.as_deref().map(quoted));
        write(&mut text, "schedule", self.schedule.as_deref().map(quoted));
        write(&mut text, "trainable", self.linear_probe.then(|| quoted("head")));
        write(&mut text, "nesterov", self.nesterov.then_some(true));
        write(&mut text, "no_decay", given(&self.no_decay));
        write(&mut text, "freeze", given(&self.freeze));
        if let Some(rank) = self.lora_rank {
            text.push_str("[lora]\n");
            write(&mut text, "rank", Some(rank));
            write(&mut text, "alpha", self.lora_alpha);
            write(&mut text, "dropout", self.lora_dropout);
            write(&mut text, "targets", given(&self.lora_targets));
        }
        text
    }
}

/// A line of the section, where there is a value.
fn write(text: &mut String, key: &str, value: Option<impl Display>) {
    if let Some(value) = value {
        let _ = writeln!(text, "{key} = {value}");
    }
}

/// Texts, or a list of them, as TOML has them, which is as JSON has them.
fn quoted(text: impl Into<serde_json::Value>) -> serde_json::Value {
    text.into()
}

/// A list that says something.
fn given(texts: &[String]) -> Option<serde_json::Value> {
    (!texts.is_empty()).then(|| quoted(texts))
}

#[cfg(test)]
mod tests {
    use fulcrum_common::experiment::Training;

    use super::*;

    fn parsed(keys: &Keys) -> Result<Training, String> {
        Training::parse("the command line", &keys.text()).map_err(|errors| errors.to_string())
    }

    #[test]
    fn keys_that_were_given_are_read_as_those_of_a_file() {
        let whole = Keys {
            epochs: Some(3),
            learning_rate: Some(1e-5),
            max_tokens: Some(77),
            freeze: vec!["*.wte.\"x\"".into()],
            ..Keys::default()
        };
        let rule = Keys {
            optimizer: Some("sgd".into()),
            momentum: Some(0.5),
            nesterov: true,
            schedule: Some("inverse_sqrt".into()),
            warmup: Some(0.5),
            weight_decay: Some(1.0),
            no_decay: vec!["*.wte.*".into(), "*.wpe.*".into()],
            clip: Some(0.0),
            ..Keys::default()
        };
        let adapters = Keys {
            lora_rank: Some(4),
            lora_dropout: Some(0.1),
            lora_targets: vec!["q_proj".into(), "v_proj".into()],
            ..Keys::default()
        };
        let probe = Keys { linear_probe: true, ..Keys::default() };
        for (keys, same) in [
            (whole, "learning_rate = 0.00001\nepochs = 3\nmax_tokens = 77\nfreeze = ['*.wte.\"x\"']"),
            (
                rule,
                "optimizer = 'sgd'\nmomentum = 0.5\nnesterov = true\nschedule = 'inverse_sqrt'\nwarmup = 0.5\n\
                 weight_decay = 1.0\nno_decay = ['*.wte.*', '*.wpe.*']\nclip = 0.0",
            ),
            (adapters, "lora = { rank = 4, dropout = 0.1, targets = ['q_proj', 'v_proj'] }"),
            (probe, "trainable = 'head'"),
        ] {
            assert_eq!(parsed(&keys).unwrap(), Training::parse("", same).unwrap(), "{same}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused() {
        for keys in [
            Keys { epochs: Some(0), ..Keys::default() },
            Keys { learning_rate: Some(f64::NAN), ..Keys::default() },
            Keys { optimizer: Some("adam".into()), ..Keys::default() },
            Keys { momentum: Some(0.9), ..Keys::default() },
        ] {
            let error = parsed(&keys).unwrap_err();
            assert!(error.starts_with("the command line:"), "{error}");
        }
    }
}
