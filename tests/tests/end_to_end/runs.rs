//! A run from file to report, and the run after it.

use serde_json::Value;

use crate::workplace::Workplace;

#[test]
fn a_run_ends_in_a_report_and_the_next_one_only_reports() {
    let place = Workplace::new();
    let printed = place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    assert!(printed.contains("PGR") && printed.contains("confidence"), "{printed}");

    let text = place.read("runs/tiny/results.json");
    let results: Value = serde_json::from_str(&text).unwrap();
    let students = results["students"].as_array().unwrap();
    assert_eq!(students.len(), 2);
    for student in students {
        let accuracy = student["accuracy"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&accuracy), "{student}");
    }
    let page = place.read("runs/tiny/report.html");
    assert!(page.contains("<svg") && !page.contains("http-equiv") && !page.contains("src=\"http"));
    assert!(place.read("runs/tiny/results.csv").lines().count() > 1);
    place.succeed(&["artifacts", "verify"]);

    let coordinator = place.read("runs/tiny/logs/coordinator.log");
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    // A run that starts anything starts a coordinator, and that one writes its log anew.
    assert_eq!(place.read("runs/tiny/logs/coordinator.log"), coordinator);
    assert_eq!(place.read("runs/tiny/results.json"), text);
}

#[test]
fn another_experiment_finds_the_stages_they_share_in_the_store() {
    let place = Workplace::new();
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    let more = place
        .read("tiny.toml")
        .replace("\"tiny\"", "\"more\"")
        .replace("[methods]", "[methods.confidence]\nweight = 0.75\n\n[methods]");
    std::fs::write(place.at("more.toml"), more).unwrap();

    let plan: Value = serde_json::from_str(&place.succeed(&["plan", "more.toml", "--json"])).unwrap();
    let stages = plan.as_array().unwrap();
    let to_run: Vec<&str> = stages
        .iter()
        .filter(|stage| stage["state"] == "to_run")
        .map(|stage| stage["name"].as_str().unwrap())
        .collect();
    let expected =
        ["student confidence small>large seed 0", "test of student confidence small>large seed 0", "measure"];
    assert_eq!(to_run, expected);
    place.succeed(&["run", "more.toml", "--workers", "1"]);
}
