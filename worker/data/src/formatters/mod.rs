//! The formatters that come with Fulcrum: the 22 language tasks of the weak-to-strong paper (Burns et al. 2023,
//! appendix A.1) and the other datasets of its released code and of its reproductions.
//!
//! Each is a form like those that users write, for the columns that the dataset has on the Hugging Face hub. The few
//! that need more than a template have a function that derives columns first. What depends on chance depends on the
//! seed and the row alone. `docs/formatters.md` is made from the tables here.

mod ethics;
mod passages;
mod preferences;
mod questions;
mod reference;
mod sentences;

use fulcrum_common::plan::{self, Choices, Form, Formatter, Named, Templates};

use crate::{
    error::{DataError, Result},
    source::Record,
};

/// Adds columns to a row: takes the row, the seed of coins and the row's position in the source.
pub(crate) type Derive = fn(&Record, u64, i64) -> std::result::Result<Record, String>;

/// A dataset and how its rows are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    /// Its id on the hub, with the name of its configuration where it has several.
    dataset: &'static str,
    /// Its splits that carry labels: the pool that a split of ours takes rows from.
    pool: &'static str,
    rows: Rows,
    /// The value that examples are grouped by; none where every row stands alone.
    group_by: Option<&'static str>,
    derive: Option<Derive>,
    /// What is done otherwise than in published code, and what to beware of.
    remark: &'static str,
}

/// As [`Form`], in constants.
#[derive(Clone, Copy, Debug)]
enum Rows {
    Classes { text: &'static str, label: &'static str, classes: [&'static str; 2] },
    Choices { text: &'static str, choices: &'static [&'static str], answer: &'static str },
    Pair { prompt: &'static str, chosen: &'static str, rejected: &'static str },
}

fn definition(formatter: Formatter) -> &'static Definition {
    match formatter {
        Formatter::AmazonPolarity => &sentences::AMAZON_POLARITY,
        Formatter::AnliR2 => &passages::ANLI_R2,
        Formatter::AnthropicHh => &preferences::ANTHROPIC_HH,
        Formatter::BoolQ => &passages::BOOLQ,
        Formatter::Cola => &sentences::COLA,
        Formatter::CosmosQa => &questions::COSMOS_QA,
        Formatter::Dream => &questions::DREAM,
        Formatter::EthicsDeontology => &ethics::DEONTOLOGY,
        Formatter::EthicsJustice => &ethics::JUSTICE,
        Formatter::EthicsUtilitarianism => &ethics::UTILITARIANISM,
        Formatter::EthicsVirtue => &ethics::VIRTUE,
        Formatter::HellaSwag => &questions::HELLASWAG,
        Formatter::McTaco => &passages::MC_TACO,
        Formatter::MultiRc => &passages::MULTIRC,
        Formatter::OpenBookQa => &questions::OPENBOOKQA,
        Formatter::Paws => &sentences::PAWS,
        Formatter::Piqa => &questions::PIQA,
        Formatter::Quail => &questions::QUAIL,
        Formatter::Quartz => &questions::QUARTZ,
        Formatter::Sciq => &questions::SCIQ,
        Formatter::SciqWithSupport => &questions::SCIQ_WITH_SUPPORT,
        Formatter::SocialIqa => &questions::SOCIAL_I_QA,
        Formatter::Sst2 => &sentences::SST2,
        Formatter::TwitterSentiment => &sentences::TWITTER_SENTIMENT,
        Formatter::Wic => &sentences::WIC,
    }
}

/// The text of `docs/formatters.md`.
pub fn reference() -> String {
    reference::page()
}

/// What a named formatter stands for.
///
/// # Errors
/// When the plan was made for another version of it.
pub(crate) fn templates(named: &Named) -> Result<(Templates, Option<Derive>)> {
    let Named { formatter, version, pick, seed, compares } = *named;
    if version != formatter.version() {
        return Err(DataError::value(format!(
            "the plan asks for version {version} of the formatter {:?}, this program has version {}",
            formatter.word(),
            formatter.version()
        )));
    }
    let definition = definition(formatter);
    let form = match definition.rows {
        Rows::Classes { text, label, classes } => Form::Classes {
            text: text.to_owned(),
            label: label.to_owned(),
            classes: classes.map(str::to_owned).into(),
        },
        Rows::Choices { text, choices, answer } => Form::Choices {
            text: text.to_owned(),
            choices: match choices {
                [list] => Choices::List((*list).to_owned()),
                each => Choices::Each(each.iter().map(|&one| one.to_owned()).collect()),
            },
            answer: answer.to_owned(),
            pick,
            seed,
        },
        Rows::Pair { prompt, chosen, rejected } if compares => Form::Comparison {
            prompt: Some(prompt.to_owned()),
            chosen: chosen.to_owned(),
            rejected: rejected.to_owned(),
            seed,
        },
        Rows::Pair { prompt, chosen, rejected } => Form::Pair {
            prompt: Some(prompt.to_owned()),
            chosen: chosen.to_owned(),
            rejected: rejected.to_owned(),
            pick,
            seed,
        },
    };
    let group_by = definition.group_by.map(str::to_owned);
    Ok((plan::Templates { columns: Vec::new(), form, group_by, difficulty: None }, definition.derive))
}

#[cfg(test)]
mod tests;
