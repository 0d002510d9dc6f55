//! Kinds of task other than the classes of texts, through the real binaries.

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::RowAccessor,
};
use serde_json::Value;

use crate::workplace::Workplace;

/// Preferences that models made here can learn: the sums are small, and they read many.
const PREFERENCES: &[(&str, &str)] = &[
    ("[task]\n", "[task]\nkind = \"preference\"\narithmetic = { below = 16 }\n"),
    ("160, weak_labels = 160, validation = 20, test = 100", "60, weak_labels = 60, test = 60"),
    ("hidden  = 32\n", "hidden = 48\nhead_init = [\"T\"]\n"),
    ("rows        = 6000", "rows = 20000\nepochs = 3\nlearning_rate = 3e-3"),
    (
        "[train]\nbatch       = 32",
        "[[method]]\nname = \"speaks-first\"\ngenerative = 1\n[train]\nepochs = 8\nlearning_rate = 3e-3\nbatch = 16",
    ),
];

/// Questions about the same sums.
const QUESTIONS: &[(&str, &str)] = &[
    ("[task]\n", "[task]\nkind = \"multiple-choice\"\narithmetic = { below = 16 }\n"),
    ("160, weak_labels = 160, validation = 20, test = 100", "240, weak_labels = 240, test = 238"),
    ("hidden  = 32\n", "hidden = 48\n"),
    ("rows        = 6000", "rows = 20000\nepochs = 3\nlearning_rate = 3e-3"),
    ("run = [\"naive\", \"confidence\"]", "run = [\"naive\"]"),
    ("[train]\nbatch       = 32", "[train]\nepochs = 8\nlearning_rate = 3e-3\nbatch = 16"),
];

fn edit(place: &Workplace, edits: &[(&str, &str)]) {
    let mut text = place.read("tiny.toml");
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    std::fs::write(place.at("tiny.toml"), text).unwrap();
}

#[test]
fn reward_models_learn_which_of_two_texts_is_preferred() {
    let place = Workplace::new();
    edit(&place, PREFERENCES);
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    let results: Value = serde_json::from_str(&place.read("runs/tiny/results.json")).unwrap();
    let students = results["students"].as_array().unwrap();
    assert_eq!(students.len(), 3);
    for ceiling in results["ceilings"].as_array().unwrap() {
        let accuracy = ceiling["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.75, "of two, one is right by chance: {ceiling}");
    }
    let left = place.artifacts();
    let file = |stage: &str, name: &str| &left[&(stage.to_owned(), name.to_owned())];
    for stage in ["weak small seed 0", "student naive small>large seed 0", "ceiling large seed 0"] {
        let config: Value = serde_json::from_slice(file(stage, "config.json")).unwrap();
        assert_eq!(config["architectures"][0], "GPT2ForSequenceClassification", "{stage}");
        assert_eq!(config["id2label"].as_object().unwrap().len(), 1, "{stage}");
    }
    let path = place.at("test.parquet");
    std::fs::write(&path, file("dataset", "test.parquet")).unwrap();
    let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
    let fields = reader.metadata().file_metadata().schema().get_fields();
    assert_eq!(
        fields.iter().map(|field| field.name()).collect::<Vec<_>>(),
        ["row", "text", "label", "other"]
    );
    let labels = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().get_int(2).unwrap());
    let second: i32 = labels.sum();
    assert!((15..=45).contains(&second), "either text of a pair comes first: {second} of 60");
}

#[test]
fn of_the_answers_to_a_question_the_most_probable_is_scored() {
    let place = Workplace::new();
    edit(&place, QUESTIONS);
    let printed = place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    // Of the last of 60 questions, two answers have no room in the test rows.
    assert!(printed.contains("per question (59, chance 0.250):"), "{printed}");
    assert!(place.read("runs/tiny/report.html").contains("The same over the 59 questions"));
    let results: Value = serde_json::from_str(&place.read("runs/tiny/results.json")).unwrap();
    let questions = &results["per_question"];
    assert_eq!((&results["test_rows"], &questions["test_rows"]), (&238.into(), &59.into()));
    assert_eq!(questions["students"].as_array().unwrap().len(), 1);
    let accuracy = |results: &Value| results["ceilings"][0]["accuracy"].as_f64().unwrap();
    assert!(accuracy(questions) > 0.5, "of four, one is right by chance: {questions}");
    assert_ne!(accuracy(questions), accuracy(&results));
}

/// Sums that models made here can learn to write the result of.
const SUMS: &[(&str, &str)] = &[
    ("[task]\n", "[task]\nkind = \"generation\"\narithmetic = { below = 16 }\n"),
    ("160, weak_labels = 160, validation = 20, test = 100", "60, weak_labels = 60, test = 60"),
    ("hidden  = 32\n", "hidden = 48\n"),
    ("rows        = 6000", "rows = 20000\nepochs = 3\nlearning_rate = 3e-3"),
    ("\"naive\", \"confidence\"", "\"naive\""),
    ("[train]\nbatch       = 32", "[train]\nepochs = 8\nlearning_rate = 3e-3\nbatch = 16"),
];

#[test]
fn models_learn_to_write_answers_from_what_others_wrote() {
    let place = Workplace::new();
    edit(&place, SUMS);
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    let results: Value = serde_json::from_str(&place.read("runs/tiny/results.json")).unwrap();
    for ceiling in results["ceilings"].as_array().unwrap() {
        let accuracy = ceiling["accuracy"].as_f64().unwrap();
        assert!(accuracy > 0.4, "of thirty results one is right by chance: {ceiling}");
        assert!(ceiling["probabilistic"].is_null(), "{ceiling}");
    }
    for student in results["students"].as_array().unwrap() {
        assert!(student["agreement"]["overall"].as_f64().unwrap() > 0.2, "{student}");
    }
    let told = place.run(&["report", "tiny", "--predictions", "said.parquet"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("write their answers"), "{told:?}");
}

/// Mates in short games, of which two moves are most of the answers.
const MATES: &[(&str, &str)] = &[
    (
        "[task]\nsource = \"builtin:arithmetic\"\n",
        "[task]\nkind = \"generation\"\nsource = \"builtin:mate-in-one\"\nmate-in-one = { plies = 8 }\n",
    ),
    ("validation = 20, ", ""),
    ("context = 16", "context = 64"),
    ("hidden  = 32", "hidden  = 48"),
    ("context = 16", "context = 64"),
    ("rows        = 6000", "rows = 3000\nepochs = 2\nlearning_rate = 5e-3"),
    ("\"naive\", \"confidence\"", "\"naive\""),
    ("[train]\nbatch       = 32", "[train]\nepochs = 4\nlearning_rate = 3e-3\nbatch = 16"),
];

#[test]
fn models_learn_to_mate_and_every_move_is_checked() {
    let place = Workplace::new();
    edit(&place, MATES);
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    let results: Value = serde_json::from_str(&place.read("runs/tiny/results.json")).unwrap();
    let counts = |moves: &Value| ["legal", "illegal", "unreadable"].map(|key| moves[key].as_u64().unwrap());
    for key in ["supervisors", "ceilings", "students"] {
        for model in results[key].as_array().unwrap() {
            let [legal, illegal, unreadable] = counts(&model["moves"]);
            assert_eq!(legal + illegal + unreadable, 100, "{model}");
            let right = model["accuracy"].as_f64().unwrap() * 100.0;
            assert!(right <= legal as f64 + 0.01, "what is right is legal: {model}");
        }
    }
    let ceiling = &results["ceilings"][0];
    assert!(counts(&ceiling["moves"])[0] > 50, "most of its answers are moves: {ceiling}");
    assert!(ceiling["accuracy"].as_f64().unwrap() > 0.3, "{ceiling}");
    assert_eq!(counts(&results["summary"][0]["legality"]["ceiling"]), counts(&ceiling["moves"]));
    let table = place.run(&["report", "tiny"]);
    let shown = String::from_utf8_lossy(&table.stdout);
    assert!(shown.contains("answers that are legal moves:"), "{table:?}");
}
