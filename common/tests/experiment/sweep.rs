//! Several tasks in one file.

use fulcrum_common::experiment::{self, Sweep};

use super::{GOOD, edited, refused};

const TASK: &str =
    "[task]\nsource = \"builtin:arithmetic\"\nsplit = { ground_truth = 100, weak_labels = 100, test = 50 }\n";

fn sweep(tasks: &str) -> Result<Sweep, String> {
    let text = edited(TASK, tasks);
    experiment::parse_sweep("exp.toml", &text, "".as_ref()).map_err(|errors| errors.to_string())
}

#[track_caller]
fn sweep_refused(tasks: &str, expected: &str) {
    assert_eq!(sweep(tasks).err().as_deref(), Some(expected), "{tasks}");
}

fn named(name: &str, rest: &str) -> String {
    let split = "split = { ground_truth = 100, weak_labels = 100, test = 50 }";
    format!("[[task]]\nname = {name:?}\nsource = \"builtin:arithmetic\"\n{split}\n{rest}\n")
}

#[test]
fn each_task_is_an_experiment_with_its_own_sections_and_everything_else() {
    let tasks = named("a", "[task.arithmetic]\nrows = 900") + &named("b", "");
    let sweep = sweep(&tasks).unwrap();
    assert!(sweep.has_names());
    let names: Vec<_> = sweep.tasks().iter().map(|task| (task.name(), task.task_name())).collect();
    assert_eq!(names, [("t", Some("a")), ("t", Some("b"))]);
    let single = experiment::parse_sweep("exp.toml", GOOD, "".as_ref()).unwrap();
    assert_eq!((single.tasks().len(), single.has_names()), (1, false));
}

#[test]
fn one_task_in_a_list_is_a_sweep_too() {
    let sweep = sweep(&named("a", "")).unwrap();
    assert_eq!((sweep.tasks().len(), sweep.has_names()), (1, true));
}

#[test]
fn tasks_are_told_apart_by_names() {
    let twice = named("a", "") + &named("a", "");
    sweep_refused(&twice, "exp.toml:10: task.name = \"a\" is that of an earlier [[task]]: take another");
    let nameless = named("a", "") + &named("b", "").replace("name = \"b\"\n", "");
    sweep_refused(&nameless, "exp.toml:9: task.name is missing: each [[task]] has one of its own");
    let single = edited("[task]\n", "[task]\nname = \"a\"\n");
    refused(&single, "exp.toml:5: task.name is for one of several: write [[task]], or leave it out");
    let outside = named("../a", "");
    assert!(sweep(&outside).unwrap_err().starts_with("exp.toml:5: task.name "), "{:?}", sweep(&outside));
}

#[test]
fn what_is_wrong_with_a_task_has_its_line_and_what_is_wrong_with_all_is_said_once() {
    let bad =
        named("a", "") + &named("b", "").replace("test = 50", "test = 0") + &named("c", "kind = \"song\"");
    let problems = sweep(&bad).unwrap_err();
    let lines: Vec<&str> = problems.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(lines, ["exp.toml:12", "exp.toml:18"], "{problems}");

    let both =
        edited(TASK, &(named("a", "") + &named("b", ""))).replace("batch = 16", "batch = 16\nepocs = 2");
    let problems = experiment::parse_sweep("exp.toml", &both, "".as_ref()).unwrap_err().to_string();
    assert_eq!(problems.lines().count(), 1, "{problems}");
    assert!(problems.contains("train.epocs is not a key"), "{problems}");
}

#[test]
fn a_list_of_tasks_is_a_list_of_tables_with_something_in_it() {
    for tasks in ["task = []\n", "task = [1]\n"] {
        let text = edited(TASK, "").replace("seeds", &format!("{tasks}seeds"));
        let problems = experiment::parse_sweep("exp.toml", &text, "".as_ref()).unwrap_err().to_string();
        assert!(problems.contains("exp.toml:3: task must be a table"), "{problems}");
    }
}

#[test]
fn where_one_task_is_wanted_several_are_refused() {
    let text = edited(TASK, &(named("a", "") + &named("b", "")));
    refused(&text, "exp.toml: has several tasks where one is wanted: write [task]");
}
