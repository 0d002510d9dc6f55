//! A ladder of three: small models train side by side, labels are passed on, settings are chosen, errors are placed.

use std::fs;

use serde_json::Value;

use crate::workplace::Workplace;

const LADDER: &str = r#"
name   = "ladder"
recipe = "weak-to-strong"

[task]
source  = "builtin:mixture"
mixture = { classes = 4, dimensions = 16, spread = 0.8 }
split   = { ground_truth = 300, weak_labels = 600, validation = 200, test = 400 }

[[model]]
name    = "narrow"
width   = 5
noise   = 1.0
workers = 1

[[model]]
name    = "middle"
width   = 8
workers = 1

[[model]]
name  = "wide"
width = 16

[methods]
run   = ["naive"]
pairs = [["narrow", "wide"]]

[[method]]
name    = "bootstrap"
through = "intermediate"

[[method]]
name   = "unsure"
errors = "strong-unconfident"

[[method]]
name   = "sure"
errors = "strong-confident"

[train]
epochs        = 6
batch         = 50
micro_batch   = 10
learning_rate = 2e-2

[report]
draws = 200
"#;

fn results(place: &Workplace, run: &str) -> Value {
    serde_json::from_str(&place.read(&format!("runs/{run}/results.json"))).unwrap()
}

/// The accuracy of every tested model.
fn accuracies(results: &Value) -> Vec<f64> {
    let of = |list: &str| results[list].as_array().unwrap().clone();
    let models = ["supervisors", "ceilings", "students"].map(of).concat();
    models.iter().map(|model| model["accuracy"].as_f64().unwrap()).collect()
}

#[test]
fn a_ladder_trains_side_by_side_and_its_settings_are_chosen_on_held_out_rows() {
    let place = Workplace::new();
    fs::write(place.at("ladder.toml"), LADDER).unwrap();
    let grid = LADDER.replace("\"ladder\"", "\"chosen\"") + "[grid]\nlearning_rate = [1e-6, 2e-2]\n";
    fs::write(place.at("chosen.toml"), grid).unwrap();
    place.succeed(&["run", "ladder.toml", "--workers", "2"]);
    let made = results(&place, "ladder");
    let plain = accuracies(&made);
    assert_eq!(plain.len(), 6, "supervisor, ceiling and four students: {plain:?}");
    let rungs: Vec<&Value> = made["ladder"].as_array().unwrap().iter().map(|rung| &rung["name"]).collect();
    assert_eq!(rungs, ["narrow", "wide"], "middle only passes labels on and is not tested");

    let logs = |run: &str| {
        let of = |seat: &str| place.read(&format!("runs/{run}/logs/{seat}.log"));
        of("w0") + &of("w1")
    };
    let said = logs("ladder");
    for (stage, ranks) in [
        ("weak narrow seed 0", "rank 0 of 1"),
        ("student bootstrap narrow>middle round 1 seed 0", "rank 0 of 1"),
        ("student naive narrow>wide seed 0", "rank 1 of 2"),
    ] {
        let line = format!("{stage:?}, {ranks}");
        assert!(said.contains(&line), "no {line}\n{said}");
    }

    place.succeed(&["run", "chosen.toml", "--workers", "2"]);
    // With the other rate nothing is learnt, so that what was chosen is what the plain experiment has.
    assert_eq!(accuracies(&results(&place, "chosen")), plain);
    assert!(logs("chosen").contains("best of student naive narrow>wide seed 0 by weak labels"));
}
