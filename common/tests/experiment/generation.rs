//! Answers that models write.

use super::{GOOD, edited, parse, refused, task};

const WRITTEN: &str = "kind = \"generation\"\nprompt = \"{{ q }} \"\ncompletion = \"{{ a }}\"\n";

#[test]
fn an_answer_is_what_a_model_is_to_write_after_a_prompt() {
    for good in [
        WRITTEN,
        &format!("{WRITTEN}answer_tokens = 4\ngroup_by = \"q\"\nposition = \"{{ q }} moves {{ m }}\"\n"),
    ] {
        parse(&task(good)).unwrap_or_else(|e| panic!("{e}\n{good}"));
    }
    let cases = [
        (
            WRITTEN,
            "text = \"{{ q }}\"\n",
            "9: task.text is not read: rows are given by prompt and completion",
        ),
        (
            "kind = \"generation\"\nprompt = \"{{ q }}\"\n",
            "",
            "4: task.completion is missing: write a template of what it is to write",
        ),
        (
            "kind = \"preference\"\nchosen = \"a\"\nrejected = \"b\"\n",
            "position = \"q\"\n",
            "9: task.position is not read: rows are given by chosen and rejected, which are compared",
        ),
        (
            "kind = \"generation\"\n",
            "format = \"sciq\"\n",
            "7: task.format = \"sciq\" gives texts with labels: a model writes what prompt and completion say",
        ),
    ];
    for (good, bad, expected) in cases {
        refused(&task(&format!("{good}{bad}")), &format!("exp.toml:{expected}"));
    }
}

#[test]
fn models_that_write_have_no_labels() {
    let written =
        |from: &str, to: &str| edited(from, to).replace("[task]\n", "[task]\nkind = \"generation\"\n");
    parse(&written("[train]", "[[method]]\nname = \"m\"\nrounds = 1\nmoments = 2\n[train]")).unwrap();
    let methods = "[methods]\nrun = [\"naive\", \"kl\"]\n[train]";
    for (from, to, expected) in [
        (
            "[train]",
            methods,
            "exp.toml:21: methods.run: models of task.kind = \"generation\" learn by \"naive\" alone",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nconfident = 0.5\n[train]",
            "exp.toml:22: method.confident is not read: it is about labels, and models of task.kind = \"generation\" write",
        ),
        (
            "weak_labels = 100, test = 50 }",
            "weak_labels = 100, validation = 9, test = 50 }\n[grid]\nepochs = [1, 2]",
            "exp.toml:8: grid is not read: it chooses by labels, and models of \"generation\" write",
        ),
        (
            "context = 32",
            "context = 32\nreadout = \"last\"",
            "exp.toml:14: model.readout is not read: models of \"generation\" end in their words",
        ),
    ] {
        refused(&written(from, to), expected);
    }
}

#[test]
fn generated_mates_are_written_after_the_record_of_a_game() {
    let mates = |from: &str, to: &str| {
        let of_mates = |text: String| {
            text.replace("builtin:arithmetic", "builtin:mate-in-one")
                .replace("[task]\n", "[task]\nkind = \"generation\"\n")
        };
        of_mates(edited(from, to))
    };
    parse(&mates("", "")).unwrap();
    parse(&mates("split = ", "mate-in-one = { plies = 8, rows = 1000, seed = 4 }\nsplit = ")).unwrap();
    for (from, to, expected) in [
        (
            "split = ",
            "mate-in-one = { plies = 7 }\nsplit = ",
            "exp.toml:7: task.mate-in-one.plies must be a whole number from 8 to 200, not 7",
        ),
        (
            "split = ",
            "mate-in-one = { rows = 249 }\nsplit = ",
            "exp.toml:7: task.mate-in-one.rows = 249 is less than the 250 that task.split needs",
        ),
        (
            "split = ",
            "arithmetic = { below = 9 }\nsplit = ",
            "exp.toml:7: task.arithmetic is not read: task.source is not \"builtin:arithmetic\"",
        ),
        (
            "split = ",
            "position = \"fen\"\nsplit = ",
            "exp.toml:7: task.position is not read: the rows of a built-in source are generated",
        ),
    ] {
        refused(&mates(from, to), expected);
    }
    let classes = GOOD.replace("builtin:arithmetic", "builtin:mate-in-one");
    let expected =
        "exp.toml:4: task.kind: the moves of \"builtin:mate-in-one\" are written: take \"generation\"";
    refused(&classes, expected);
    let other = edited("split = ", "mate-in-one = { plies = 9 }\nsplit = ");
    refused(&other, "exp.toml:6: task.mate-in-one is not read: task.source is not \"builtin:mate-in-one\"");
}
