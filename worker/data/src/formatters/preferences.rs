//! Pairs of texts of which one is preferred.

use serde_json::Value;

use super::{Definition, Rows};
use crate::source::Record;

/// What opens a turn of the assistant in the transcripts.
const TURN: &str = "\n\nAssistant:";

pub(super) const ANTHROPIC_HH: Definition = Definition {
    dataset: "Anthropic/hh-rlhf",
    pool: "train, test",
    rows: Rows::Pair { prompt: "dialogue", chosen: "chosen_reply", rejected: "rejected_reply" },
    group_by: Some("dialogue"),
    derive: Some(replies),
    remark: "the prompt is what both transcripts have in common, up to the turn of the assistant in which they part. \
             Whether a single reply was preferred is hardly to be told from it: models stay at chance",
};

/// Cuts both transcripts where the assistant begins to answer differently: `dialogue`, `chosen_reply`, `rejected_reply`.
fn replies(record: &Record, _: u64, _: i64) -> Result<Record, String> {
    let take = |column: &str| {
        let value = record.get(column).ok_or_else(|| format!("no column `{column}`"))?;
        value.as_str().ok_or_else(|| format!("{column} is no text"))
    };
    let (chosen, rejected) = (take("chosen")?, take("rejected")?);
    let pairs = chosen.char_indices().zip(rejected.chars());
    let common = pairs.take_while(|((_, a), b)| a == b).last();
    let common = common.map_or("", |((at, last), _)| &chosen[..at + last.len_utf8()]);
    let cut = common.rfind(TURN).map_or(0, |at| at + TURN.len());
    let mut derived = record.clone();
    derived.insert("dialogue".to_owned(), Value::from(&chosen[..cut]));
    derived.insert("chosen_reply".to_owned(), Value::from(&chosen[cut..]));
    derived.insert("rejected_reply".to_owned(), Value::from(&rejected[cut..]));
    Ok(derived)
}
