//! `fulcrum bench`: processes that meet, measure and report; what becomes of them when one dies.

use std::{fs, path::Path, process::Child, time::Instant};

use serde_json::Value;

use crate::workplace::{PATIENCE, Workplace, signal};

fn measured(words: &str) -> Value {
    let place = Workplace::new();
    let words: Vec<&str> = ["bench"].into_iter().chain(words.split(' ')).collect();
    let printed = place.succeed(&words);
    let line = printed.strip_suffix('\n').unwrap();
    assert!(!line.contains('\n'), "one line: {printed}");
    serde_json::from_str(line).unwrap()
}

#[test]
fn two_ranks_train_a_tiny_model_and_report_one_line() {
    let report = measured(
        "train --shape gpt2-tiny --world 2 --batch 3 --seq 8 --steps 6 --warmup 2 --threads 1 --json",
    );
    for (key, expected) in [
        ("bench", Value::from("train")),
        ("world", 2.into()),
        ("threads", 1.into()),
        ("device", "cpu".into()),
        ("steps", 6.into()),
        ("model", "gpt2-tiny".into()),
        ("head", "classifier".into()),
        ("batch", 3.into()),
        ("seq", 8.into()),
        ("precision", "fp32".into()),
        ("wire", "fp32".into()),
        ("strategy", "data".into()),
        ("overlap", true.into()),
        ("mfu", Value::Null),
        ("device_memory_mib", Value::Null),
    ] {
        assert_eq!(report[key], expected, "{key} of {report}");
    }
    let number = |value: &Value| value.as_f64().filter(|number| *number > 0.0).unwrap();
    let (step, tokens) = (number(&report["step_s"]), number(&report["tokens_per_s"]));
    assert!((tokens * step / (2.0 * 3.0 * 8.0) - 1.0).abs() < 0.5, "{report}");
    let quantiles = ["p10", "p50", "p90", "p99"].map(|share| number(&report["quantiles"][share]));
    assert!(quantiles.is_sorted(), "{report}");
    for part in ["data", "forward", "backward", "communication", "optimizer"] {
        assert!(report["split"][part].as_f64().unwrap() >= 0.0, "{part} of {report}");
    }
    assert_eq!(report["peak_rss_mib"].as_array().unwrap().len(), 2);
    assert!(
        number(&report["loss"]["last"]) < number(&report["loss"]["first"]),
        "it learns its rows: {report}"
    );
}

#[test]
fn overlap_changes_no_number_and_a_narrow_wire_few() {
    let words =
        "train --shape llama-tiny --world 2 --batch 2 --seq 6 --steps 3 --warmup 1 --threads 1 --json";
    let (with, without) = (measured(words), measured(&format!("{words} --no-overlap")));
    assert_eq!((&with["overlap"], &without["overlap"]), (&true.into(), &false.into()));
    assert_eq!(with["loss"], without["loss"], "the same numbers travel");
    let rounded = measured(&format!("{words} --wire bf16"));
    assert_eq!(rounded["wire"], "bf16");
    let last = |report: &Value| report["loss"]["last"].as_f64().unwrap();
    assert!((last(&rounded) - last(&with)).abs() < 1e-3, "{rounded} and {with}");
}

#[test]
fn inference_and_sums_are_measured_too() {
    let report = measured("infer --shape llama-tiny --head lm --world 2 --batch 2 --seq 6 --steps 3 --json");
    assert_eq!((&report["bench"], &report["split"]), (&"infer".into(), &Value::Null));
    assert!(report["examples_per_s"].as_f64().unwrap() > 0.0);
    let report = measured("allreduce --world 2 --mib 1 --steps 3 --json");
    let rate = |key: &str| report[key].as_f64().unwrap();
    assert!(rate("gb_per_s") > 0.0 && (rate("gb_per_s") - rate("bus_gb_per_s")).abs() < 1e-9, "{report}");
}

#[test]
fn what_cannot_be_measured_is_told_in_one_line() {
    let place = Workplace::new();
    fs::create_dir(place.at("empty")).unwrap();
    for (words, code, said) in [
        ("train --shape gpt2-tiny --seq 33", 20, "error: rank 0: --seq 33 is more than the 32 tokens"),
        ("train --model empty --world 2", 20, "cannot read "),
        ("train --model nowhere", 2, "error: --model nowhere is no folder"),
        ("train --shape gpt2-tiny --wire bf16 --deterministic", 2, "error: --wire bf16 rounds what"),
        ("train --shape gpt2-tiny --strategy hybrid --shards 2 --world 3", 20, "has no groups of 2"),
        (
            "train --shape gpt2-tiny --batch 2 --micro-batch 3",
            2,
            "error: --micro-batch 3 is more than the 2 rows",
        ),
    ] {
        let words: Vec<&str> = ["bench"].into_iter().chain(words.split(' ')).collect();
        let output = place.run(&words);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {error}");
        assert!(error.contains(said) && error.trim_end().lines().count() == 1, "{words:?}: {error}");
    }
}

#[test]
fn a_rank_that_is_killed_ends_the_measurement_and_every_other_rank() {
    let place = Workplace::new();
    let words = "bench train --shape gpt2-tiny --world 3 --seq 8 --steps 1000000 --threads 1";
    let bench = place.spawn(&words.split(' ').collect::<Vec<_>>());
    let ranks = children(&bench, 3);
    signal("KILL", ranks[2]);
    let output = bench.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), error.as_str()),
        (Some(30), "error: rank 2 ended with signal SIGKILL\n")
    );
    for rank in ranks {
        assert!(!Path::new(&format!("/proc/{rank}")).exists(), "no process is left");
    }
}

/// The processes of the ranks, in their order, once all are there.
fn children(bench: &Child, world: usize) -> Vec<u64> {
    let patience = Instant::now();
    loop {
        assert!(patience.elapsed() < PATIENCE, "there never were {world} ranks");
        let threads = fs::read_dir(format!("/proc/{}/task", bench.id())).unwrap().flatten();
        let children =
            threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        let children: Vec<u64> = children
            .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        let is = |pid: &&u64, rank: usize| {
            let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            words.contains(&format!("--rank\0{rank}\0"))
        };
        let ranks = (0..world).map(|rank| children.iter().find(|pid| is(pid, rank)).copied());
        if let Some(ranks) = ranks.collect() {
            return ranks;
        }
        std::thread::yield_now();
    }
}
