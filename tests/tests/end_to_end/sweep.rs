//! Several tasks in one experiment file: one plan, a report of each, and one over all.

use std::fs;

use fulcrum_common::results::TaskResults;

use crate::workplace::Workplace;

const TWO: &str = r#"
name   = "two"
recipe = "weak-to-strong"

[[task]]
name    = "near"
source  = "builtin:mixture"
mixture = { classes = 4, dimensions = 16, spread = 0.8 }
split   = { ground_truth = 200, weak_labels = 300, test = 300 }

[[task]]
name    = "far"
source  = "builtin:mixture"
mixture = { classes = 3, dimensions = 16, spread = 0.6, seed = 7 }
split   = { ground_truth = 200, weak_labels = 300, test = 300 }

[[model]]
name  = "narrow"
width = 5
noise = 1.0

[[model]]
name  = "wide"
width = 16

[methods]
run = ["naive", "confidence"]

[train]
epochs        = 6
batch         = 50
micro_batch   = 10
learning_rate = 2e-2

[report]
draws = 200
"#;

/// The same with one of its tasks alone.
fn alone(task: &str) -> String {
    let mut parts: Vec<&str> = TWO.split("[[").collect();
    parts.retain(|part| !part.starts_with("task]]") || part.contains(&format!("{task:?}")));
    let name = format!("name    = {task:?}\n");
    parts.join("[[").replace("[[task]]", "[task]").replace(&name, "").replace("\"two\"", &format!("{task:?}"))
}

#[test]
fn tasks_of_one_file_are_one_run_with_a_report_for_each_and_one_over_all() {
    let place = Workplace::new();
    fs::write(place.at("two.toml"), TWO).unwrap();
    let said = place.succeed(&["run", "two.toml", "--workers", "2"]);
    assert_eq!(said.matches("median of ").count(), 2, "a median for each method: {said}");

    let results = TaskResults::from_json(place.read("runs/two/results.json").as_bytes()).unwrap();
    let tasks: Vec<&str> = results.tasks.iter().map(|it| it.task.as_str()).collect();
    assert_eq!((tasks, results.pairs.len()), (vec!["near", "far"], 2));
    let page = place.read("runs/two/report.html");
    for task in ["near", "far"] {
        assert!(page.contains(&format!("href=\"tasks&#x2f;{task}&#x2f;report.html\"")), "{task}");
        assert!(
            place.read(&format!("runs/two/tasks/{task}/report.html")).contains(&format!("<h1>{task}</h1>"))
        );
        // Alone, a task has the same stages: all of them are in the store.
        fs::write(place.at(&format!("{task}.toml")), alone(task)).unwrap();
        let plan = place.succeed(&["plan", &format!("{task}.toml")]);
        assert!(plan.contains(" cached, 0 to run "), "{plan}");
        place.succeed(&["run", &format!("{task}.toml")]);
        let (of_sweep, of_run) = (format!("runs/two/tasks/{task}"), format!("runs/{task}"));
        for file in ["results.json", "results.csv"] {
            assert_eq!(place.read(&format!("{of_sweep}/{file}")), place.read(&format!("{of_run}/{file}")));
        }
    }

    let over_sweep = place.succeed(&["report", "two", "--json"]);
    assert_eq!(over_sweep, place.succeed(&["report", "near", "far", "--json"]));
    fs::remove_file(place.at("runs/two/report.html")).unwrap();
    place.succeed(&["report", "two"]);
    assert_eq!(place.read("runs/two/report.html"), page);

    let compared = place.succeed(&["compare", "two/tasks/near", "near"]);
    assert!(compared.contains("near"), "{compared}");
    let refused = place.run(&["compare", "two", "near"]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        message.contains("two has several tasks: name one of them, e.g. runs/two/tasks/near"),
        "{message}"
    );
}
