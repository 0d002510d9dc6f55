//! Two texts of which one is preferred.

use super::{GOOD, edited, parse, refused, task};

const COMPARED: &str = "kind = \"preference\"\nchosen = \"good\"\nrejected = \"bad\"\nseed = 3\n";

#[test]
fn a_preference_is_given_by_two_texts_or_a_formatter_that_has_them() {
    for good in [
        COMPARED,
        &format!("{COMPARED}prompt = \"q\"\ngroup_by = \"q\"\n"),
        "kind = \"preference\"\nformat = \"anthropic_hh\"\nseed = 3\n",
    ] {
        parse(&task(good)).unwrap_or_else(|e| panic!("{e}\n{good}"));
    }
    let named = "kind = \"preference\"\nformat = \"anthropic_hh\"\n";
    let cases = [
        (
            COMPARED,
            "text = \"{{ q }}\"\n",
            "10: task.text is not read: rows are given by chosen and rejected, which are compared",
        ),
        (
            COMPARED,
            "pick = \"one\"\n",
            "10: task.pick is not read: rows are given by chosen and rejected, which are compared",
        ),
        (
            "kind = \"preference\"\nchosen = \"good\"\n",
            "",
            "4: task.rejected is missing: write the text that is not preferred",
        ),
        (
            "kind = \"preference\"\n",
            "format = \"sciq\"\n",
            "7: task.format = \"sciq\" has no two texts to compare: formatters that have are anthropic_hh",
        ),
        (named, "pick = \"one\"\n", "8: task.pick is not read: a preference is one example of both texts"),
        (
            "",
            "kind = \"generation\"\n",
            "6: task.kind = \"generation\" is not supported yet; use \"classification\" or \"preference\"",
        ),
    ];
    for (good, bad, expected) in cases {
        refused(&task(&format!("{good}{bad}")), &format!("exp.toml:{expected}"));
    }
}

#[test]
fn generated_preferences_are_one_for_a_sum() {
    let compared = |keys: &str| edited("[task]\n", &format!("[task]\nkind = \"preference\"\n{keys}"));
    parse(&compared("")).unwrap();
    refused(
        &compared("arithmetic = { below = 10 }\n"),
        "exp.toml:6: task.arithmetic has 100 different sums below 10, not 313: raise task.arithmetic.below or ask \
         for fewer rows",
    );
    refused(
        &compared("chosen = \"right\"\n"),
        "exp.toml:6: task.chosen is not read: the rows of a built-in source are generated",
    );
}

#[test]
fn a_reward_begins_with_one_token() {
    let begun = |tokens: &str| {
        let text = edited("context = 32", &format!("context = 32\nhead_init = {tokens}"));
        text.replacen("[task]\n", "[task]\nkind = \"preference\"\n", 1)
    };
    parse(&begun("[\"T\"]")).unwrap();
    refused(
        &begun("[\"F\", \"T\"]"),
        "exp.toml:14: model.head_init has 2 tokens, but a reward begins with one",
    );
}

#[test]
fn nobody_is_asked_for_the_class_of_a_preference() {
    let text = GOOD.replacen("[task]\n", "[task]\nkind = \"preference\"\n", 1);
    let text = text.replacen("layers = 2", "layers = 2\nhead_init = [\"T\"]", 1);
    let method = "[[method]]\nname = \"asked\"\ntuning = \"prompt\"\n";
    refused(
        &format!("{text}{method}"),
        "exp.toml:25: method.tuning = \"prompt\" asks for the class of a text, and preferences have none: leave \
         \"asked\" out",
    );
}
