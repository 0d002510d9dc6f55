//! `fulcrum doctor`: a verdict for each thing, and an exit code for all.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use serde_json::Value;
use support::Place;

fn verdicts(out: &str) -> Vec<(String, String)> {
    let found: Vec<Value> = serde_json::from_str(out).unwrap();
    let of = |finding: &Value, key: &str| finding[key].as_str().unwrap().to_owned();
    found.iter().map(|finding| (of(finding, "what"), of(finding, "verdict"))).collect()
}

#[test]
fn a_machine_that_will_do_is_told_so_and_left_as_it_was() {
    let place = Place::with_worker(&format!("echo fulcrum-worker {}", env!("CARGO_PKG_VERSION")));
    let done = place.run(&["doctor", "--world", "1", "--json"]);
    assert_eq!(done.code, Some(0), "{}{}", done.out, done.err);
    let found = verdicts(&done.out);
    for what in
        ["programs", "processor", "limits", "GPUs", "network", "room", "syncs", "locks", "secrets", "clock"]
    {
        assert!(found.iter().any(|(known, _)| known == what), "{what}: {found:?}");
    }
    assert!(found.iter().all(|(_, verdict)| verdict != "bad"), "{}", done.out);
    for folder in ["runs", "fulcrum-store"] {
        assert_eq!(std::fs::read_dir(place.at(folder)).unwrap().count(), 0, "{folder}");
    }
    let text = place.run(&["doctor", "--world", "1"]).out;
    assert!(text.contains("libtorch loads") && text.contains("good"), "{text}");
}

#[test]
fn what_is_bad_has_its_reason_and_an_exit_code() {
    let place =
        Place::with_worker("echo 'error while loading shared libraries: libtorch_cpu.so' >&2; exit 127");
    let done = place.run(&["doctor", "--world", "1"]);
    assert_eq!(done.code, Some(20));
    assert!(done.out.contains("BAD") && done.out.contains("libtorch_cpu.so"), "{}", done.out);
    place.program("fulcrum-worker", "echo fulcrum-worker 9.9.9");
    place.write("file", "");
    let done = place.run(&["doctor", "--world", "1", "--store", "file/store", "--json"]);
    let bad: Vec<_> = verdicts(&done.out).into_iter().filter(|(_, verdict)| verdict == "bad").collect();
    assert_eq!(bad.len(), 2, "{}", done.out);
    assert!(
        done.out.contains("9.9.9: build both anew") && done.err.contains("2 of 11 things are bad"),
        "{}",
        done.err
    );
}

#[test]
fn gpus_are_as_good_as_what_the_worker_makes_of_them() {
    let found = r#"{"gpus":{"Err":"no CUDA device"},"model":null,"nccl":{"Ok":"2.28.9"}}"#;
    let version = env!("CARGO_PKG_VERSION");
    let place = Place::with_worker(&format!(
        "case $1 in equipment) echo '{found}' ;; *) echo fulcrum-worker {version} ;; esac"
    ));
    let done = place.run(&["doctor", "--world", "1", "--device", "cuda", "--json"]);
    assert_eq!(done.code, Some(20), "{}", done.out);
    assert!(done.out.contains("no CUDA device"), "{}", done.out);
    place.program("fulcrum-worker", &format!("echo fulcrum-worker {version}"));
    let done = place.run(&["doctor", "--world", "1", "--device", "cuda", "--json"]);
    assert!(done.out.contains("does not tell what it finds"), "{}", done.out);
}

#[test]
fn a_folder_that_is_another_one_elsewhere_is_bad() {
    let place = Place::with_worker(&format!("echo fulcrum-worker {}", env!("CARGO_PKG_VERSION")));
    for (folder, mark) in [("fulcrum-store", ".doctor-a"), ("runs", ".doctor-b")] {
        std::fs::create_dir(place.at(folder)).unwrap();
        std::fs::write(place.at(folder).join(mark), "").unwrap();
    }
    let marks = |store: &str, runs: &str| {
        let (store, runs) = (format!("--store-mark={store}"), format!("--runs-mark={runs}"));
        let done = place.run(&["doctor", "--world", "1", "--json", &store, &runs]);
        verdicts(&done.out)
            .into_iter()
            .filter(|(what, _)| what == "shared")
            .map(|(_, verdict)| verdict)
            .collect::<Vec<_>>()
    };
    assert_eq!(marks(".doctor-a", ".doctor-b"), ["good", "good"]);
    assert_eq!(marks(".doctor-a", ".doctor-c"), ["good", "bad"]);
    assert_eq!(marks("../runs/.doctor-b", ".doctor-b"), ["bad", "good"]);
}
