//! What is read of finished runs beyond their report: several at once, two against each other, every prediction.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use support::{
    EXPERIMENT, Place,
    outcome::{finished, predicted},
};

/// Two finished runs on the same rows, the second with students that are right more often.
fn two() -> Place {
    let place = Place::new();
    place.write(
        "other.toml",
        &EXPERIMENT.replace("\"tiny\"", "\"other\"").replace("[methods]", "[train]\nepochs = 3\n\n[methods]"),
    );
    predicted(&place, "tiny.toml", |stage| if stage.contains("student") { 12 } else { 10 });
    predicted(&place, "other.toml", |stage| if stage.contains("student") { 18 } else { 10 });
    for file in ["tiny.toml", "other.toml"] {
        let done = place.run(&["run", file]);
        assert_eq!(done.code, Some(0), "{}", done.err);
    }
    place
}

#[test]
fn two_runs_are_compared_by_settings_and_by_paired_numbers() {
    let place = two();
    let done = place.run(&["compare", "tiny", "other"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("train.epochs   ·       3"), "{}", done.out);
    assert!(done.out.contains("paired over test rows"), "{}", done.out);
    let json: serde_json::Value =
        serde_json::from_str(&place.run(&["compare", "tiny", "other", "--json"]).out).unwrap();
    assert_eq!(json["same_test_rows"], true);
    let student = &json["pairs"][0]["numbers"][1];
    assert_eq!((&student["number"], student["first"].as_f64()), (&"student accuracy".into(), Some(0.75)));
    // Of the predictions, 6 of 20 rows are right in the second run alone.
    let (low, high) = (student["interval"][0].as_f64().unwrap(), student["interval"][1].as_f64().unwrap());
    assert!(0.0 < low && low < 0.3 && 0.3 < high && high < 0.6, "{student}");
    assert_eq!(json["pairs"][0]["numbers"][0]["interval"], serde_json::json!([0.0, 0.0]));
}

#[test]
fn runs_whose_predictions_are_gone_are_compared_without_intervals() {
    let place = two();
    std::fs::rename(place.at("fulcrum-store"), place.at("gone")).unwrap();
    let done = place.run(&["compare", "tiny", "other"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("without intervals: the store of tiny is not at "), "{}", done.out);
    let refused = place.run(&["report", "tiny", "--predictions", "all.parquet"]);
    assert!(refused.code != Some(0) && refused.err.contains("its predictions are gone"), "{}", refused.err);
    assert!(!place.at("all.parquet").exists());
}

#[test]
fn several_runs_are_tasks_with_a_median_over_them() {
    let place = two();
    let done = place.run(&["report", "tiny", "other"]);
    assert!(
        done.out.contains("median of 2 of 2") && done.out.contains("0.50 [0.50, 0.50]"),
        "{}{}",
        done.out,
        done.err
    );
    let rule = place.run(&["report", "tiny", "other", "--pgr-rule", "released"]).out;
    assert_eq!(
        rule.lines().filter(|line| line.contains("naive") && line.contains("0.50")).count(),
        2,
        "{rule}"
    );
    let refused = place.run(&["report", "tiny", "other", "--out", "x"]);
    assert!(refused.err.contains("--out takes the report of one run, 2 are named"), "{}", refused.err);
}

#[test]
fn every_prediction_is_one_row_of_a_table() {
    let place = two();
    let done = place.run(&["report", "tiny", "other", "--predictions", "all.parquet"]);
    assert_eq!(done.code, Some(0), "{}", done.err);
    // Supervisor, student and ceiling of both runs over 20 rows.
    assert!(done.out.ends_with("120 predictions in all.parquet\n"), "{}", done.out);
    let bytes = std::fs::read(place.at("all.parquet")).unwrap();
    assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
}

#[test]
fn a_number_of_the_page_leads_to_its_artifact_and_that_says_what_it_was_made_of() {
    let place = two();
    let page = place.read("runs/tiny/report.html");
    let keys: Vec<&str> = page.split("href=\"#a-").skip(1).map(|rest| &rest[..12]).collect();
    assert!(keys.len() > 10, "{} links", keys.len());
    for key in keys {
        assert_eq!(page.matches(&format!("id=\"a-{key}\"")).count(), 1, "{key}");
    }
    let place = Place::new();
    finished(&place);
    place.run(&["run", "tiny.toml"]);
    let page = place.read("runs/tiny/report.html");
    let measure = page.split("href=\"#a-").nth(1).unwrap();
    let shown = place.run(&["artifacts", "show", &measure[..12]]);
    assert!(
        shown.out.starts_with("measure\nkey   ") && shown.out.contains("made of data: "),
        "{}",
        shown.out
    );
    assert!(shown.out.contains("results.json"), "{}", shown.out);
    assert!(place.run(&["artifacts", "show", "zz"]).err.contains("no artifact in "));
}
