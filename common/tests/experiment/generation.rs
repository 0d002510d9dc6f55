//! Answers that models write.

use super::{edited, parse, refused, task};

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
