//! What a `[[method]]` and a `[grid]` may say.

use crate::{edited, refused};

#[test]
fn parts_of_methods_that_contradict_each_other_are_refused() {
    for (from, to, expected) in [
        (
            "[train]",
            "[[method]]\nname = \"naive\"\n[train]",
            "exp.toml:20: method.name = \"naive\" is taken by an earlier method",
        ),
        (
            "[train]",
            "[[method]]\nname = \"chain\"\nthrough = [\"huge\"]\n[train]",
            "exp.toml:21: method.through names \"huge\", which is no model; known: small, large",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nhint = [\"yes\"]\n[train]",
            "exp.toml:21: method.hint has 1 endings, but the task has 2 classes",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nprobe_learning_rate = 1.0\n[train]",
            "exp.toml:21: method.probe_learning_rate is not read: \"m\" trains no classifier alone",
        ),
        (
            "weak_labels = 100, test = 50 }",
            "weak_labels = 100, test = 50, fresh = 9 }",
            "exp.toml:6: task.split.fresh is not read: no [[method]] has fresh = true",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nfresh = true\n[train]",
            "exp.toml:21: method.fresh is not read: \"m\" has neither rounds nor through",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nrounds = 1\nfresh = true\n[train]",
            "exp.toml:22: method.fresh of \"m\" needs rows: task.split.fresh = 0 is too few",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nshots = 2\n[train]",
            "exp.toml:21: method.shots is not read: \"m\" is not prompted",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\ntuning = \"prompt\"\nrounds = 1\n[train]",
            "exp.toml:14: model \"large\" has no answers to give: name them by its head_init\n\
             exp.toml:22: method.rounds is not read: \"m\" learns nothing",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\ntuning = \"prompt\"\nseparator = \" \"\n[train]",
            "exp.toml:14: model \"large\" has no answers to give: name them by its head_init\n\
             exp.toml:22: method.separator is not read: \"m\" has no shots",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\ntuning = \"prompt\"\nshots = 101\n[train]",
            "exp.toml:14: model \"large\" has no answers to give: name them by its head_init\n\
             exp.toml:22: method.shots = 101 is more than the 100 rows of weak_labels",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\ntuning = \"prompt\"\n[train]",
            "exp.toml:14: model \"large\" has no answers to give: name them by its head_init",
        ),
        (
            "context = 32\n[train]",
            "context = 32\nhead_init = [\"a\", \"b\"]\nreadout = \"mean\"\n[[method]]\nname = \"m\"\ntuning = \"prompt\"\n[train]",
            "exp.toml:20: model.readout = \"mean\" is not read by a method that asks: what comes after the last token is the answer",
        ),
        (
            "[train]",
            "[grid]\n[train]",
            "exp.toml:19: grid tries nothing: give it a list, such as learning_rate = [1e-5, 1e-4]",
        ),
        (
            "[train]",
            "[grid]\nlearning_rate = [1e-5, 1e-5]\n[train]",
            "exp.toml:19: grid chooses by held-out rows: it needs task.split.validation\n\
             exp.toml:20: grid.learning_rate has a value twice",
        ),
        (
            "weak_labels = 100, test = 50 }",
            "weak_labels = 100, validation = 9, test = 50 }\n[grid]\nepochs = [1, 2]\n[[method]]\nname = \"m\"\nmoments = 2",
            "exp.toml:7: grid and the moments of \"m\": which of its trials is looked at is not known before, so give it \
             a stop",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nmoments = 20\n[train]",
            "exp.toml:21: method.moments = 20 is more than the 12 steps of \"m\"",
        ),
        (
            "weak_labels = 100, test = 50 }",
            "weak_labels = 100, validation = 9, test = 50 }\n[[method]]\nname = \"m\"\nstop = \"weak-labels\"",
            "exp.toml:9: method.stop has nothing to choose from: give \"m\" moments = 2 or more",
        ),
        (
            "[train]",
            "[[method]]\nname = \"m\"\nmoments = 2\nstop = \"ground-truth\"\n[train]",
            "exp.toml:22: method.stop chooses by held-out rows: \"m\" needs task.split.validation",
        ),
        (
            "[train]",
            "[[method]]\nloss = \"naive\"\n[train]",
            "exp.toml:19: method.name is missing: it must be a name of at most 64 letters, digits, '-', '_' and '.', \
             beginning with a letter or digit",
        ),
    ] {
        refused(&edited(from, to), expected);
    }
}
