//! Several tasks in one plan, which does once what more than one of them needs.

use std::collections::{BTreeMap, BTreeSet};

use super::estimate;
use crate::{
    Key,
    plan::{Measure, Plan, Spec, Work},
    results::SCHEMA,
};

/// One plan of the plans of named tasks, each with a goal. Tasks come one after the other, so that the first is measured
/// early; the last stage lays their results side by side.
pub fn join(tasks: &[(String, Plan)]) -> Plan {
    let mut wanted: BTreeMap<Key, usize> = BTreeMap::new();
    for stage in tasks.iter().flat_map(|(_, plan)| plan.stages()) {
        *wanted.entry(stage.key).or_default() += 1;
    }
    let mut joined = Plan::default();
    let mut names = BTreeSet::new();
    for (task, plan) in tasks {
        for stage in
            plan.stages().iter().filter(|stage| joined.stage(stage.key).is_none()).collect::<Vec<_>>()
        {
            let mut stage = stage.clone();
            // What only one task needs is called after it.
            if wanted[&stage.key] == 1 || !names.insert(stage.name.clone()) {
                stage.name = format!("{task}: {}", stage.name);
            }
            joined.take(stage);
        }
    }
    let goals = tasks.iter().filter_map(|(task, plan)| Some((format!("task/{task}"), plan.goal()?)));
    let spec = Spec {
        work: Work::Measure(Measure::Tasks {
            tasks: tasks.iter().map(|(task, _)| task.clone()).collect(),
            schema: SCHEMA,
        }),
        inputs: goals.collect(),
    };
    joined.add("measure", spec, estimate(tasks.len(), 0));
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{experiment, recipe::compile, source::Sources};

    const TWO: &str = r#"
        name = "two"
        recipe = "weak-to-strong"
        [[task]]
        name = "short"
        source = "builtin:arithmetic"
        [task.split]
        ground_truth = 100
        weak_labels = 80
        test = 50
        [[task]]
        name = "long"
        source = "builtin:arithmetic"
        split = { ground_truth = 200, weak_labels = 80, test = 50 }
        [task.arithmetic]
        rows = 900
        [[model]]
        name = "s"
        layers = 1
        hidden = 16
        heads = 2
        context = 32
        [[model]]
        name = "l"
        layers = 2
        hidden = 16
        heads = 2
        context = 32
        [pretrain]
        rows = 1000
    "#;

    #[test]
    fn tasks_share_what_both_need_and_are_measured_one_after_the_other() {
        let sweep = experiment::parse_sweep("two.toml", TWO, "".as_ref()).unwrap();
        let plan = |task: &experiment::Experiment| {
            (task.task_name().unwrap().to_owned(), compile(task, &Sources::default()).unwrap())
        };
        let tasks: Vec<_> = sweep.tasks().iter().map(plan).collect();
        let joined = join(&tasks);
        joined.check().unwrap();

        let place = |name: &str| joined.stages().iter().position(|stage| stage.name == name);
        for name in ["pretrain s", "model l"] {
            assert!(place(name).is_some(), "{name}");
        }
        let first = place("short: measure").unwrap();
        assert!(place("short: weak s seed 0").unwrap() < first);
        assert!(first < place("long: weak s seed 0").unwrap());
        let names: BTreeSet<&str> = joined.stages().iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names.len(), joined.stages().len(), "a name comes twice");

        let last = joined.stages().last().unwrap();
        let goals = tasks.iter().map(|(task, plan)| (format!("task/{task}"), plan.goal().unwrap()));
        assert_eq!(last.spec.inputs, goals.collect());
        assert_eq!(joined.needed(last.key, |_| false).len(), joined.stages().len());
    }

    #[test]
    fn a_task_has_the_keys_that_it_has_alone() {
        let sweep = experiment::parse_sweep("two.toml", TWO, "".as_ref()).unwrap();
        let (from, to) = (
            TWO.find("        [[task]]\n        name = \"long\"").unwrap(),
            TWO.find("        [[model]]").unwrap(),
        );
        let alone =
            format!("{}{}", &TWO[..from], &TWO[to..]).replace("[[task]]\n        name = \"short\"", "[task]");
        let alone = experiment::parse("one.toml", &alone, "".as_ref()).unwrap();
        let compile = |experiment| compile(experiment, &Sources::default()).unwrap();
        assert_eq!(compile(&sweep.tasks()[0]), compile(&alone));
    }
}
