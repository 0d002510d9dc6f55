//! A sample of what can go wrong; `cargo xtask chaos` goes through all of it.

use fulcrum_tests::chaos;

#[test]
fn whatever_goes_wrong_in_a_run_it_leaves_the_bytes_of_one_in_which_nothing_did() {
    let expected = chaos::undisturbed();
    assert!(expected.len() > 10, "{} files", expected.len());
    let problems: Vec<String> = chaos::sample()
        .iter()
        .filter_map(|case| chaos::run(case, &expected).problem.map(|problem| format!("{case}: {problem}")))
        .collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
