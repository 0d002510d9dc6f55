//! `fulcrum generate` on a model and a file of one's own.

use std::fs;

use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{Row, RowAccessor},
};

use crate::{one_off::model, workplace::Workplace};

/// Rows of the user's file.
const ROWS: usize = 40;

/// Sums without their results, as a prompt, as what a user says, and as a conversation.
fn sums(place: &Workplace) {
    let line = |row: usize| {
        let sum = format!("{}+{}", 10 + row, 90 - row);
        let turns = format!("[{{\"role\": \"user\", \"content\": \"{sum}\"}}]");
        format!("{{\"sum\": \"{sum}\", \"turns\": {turns}}}\n")
    };
    fs::write(place.at("sums.jsonl"), (0..ROWS).map(line).collect::<String>()).unwrap();
}

/// `fulcrum generate` into a store of its own; the file.
fn generate(place: &Workplace, out: &str, more: &[&str]) -> Vec<u8> {
    let file = format!("{out}.parquet");
    let line = [
        "generate",
        "--model",
        "model",
        "--data",
        "sums.jsonl",
        "--out",
        &file,
        "--store",
        out,
        "--threads",
        "1",
    ];
    let drawing =
        ["--max-new-tokens", "4", "--temperature", "1", "--samples", "2", "--stop", "T", "--shard", "8"];
    place.succeed(&[&line[..], &drawing, more].concat());
    fs::read(place.at(&file)).unwrap()
}

fn rows(place: &Workplace, file: &str) -> Vec<Row> {
    let reader = SerializedFileReader::new(fs::File::open(place.at(file)).unwrap()).unwrap();
    let fields = reader.metadata().file_metadata().schema().get_fields();
    let columns: Vec<_> = fields.iter().map(|field| field.name().to_owned()).collect();
    assert_eq!(columns, ["row", "sample", "text", "tokens", "log_probability", "finish"]);
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_language_model_says_the_same_on_one_worker_and_on_two_plainly_and_in_its_chat_template() {
    let place = Workplace::new();
    model(&place);
    sums(&place);
    fs::write(
        place.at("model/chat_template.jinja"),
        "{{ '<begin>' }}{% for message in messages %}\n{{ message['content'] }}{% endfor %}\n{{ '=' }}",
    )
    .unwrap();
    let plain = ["--prompt", "{{ sum }}="];
    let two = generate(&place, "two", &[&plain[..], &["--workers", "2"]].concat());
    assert!(generate(&place, "one", &[&plain[..], &["--workers", "1"]].concat()) == two);
    assert!(generate(&place, "chat", &["--prompt", "sum", "--chat"]) == two);
    assert!(generate(&place, "turns", &["--messages", "turns"]) == two);
    let lines = rows(&place, "two.parquet");
    assert_eq!(lines.len(), 2 * ROWS);
    let mut stopped = 0;
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(
            (line.get_long(0).unwrap(), line.get_long(1).unwrap()),
            (number as i64 / 2, number as i64 % 2)
        );
        let (text, tokens, finish) =
            (line.get_string(2).unwrap(), line.get_long(3).unwrap(), line.get_string(5).unwrap());
        // A token of this model is a character or a special one, and what stopped a completion is none of its text.
        let stop = i64::from(finish == "stop");
        assert!(text.len() as i64 + stop <= tokens && !text.contains('T'), "{line}");
        assert!(line.get_double(4).unwrap() < 0.0 && (stop == 1 || tokens == 4), "{line}");
        stopped += stop;
    }
    assert!(stopped > 0 && stopped < 2 * ROWS as i64, "{stopped}");
}

#[test]
fn what_cannot_be_generated_is_said_and_leaves_no_file() {
    let place = Workplace::new();
    model(&place);
    sums(&place);
    for (more, expected) in [
        (
            &["--max-new-tokens", "16"][..],
            "max_new_tokens = 16 leaves no room for a prompt: the model reads 16 tokens",
        ),
        (&["--top-p", "0"], "top_p = 0: it must be above 0 and at most 1"),
        (&["--samples", "3"], "samples = 3 at temperature 0 would all be the same"),
        (&["--chat", "--prompt", "sum", "--max-new-tokens", "4"], "the model has no chat template"),
    ] {
        let line = ["generate", "--model", "model", "--data", "sums.jsonl", "--out", "out.parquet"];
        let output = place.run(&[&line[..], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(expected), "{more:?}: {said}");
        assert!(!place.at("out.parquet").exists());
    }
}

#[test]
fn a_completion_ends_at_the_tokens_of_generation_config() {
    let place = Workplace::new();
    place.tiny_model("model");
    sums(&place);
    let say = |out: &str| {
        let file = format!("{out}.parquet");
        let line =
            ["generate", "--model", "model", "--data", "sums.jsonl", "--prompt", "sum", "--out", &file];
        place.succeed(&[&line[..], &["--max-new-tokens", "4"]].concat());
        rows(&place, &file)
    };
    let first = say("plain")[0].get_string(2).unwrap().chars().next().unwrap();
    let id = first as u32 - u32::from(' ') + 2;
    fs::write(
        place.at("model/generation_config.json"),
        format!("{{\"eos_token_id\": [1, {id}], \"top_k\": 1}}"),
    )
    .unwrap();
    let ended = &say("ended")[0];
    let finish = (ended.get_string(2).unwrap().as_str(), ended.get_long(3).unwrap());
    assert_eq!((finish, ended.get_string(5).unwrap().as_str()), (("", 1), "stop"));
}
