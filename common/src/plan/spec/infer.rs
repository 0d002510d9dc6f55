//! A run of a model over rows.

use serde::{Deserialize, Serialize};

use super::{Date, Part};

/// A run of a model over rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Infer {
    /// Rows that are read.
    pub part: Part,
    /// What is written per row.
    pub output: Output,
    /// Most tokens of a forward pass, padding counted; a row that is longer has one of its own. An image counts as one
    /// for each 8 by 8 pixels.
    pub batch_tokens: usize,
    /// Rows per shard. Rows of about one length share a forward pass, within a shard only.
    pub shard: usize,
    /// Most rows that may be left out because they cannot be computed.
    #[serde(default = "most_rows", skip_serializing_if = "are_most_rows")]
    pub poison_rows: usize,
}

impl Infer {
    /// Most rows that may be left out where nothing else is said.
    pub const POISON_ROWS: usize = 8;
    /// As many as can be said: each is a fact of its shard.
    pub const MOST_POISON_ROWS: usize = 1000;
}

fn most_rows() -> usize {
    Infer::POISON_ROWS
}

fn are_most_rows(rows: &usize) -> bool {
    *rows == Infer::POISON_ROWS
}

/// What inference writes per row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// `row` (i64) and `probabilities` (list of f32, one per class).
    Probabilities,
    /// `row` (i64), `tokens` (i64) and `log_probability` (f64), summed over all tokens but the first. Of rows with a
    /// prompt both count what follows the prompt alone.
    LogProbability,
    /// The vectors that a network makes of images, as [`super::Prepare::Features`] leaves them.
    Features,
    /// `row` (i64), `sample` (i64), `text` (utf8), `tokens` (i64), `log_probability` (f64) and `finish` (utf8: `stop`
    /// or `length`): what the model says after each row's prompt.
    Completions(Sampling),
}

/// How completions are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Most tokens of a completion.
    pub max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token (greedy).
    pub temperature: f64,
    /// Only this many of the likeliest tokens; none for all.
    pub top_k: Option<usize>,
    /// Only the likeliest tokens that together hold this probability; 1 for all.
    pub top_p: f64,
    /// Completions end before any of these texts, beside the model's own end of text.
    pub stop: Vec<String>,
    /// Completions per prompt.
    pub samples: usize,
    /// Seed; the draw of a token is keyed by (seed, row, sample, position) alone.
    pub seed: u64,
    /// Completions that are decoded together. Places that are empty are computed all the same: the shapes of a
    /// completion's tensors are part of its description, and who else there is to decode is not.
    pub slots: usize,
    /// How the model's chat template writes a prompt; none where prompts are continued as they are.
    pub chat: Option<Chat>,
}

/// How prompts become conversations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chat {
    /// What a prompt is.
    pub turns: Turns,
    /// What a template is told when it asks for today's date; without one such a template is an error.
    pub date: Option<Date>,
}

/// What the prompt of a conversation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Turns {
    /// What a user says.
    User,
    /// JSON: a list of messages, `[{"role": "user", "content": "..."}, ...]`.
    Messages,
}

impl Sampling {
    /// Completions that are decoded together where nothing else is said.
    pub const SLOTS: usize = 16;

    /// The likeliest tokens, up to so many.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            stop: Vec::new(),
            samples: 1,
            seed: 0,
            slots: Self::SLOTS,
            chat: None,
        }
    }

    /// Whether completions can be drawn so.
    ///
    /// # Errors
    /// Names the setting, its value and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        /// Bounds what is allocated ahead.
        const MOST: usize = 1 << 16;
        let counts = [
            ("max_new_tokens", self.max_new_tokens, super::Architecture::MOST_CONTEXT),
            ("top_k", self.top_k.unwrap_or(1), usize::MAX),
            ("samples", self.samples, MOST),
            ("slots", self.slots, MOST),
        ];
        if let Some((name, value, most)) =
            counts.into_iter().find(|(_, value, most)| !(1..=*most).contains(value))
        {
            let most = if most == usize::MAX { String::new() } else { format!(" to {most}") };
            return Err(format!("{name} = {value}: it must be from 1{most}"));
        }
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(format!("temperature = {}: it must be 0 or more", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!("top_p = {}: it must be above 0 and at most 1", self.top_p));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err("stop = \"\": an empty text would stop everything".to_owned());
        }
        if self.temperature == 0.0 && self.samples > 1 {
            return Err(format!(
                "samples = {} at temperature 0 would all be the same: give a temperature",
                self.samples
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling() -> Sampling {
        Sampling {
            max_new_tokens: 8,
            temperature: 1.0,
            top_k: Some(5),
            top_p: 0.9,
            stop: vec!["\n".into()],
            samples: 2,
            seed: 0,
            slots: Sampling::SLOTS,
            chat: None,
        }
    }

    #[test]
    fn settings_that_draw_nothing_are_refused_by_name() {
        sampling().check().unwrap();
        type Case = (fn(&mut Sampling), &'static str);
        let cases: [Case; 12] = [
            (|s| s.max_new_tokens = 0, "max_new_tokens = 0: it must be from 1 to 4194304"),
            (|s| s.max_new_tokens = usize::MAX, "max_new_tokens = "),
            (|s| s.top_k = Some(0), "top_k = 0: it must be from 1"),
            (|s| s.samples = 0, "samples = 0: it must be from 1 to 65536"),
            (|s| s.slots = 0, "slots = 0"),
            (|s| s.temperature = -0.1, "temperature = -0.1: it must be 0 or more"),
            (|s| s.temperature = f64::NAN, "temperature = NaN"),
            (|s| s.temperature = f64::INFINITY, "temperature = inf"),
            (|s| s.top_p = 0.0, "top_p = 0: it must be above 0 and at most 1"),
            (|s| s.top_p = 1.1, "top_p = 1.1"),
            (|s| s.stop.push(String::new()), "stop = \"\""),
            (|s| s.temperature = 0.0, "samples = 2 at temperature 0 would all be the same"),
        ];
        for (change, expected) in cases {
            let mut sampling = sampling();
            change(&mut sampling);
            let message = sampling.check().unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
    }
}
