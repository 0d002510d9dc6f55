//! `docs/formatters.md`, from the tables of formatters.

use std::fmt::Write;

use fulcrum_common::plan::{Coins, Formatter};

use super::{Definition, Rows, definition};

const HEAD: &str = r#"# Formatters

`[task] format = "NAME"` reads the rows of a known dataset, in place of the keys that say how a row becomes examples
(see [data.md](data.md)). Fulcrum's own tests keep this page current: it is made from `worker/data/src/formatters`
by `FULCRUM_BLESS=1 cargo test -p fulcrum-data`.

The 22 language tasks of the paper (Burns et al. 2023) are here, and `amazon_polarity`, `anthropic_hh` and
`sciq_with_support` of its released code and a public reproduction. The paper's own prompts were never published:
these are ours, in the shape of what was. A formatter has a version, which is part of a plan's keys.

All of them make two classes. Where a row has answers to choose from, class 1 is a right answer, and `pick` says which
become examples: `"one"` (the default here, as in released code: a coin shows a right answer or a random wrong one), `"two"`
(one of each, as in the paper) or `"all"`. Coins depend on `seed` and on the row's position, so two files that
are read in the same order have the same coins, and no part of a split repeats those of another.

With `kind = "multiple-choice"` a formatter with answers takes `"all"` or `"two"` (`"all"` where nothing is said), and its questions are
scored too. With `kind = "preference"` the two texts of `anthropic_hh` are one example ([data.md](data.md#format)).

Examples of one group (one question, one passage, one story) stay in one part of a split, texts that come twice are left
out by the split, and its `balance` limits the larger class: rows are read as they are. Rows are taken from the splits below;
the others of a dataset hide their labels, and a row of theirs is refused.

"#;

const LEAKS: &str = r#"
## What published code does otherwise

- It restarts one generator for each split, so that train and test see the same coins. Here each row has its own.
- It keeps the two halves apart by row. Here all examples of a question, a passage or a story are in one half.
- It leaves classes as they come, or drops rows of each half. Here the split has one rule for all parts.

"#;

/// The page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| `format` | version | dataset on the hub | splits with labels | grouped by |\n|---|---|---|---|---|\n");
    for &formatter in Formatter::ALL {
        let Definition { dataset, pool, group_by, .. } = definition(formatter);
        let group_by = group_by.map_or("-".to_owned(), |value| code(value).replace('|', "\\|"));
        let (word, version) = (formatter.word(), formatter.version());
        let _ = writeln!(page, "| `{word}` | {version} | `{dataset}` | {pool} | {group_by} |");
    }
    page.push_str(LEAKS);
    page.push_str("## What a row becomes\n");
    for &formatter in Formatter::ALL {
        section(&mut page, formatter);
    }
    page
}

fn section(page: &mut String, formatter: Formatter) {
    let definition = definition(formatter);
    let _ = write!(page, "\n### {}\n\n", formatter.word());
    match definition.rows {
        Rows::Classes { text, label, classes: [zero, one] } => {
            let _ = write!(
                page,
                "```jinja\n{text}\n```\n\n{}: {zero} is class 0, {one} is class 1.",
                code(label)
            );
        }
        Rows::Choices { text, choices, answer } => {
            let choices = choices.iter().map(|choice| code(choice)).collect::<Vec<_>>().join(", ");
            let answer = code(answer);
            let _ = write!(page, "```jinja\n{text}\n```\n\nAnswers: {choices}; the right one: {answer}.");
        }
        Rows::Pair { prompt, chosen, rejected } => {
            let [prompt, chosen, rejected] = [prompt, chosen, rejected].map(code);
            let _ = write!(page, "After {prompt}: {chosen} is class 1, {rejected} is class 0.");
        }
    }
    if formatter.coins() == Coins::Order {
        page.push_str(" A coin of the row says which of the two is shown first.");
    }
    if !definition.remark.is_empty() {
        let _ = write!(page, "\n\n{}.", capital(definition.remark));
    }
    page.push('\n');
}

/// Text as code in a line.
fn code(text: &str) -> String {
    format!("`{}`", text.replace('\n', "\\n"))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
