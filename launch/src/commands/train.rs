//! `fulcrum train`: one finetuning.

mod keys;

use std::{collections::BTreeSet, convert::Infallible, path::PathBuf};

use anyhow::{Result, bail};
use fulcrum_common::{
    experiment::Training,
    plan::{
        Form, Format, Formatter, HeadInit, Mode, Named, Numerics, Plan, Precision, Prepare, Readout,
        Strategy, Wire,
    },
    recipe::{self, Finetuning},
    store::Store,
};
use serde::de::DeserializeOwned;

use keys::Keys;

use super::{
    one_off::{OneOff, Text, refuse_full, template},
    print,
};
use crate::progress::thousands;

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
    /// The column with a probability for each class, such as another program's weak labels, in place of --label: a list
    /// of numbers or, of two classes, the probability of the second. `fulcrum import-labels` makes such files
    #[arg(long, value_name = "COLUMN", requires = "classes", conflicts_with_all = ["label", "prompt", "format"])]
    soft_label: Option<String>,
    /// The values of the label column in class order, e.g. "0,1"; of soft labels, what the classes are called
    #[arg(long, value_name = "VALUES", value_delimiter = ',')]
    classes: Vec<String>,
    /// What is given before the text: a column or a template. A language model learns to write the text after it
    #[arg(long, value_name = "COLUMN", conflicts_with = "label")]
    prompt: Option<String>,
    /// The name of a formatter for the rows of a known dataset, such as "sciq", in place of text and label
    #[arg(long, value_name = "NAME", conflicts_with_all = ["text", "label", "prompt"], value_parser = formatter)]
    format: Option<Formatter>,
    /// How a new classifier begins: normal, zero, or with the unembedding rows of tokens, one for each class, e.g.
    /// " no, yes"
    #[arg(long, value_name = "INIT", value_parser = head_init, default_value = "normal")]
    head_init: HeadInit,
    /// Which state a classifier reads: last, mean or first [default: last of a decoder, first of an encoder]
    #[arg(long, value_name = "TOKEN", value_parser = readout)]
    readout: Option<Readout>,
    #[command(flatten)]
    keys: Keys,
    /// What models compute in: fp32, or bf16 with weights and sums in fp32
    #[arg(long, value_name = "NUMBERS", value_parser = word::<Precision>, default_value = "fp32")]
    precision: Precision,
    /// What stays equal: fast (the same bytes for the same number of workers) or deterministic (for any number)
    #[arg(long, value_name = "MODE", value_parser = word::<Mode>, default_value = "fast")]
    mode: Mode,
    /// What gradients travel in from worker to worker: fp32, or bf16 for half the traffic
    #[arg(long, value_name = "NUMBERS", value_parser = word::<Wire>, default_value = "fp32")]
    wire: Wire,
    /// Who holds what: data (every worker everything), zero1 (a share of the optimizer), sharded (a share of everything)
    #[arg(long, value_name = "NAME", value_parser = word::<Strategy>, default_value = "data")]
    strategy: Strategy,
    /// Seed of the row order and of a fresh head
    #[arg(long, default_value_t = 0)]
    seed: u64,
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
        return Ok(Format::of(Form::Completion {
            prompt: template(prompt),
            completion: text,
            position: None,
        }));
    }
    if !args.classes.is_empty() && args.label.is_none() && args.soft_label.is_none() {
        bail!("--classes names the classes of labels: name their column with --label or --soft-label");
    }
    let classes: BTreeSet<_> = args.classes.iter().collect();
    if !args.classes.is_empty() && (classes.len() < 2 || classes.len() < args.classes.len()) {
        bail!("--classes names {} different values: name each class once, and two at least", classes.len());
    }
    Ok(match &args.label {
        Some(label) => Format::labelled(&text, label, args.classes.clone()),
        None => Format::unlabelled(&text),
    })
}

/// The column with soft labels, and how many classes they are of.
fn soft_labels(args: &Args) -> Option<(String, usize)> {
    args.soft_label.clone().map(|column| (column, args.classes.len()))
}

/// A word as plans spell it.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// How a classifier begins, by its words or its tokens.
fn head_init(text: &str) -> Result<HeadInit, Infallible> {
    Ok(match text {
        "normal" => HeadInit::Normal,
        "zero" => HeadInit::Zero,
        tokens => HeadInit::Unembedding(tokens.split(',').map(str::to_owned).collect()),
    })
}

fn readout(text: &str) -> Result<Readout, String> {
    match text {
        "last" => Ok(Readout::Last),
        "mean" => Ok(Readout::Mean),
        "first" => Ok(Readout::First),
        _ => Err("it must be last, mean or first".to_owned()),
    }
}

/// Flags of a classifier's head need a classifier, and tokens one class each.
fn check_head(args: &Args, format: &Format) -> Result<()> {
    let tokens = match &args.head_init {
        HeadInit::Unembedding(tokens) => Some(tokens.len()),
        HeadInit::Normal | HeadInit::Zero => None,
    };
    let given = [
        ("--linear-probe", args.keys.linear_probe),
        ("--head-init", args.head_init != HeadInit::Normal),
        ("--readout", args.readout.is_some()),
    ];
    let classes = soft_labels(args).map(|(_, classes)| classes).or(format.classes());
    match (classes, tokens, given.iter().find(|(_, given)| *given)) {
        (None, _, Some((flag, _))) => {
            bail!("{flag} is for classifiers: name labels with --label, --soft-label or --format")
        }
        (Some(classes), Some(tokens), _) if tokens != classes => {
            bail!("--head-init names {tokens} tokens for {classes} classes: give one for each")
        }
        _ => Ok(()),
    }
}

/// In which numbers.
fn numerics(args: &Args) -> Result<Numerics> {
    let numerics = Numerics { precision: args.precision, mode: args.mode, wire: args.wire };
    if numerics.contradicts_itself() {
        bail!("--wire bf16 rounds what --mode deterministic adds exactly: take one of the two");
    }
    Ok(numerics)
}

/// Trains, and copies the model out of the store.
///
/// # Errors
/// With the exit code of the contract.
pub(super) async fn run(args: Args) -> Result<()> {
    refuse_full(&args.out)?;
    let format = format(&args)?;
    let training = Training::parse("the command line", &args.keys.text())?;
    check_head(&args, &format)?;
    let numerics = numerics(&args)?;
    let soft_labels = soft_labels(&args);
    let (init, readout) = (args.head_init, args.readout);
    let files = args.common.files()?;
    let Args { strategy, seed, .. } = args;
    let finetuning =
        Finetuning { files, format, soft_labels, init, readout, training, numerics, strategy, seed };
    let plan = recipe::train(&args.common.model()?, &finetuning)?;
    let (store, trained) = args.common.run("train", &plan).await?;
    store.export(trained.key, &args.out).await?;
    tell_left_out(&plan, &store).await?;
    print(&format!("{}\n", args.out.display()))
}

/// Says how many pairs taught nothing.
async fn tell_left_out(plan: &Plan, store: &Store) -> Result<()> {
    for stage in plan.stages() {
        let Some(manifest) = store.manifest(stage.key).await? else { continue };
        match manifest.facts.get(Prepare::DROPPED_PAIRS) {
            Some(&pairs) if pairs > 0 => {
                eprintln!("left out: {} pairs of equal or empty texts", thousands(pairs));
            }
            _ => {}
        }
    }
    Ok(())
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
        let format = super::format(&line.args).map_err(|error| error.to_string())?;
        check_head(&line.args, &format).map_err(|error| error.to_string())?;
        numerics(&line.args).map_err(|error| error.to_string())?;
        Ok(format)
    }

    #[test]
    fn rows_are_read_as_text_labels_completions_or_those_of_a_known_dataset() {
        let completion =
            Form::Completion { prompt: "{{ q }}".into(), completion: "{{ a }}".into(), position: None };
        let cases = [
            ("", Format::unlabelled("{{ text }}")),
            ("--label y --classes 0,1", Format::labelled("{{ text }}", "y", vec!["0".into(), "1".into()])),
            ("--soft-label y --classes 0,1 --head-init zero", Format::unlabelled("{{ text }}")),
            ("--text a --prompt q", Format::of(completion)),
            (
                "--label y --classes 0,1 --head-init a,b --readout mean --linear-probe",
                Format::labelled("{{ text }}", "y", vec!["0".into(), "1".into()]),
            ),
            ("--format sciq --seed 3", Format::Named(Named::new(Formatter::Sciq, None, 3))),
        ];
        for (flags, expected) in cases {
            assert_eq!(parsed(flags), Ok(expected), "{flags}");
        }
        for (flags, expected) in [
            ("--soft-label y", "--classes"),
            ("--classes 0,1", "name their column with --label or --soft-label"),
            ("--soft-label y --label y --classes 0,1", "cannot be used with"),
            ("--soft-label y --classes 0,1 --head-init a,b,c", "3 tokens for 2 classes"),
            ("--label y --classes 0,0", "--classes names 1 different values"),
            ("--format sicq", "no such formatter; there are amazon_polarity, anli-r2"),
            ("--format sciq --label y --classes 0,1", "cannot be used with"),
            ("--format sciq --text a", "cannot be used with"),
            ("--prompt q --label y --classes 0,1", "cannot be used with"),
            ("--linear-probe", "--linear-probe is for classifiers"),
            ("--wire bf16 --mode deterministic", "--wire bf16 rounds what --mode deterministic adds exactly"),
            ("--head-init zero", "--head-init is for classifiers"),
            ("--readout mean", "--readout is for classifiers"),
            ("--label y --classes 0,1 --head-init a,b,c", "3 tokens for 2 classes"),
            ("--lora-rank 2 --linear-probe", "cannot be used with"),
            ("--lora-rank 2 --freeze x", "cannot be used with"),
            ("--lora-alpha 2", "--lora-rank"),
        ] {
            let message = parsed(flags).unwrap_err();
            assert!(message.contains(expected), "{flags}: {message}");
        }
    }

    #[test]
    fn a_head_begins_by_a_word_or_by_tokens() {
        assert_eq!(head_init("zero"), Ok(HeadInit::Zero));
        assert_eq!(head_init(" no, yes"), Ok(HeadInit::Unembedding(vec![" no".into(), " yes".into()])));
        assert_eq!((readout("mean"), readout("middle").is_err()), (Ok(Readout::Mean), true));
    }
}
