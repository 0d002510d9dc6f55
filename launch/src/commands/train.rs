//! `fulcrum train`: one finetuning.

use std::{collections::BTreeSet, fmt::Write, path::PathBuf};

use anyhow::{Result, bail};
use fulcrum_common::{
    experiment::Training,
    plan::{Form, Format, Formatter, Named},
    recipe::{self, Finetuning},
};

use super::{
    one_off::{OneOff, Text, refuse_full, template},
    print,
};

/// What was asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: OneOff,
    #[command(flatten)]
    text: Text,
    /// The new folder for the trained model, in the layout of the one given
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The column with the label: trains a classifier. Without it a language model is trained on the texts
    #[arg(long, value_name = "COLUMN", requires = "classes")]
    label: Option<String>,
    /// The values of the label column in class order, e.g. "0,1"
    #[arg(long, value_name = "VALUES", value_delimiter = ',', requires = "label")]
    classes: Vec<String>,
    /// What is given before the text: a column or a template. A language model learns to write the text after it
    #[arg(long, value_name = "COLUMN", conflicts_with = "label")]
    prompt: Option<String>,
    /// The name of a formatter for the rows of a known dataset, such as "sciq", in place of text and label
    #[arg(long, value_name = "NAME", conflicts_with_all = ["text", "label", "prompt"], value_parser = formatter)]
    format: Option<Formatter>,
    #[command(flatten)]
    keys: Keys,
    /// Seed of the row order and of a fresh head
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Keys of the `[train]` section of an experiment file. They have its defaults.
#[derive(Debug, Default, clap::Args)]
struct Keys {
    /// Passes over the rows [default: that of experiment files, as for all below]
    #[arg(long, value_name = "N")]
    epochs: Option<u64>,
    /// Rows per step over all workers
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// Peak learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Texts are cut to this many tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,
}

impl Keys {
    /// The section's text with the keys that were given.
    fn text(&self) -> String {
        let mut text = String::new();
        let whole = [("epochs", self.epochs), ("batch", self.batch), ("max_tokens", self.max_tokens)];
        for (key, value) in whole {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        if let Some(rate) = self.learning_rate {
            let _ = writeln!(text, "learning_rate = {rate:?}");
        }
        text
    }
}

fn formatter(word: &str) -> Result<Formatter, String> {
    let known = Formatter::ALL.iter().find(|known| known.word() == word);
    let words = || Formatter::ALL.iter().map(|known| known.word()).collect::<Vec<_>>().join(", ");
    known.copied().ok_or_else(|| format!("no such formatter; there are {}", words()))
}

/// How rows become examples.
fn format(args: &Args) -> Result<Format> {
    if let Some(formatter) = args.format {
        return Ok(Format::Named(Named::new(formatter, None, args.seed)));
    }
    let text = args.text.template();
    if let Some(prompt) = &args.prompt {
        return Ok(Format::of(Form::Completion { prompt: template(prompt), completion: text }));
    }
    let Some(label) = &args.label else { return Ok(Format::unlabelled(&text)) };
    let classes: BTreeSet<_> = args.classes.iter().collect();
    if classes.len() < 2 || classes.len() < args.classes.len() {
        bail!("--classes names {} different values: name each class once, and two at least", classes.len());
    }
    Ok(Format::labelled(&text, label, args.classes.clone()))
}

/// Trains, and copies the model out of the store.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    refuse_full(&args.out)?;
    let format = format(&args)?;
    let training = Training::parse("the command line", &args.keys.text())?;
    let finetuning = Finetuning { files: args.common.files()?, format, training, seed: args.seed };
    let plan = recipe::train(&args.common.model()?, &finetuning)?;
    let (store, trained) = args.common.run("train", &plan).await?;
    store.export(trained.key, &args.out).await?;
    print(&format!("{}\n", args.out.display()))
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

    fn parsed(flags: &str) -> Result<Format, String> {
        let line = format!("train --model m --data d --out o {flags}");
        let line = Line::try_parse_from(line.split_whitespace()).map_err(|error| error.to_string())?;
        super::format(&line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn rows_are_read_as_text_labels_completions_or_those_of_a_known_dataset() {
        let completion = Form::Completion { prompt: "{{ q }}".into(), completion: "{{ a }}".into() };
        let cases = [
            ("", Format::unlabelled("{{ text }}")),
            ("--label y --classes 0,1", Format::labelled("{{ text }}", "y", vec!["0".into(), "1".into()])),
            ("--text a --prompt q", Format::of(completion)),
            ("--format sciq --seed 3", Format::Named(Named::new(Formatter::Sciq, None, 3))),
        ];
        for (flags, expected) in cases {
            assert_eq!(parsed(flags), Ok(expected), "{flags}");
        }
        for (flags, expected) in [
            ("--label y --classes 0,0", "--classes names 1 different values"),
            ("--format sicq", "no such formatter; there are amazon_polarity, anli-r2"),
            ("--format sciq --label y --classes 0,1", "cannot be used with"),
            ("--format sciq --text a", "cannot be used with"),
            ("--prompt q --label y --classes 0,1", "cannot be used with"),
        ] {
            let message = parsed(flags).unwrap_err();
            assert!(message.contains(expected), "{flags}: {message}");
        }
    }

    #[test]
    fn keys_that_were_given_are_read_as_those_of_a_file() {
        let keys = Keys { epochs: Some(3), batch: None, learning_rate: Some(1e-5), max_tokens: Some(77) };
        let training = Training::parse("the command line", &keys.text()).unwrap();
        assert_eq!(training.max_tokens(), 77);
        let same = Training::parse("", "learning_rate = 0.00001\nepochs = 3\nmax_tokens = 77").unwrap();
        assert_eq!(training, same);
    }

    #[test]
    fn a_value_out_of_range_is_refused() {
        for keys in [
            Keys { epochs: Some(0), ..Keys::default() },
            Keys { learning_rate: Some(f64::NAN), ..Keys::default() },
        ] {
            let error = Training::parse("the command line", &keys.text()).unwrap_err().to_string();
            assert!(error.starts_with("the command line:"), "{error}");
        }
    }
}
