//! `fulcrum generate`: one language model continues the prompts of one table of rows, one Parquet file out.

use std::{num::NonZeroUsize, path::PathBuf};

use anyhow::Result;
use fulcrum_common::{
    plan::{Chat, Date, Sampling, Turns},
    recipe,
};

use super::{
    one_off::{OneOff, collect, new_file, template},
    print,
};
use crate::progress::thousands;

/// Rows that a worker takes at a time where nothing else is said: a worker that is lost costs so many.
const SHARD: NonZeroUsize = NonZeroUsize::new(128).unwrap();

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: OneOff,
    /// The new Parquet file: columns `row`, `sample`, `text`, `tokens`, `log_probability` and `finish`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The column with the prompt, or a template over the columns such as "Q: {{ question }}\nA:"
    #[arg(long, value_name = "COLUMN", default_value = "text", conflicts_with = "messages")]
    prompt: String,
    /// Give each prompt to the model as what a user says, written by its own chat template
    #[arg(long)]
    chat: bool,
    /// The column with whole conversations, lists of messages with `role` and `content`, for the chat template
    #[arg(long, value_name = "COLUMN")]
    messages: Option<String>,
    /// The day that a chat template is told when it asks, as in 2024-07-26
    #[arg(long, value_name = "DATE")]
    date: Option<Date>,
    #[command(flatten)]
    drawing: Drawing,
    /// Rows per shard, the unit that workers take. A file has 16384 shards at most
    #[arg(long, value_name = "N", default_value_t = SHARD)]
    shard: NonZeroUsize,
}

/// How completions are drawn.
#[derive(Debug, clap::Args)]
struct Drawing {
    /// Most tokens of a completion
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// Divides the logits; 0 takes the likeliest token each time
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temperature: f64,
    /// Draw from the K likeliest tokens only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw from the likeliest tokens that together hold this probability only
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// End a completion before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Completions per prompt
    #[arg(long, value_name = "N", default_value_t = 1)]
    samples: usize,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Completions that are decoded together; fewer take less memory
    #[arg(long, value_name = "N", default_value_t = Sampling::SLOTS)]
    batch: usize,
}

impl Args {
    /// What a row becomes, and how the model is given it.
    fn prompt(&self) -> (String, Option<Chat>) {
        let chat = |turns| Chat { turns, date: self.date };
        match &self.messages {
            Some(column) => {
                let column = serde_json::Value::from(column.as_str());
                (format!("{{{{ columns[{column}] | tojson }}}}"), Some(chat(Turns::Messages)))
            }
            None => (template(&self.prompt), self.chat.then(|| chat(Turns::User))),
        }
    }

    fn sampling(&self, chat: Option<Chat>) -> Sampling {
        let Drawing { max_new_tokens, temperature, top_k, top_p, ref stop, samples, seed, batch } =
            self.drawing;
        // Stop texts are a set: the same ones in another order are the same work.
        let mut stop = stop.clone();
        stop.sort();
        stop.dedup();
        Sampling { max_new_tokens, temperature, top_k, top_p, stop, samples, seed, slots: batch, chat }
    }
}

/// Generates, and puts the parts together.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    new_file(&args.out)?;
    let (prompt, chat) = args.prompt();
    let (sampling, model) = (args.sampling(chat), args.common.model()?);
    let plan = recipe::generate(&model, &args.common.files()?, &prompt, &sampling, args.shard)?;
    let (store, manifest) = args.common.run("generate", &plan).await?;
    let completions = collect(&store, &manifest, &args.out).await?;
    let cut = manifest.facts.get("cut").copied().unwrap_or_default();
    if cut > 0 {
        let room = model.positions.saturating_sub(sampling.max_new_tokens);
        eprintln!("{} prompts had more than {room} tokens and lost their beginnings", thousands(cut));
    }
    print(&format!("{} completions in {}\n", thousands(completions), args.out.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parsed(more: &[&str]) -> Result<Args, clap::Error> {
        let line = ["generate", "--model", "m", "--data", "d.jsonl", "--out", "o.parquet"];
        Line::try_parse_from(line.iter().chain(more)).map(|line| line.args)
    }

    #[test]
    fn prompts_are_columns_templates_or_conversations() {
        let date = "2024-07-26".parse().ok();
        let said = |turns, date| Some(Chat { turns, date });
        let cases: [(&[&str], &str, Option<Chat>); 4] = [
            (&[], "{{ text }}", None),
            (&["--prompt", "Q: {{ q }}"], "Q: {{ q }}", None),
            (&["--prompt", "q", "--chat", "--date", "2024-07-26"], "{{ q }}", said(Turns::User, date)),
            (
                &["--messages", "the turns"],
                r#"{{ columns["the turns"] | tojson }}"#,
                said(Turns::Messages, None),
            ),
        ];
        for (line, prompt, chat) in cases {
            assert_eq!(parsed(line).unwrap().prompt(), (prompt.to_owned(), chat));
        }
        for line in [&["--messages", "a", "--prompt", "b"][..], &["--date", "today"]] {
            assert!(parsed(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn stop_texts_are_a_set() {
        let sampling = |line: &[&str]| parsed(line).unwrap().sampling(None);
        let one = sampling(&["--stop", "b", "--stop", "a", "--stop", "b"]);
        assert_eq!(one, sampling(&["--stop", "a", "--stop", "b"]));
        one.check().unwrap();
    }
}
