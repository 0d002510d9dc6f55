//! Kinds of task other than classes: two texts of which one is preferred, and questions with answers to choose from.

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
            "7: task.format = \"sciq\" does not have two texts to compare: those that do are anthropic_hh",
        ),
        (named, "pick = \"one\"\n", "8: task.pick is not read: a preference is one example of both texts"),
        (
            "",
            "kind = \"images\"\n",
            "6: task.kind = \"images\" is not supported yet; use \"classification\", \"preference\", \"multiple-choice\" or \
             \"generation\"",
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

#[test]
fn a_multiple_choice_has_several_answers_to_each_question() {
    let asked = "kind = \"multiple-choice\"\ntext = \"{{ q }} {{ choice }}\"\nchoices = \"answers\"\nanswer = \"right\"\n";
    let named = "kind = \"multiple-choice\"\nformat = \"sciq\"\n";
    for good in
        [asked, named, &format!("{asked}pick = \"two\"\nseed = 3\n"), &format!("{named}pick = \"two\"\n")]
    {
        parse(&task(good)).unwrap_or_else(|e| panic!("{e}\n{good}"));
    }
    let one = "task.pick = \"one\" leaves a question one answer: take \"all\" or \"two\"";
    for (good, bad, expected) in [
        (asked, "pick = \"one\"\n", format!("10: {one}")),
        (named, "pick = \"one\"\n", format!("8: {one}")),
        (named, "seed = 3\n", "8: task.seed is not read: no coin is thrown for these rows".to_owned()),
        (
            asked,
            "label = \"l\"\n",
            "10: task.label is not read: rows are given by choices and answer".to_owned(),
        ),
    ] {
        refused(&task(&format!("{good}{bad}")), &format!("exp.toml:{expected}"));
    }
    let message = parse(&task("kind = \"multiple-choice\"\nformat = \"boolq\"\n")).unwrap_err();
    let expected = "exp.toml:7: task.format = \"boolq\" does not have answers to choose from: those that do are cosmos_qa, dream";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn no_answer_is_taken_from_a_question_for_balance() {
    let asked = |split: &str| {
        let text = edited("[task]\n", "[task]\nkind = \"multiple-choice\"\narithmetic = { below = 20 }\n");
        text.replacen("test = 50", &format!("test = 50{split}"), 1)
    };
    // Answers of 63 sums, and one more for each part.
    parse(&asked("")).unwrap();
    parse(&asked(", balance = 1.0")).unwrap();
    refused(
        &asked(", balance = 0.55"),
        "exp.toml:8: task.split.balance = 0.55 takes answers away from questions: leave it out, or say which by task.pick",
    );
    refused(
        &asked("").replace("below = 20", "below = 20, rows = 67"),
        "exp.toml:6: task.arithmetic.rows = 67 is less than the 68 that task.split needs",
    );
}
