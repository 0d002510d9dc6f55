//! What the table of a weak-to-strong run says, against numbers worked out by hand.

use super::{group::share_of_gap, *};
use crate::{results::Flag, rng::Rng};

const BOOTSTRAP: Bootstrap = Bootstrap { draws: 200, seed: 0 };

fn names() -> Vec<String> {
    vec!["small".into(), "large".into()]
}

fn weak() -> Role {
    Role::Weak { model: "small".into() }
}

fn ceiling() -> Role {
    Role::Ceiling { model: "large".into(), method: None }
}

fn student(method: &str) -> Role {
    Role::Student { method: method.into(), weak: "small".into(), strong: "large".into() }
}

fn predicted(role: Role, seed: u64, classes: &[i32]) -> Predicted {
    let classes = classes.to_vec();
    Predicted {
        role,
        seed,
        progress: None,
        oracle: false,
        parameters: 10,
        classes,
        probabilities: None,
        moves: None,
    }
}

/// A prediction that is right with that probability, for rows that are all of class 1.
fn simulated(role: Role, seed: u64, rows: usize, accuracy: f64, rng: &mut Rng) -> Predicted {
    predicted(role, seed, &(0..rows).map(|_| i32::from(rng.chance(accuracy))).collect::<Vec<_>>())
}

#[test]
fn an_experiment_of_eight_rows_gives_the_numbers_of_the_hand_computation() {
    let labels = [0, 0, 0, 0, 0, 1, 1, 1];
    let right_on = |rows: [u8; 8]| -> Vec<i32> {
        rows.iter().zip(labels).map(|(&right, label)| if right == 1 { label } else { 1 - label }).collect()
    };
    let all = [
        predicted(student("naive"), 1, &right_on([1, 1, 1, 1, 1, 1, 0, 0])),
        predicted(weak(), 1, &right_on([1, 1, 1, 1, 0, 0, 0, 0])),
        predicted(ceiling(), 0, &right_on([1; 8])),
        predicted(ceiling(), 1, &right_on([1; 8])),
        predicted(student("naive"), 0, &right_on([1, 1, 1, 1, 1, 0, 0, 0])),
        predicted(weak(), 0, &right_on([1, 1, 0, 0, 0, 0, 0, 0])),
    ];
    let results = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap();
    assert_eq!((results.test_rows, results.chance), (8, 0.625));
    let of = |scores: &[Score]| scores.iter().map(|s| (s.seed, s.accuracy)).collect::<Vec<_>>();
    assert_eq!(of(&results.supervisors), [(0, 0.25), (1, 0.5)]);
    assert_eq!(of(&results.ceilings), [(0, 1.0), (1, 1.0)]);
    let students: Vec<_> = results.students.iter().map(|s| (s.seed, s.accuracy, s.pgr)).collect();
    assert_eq!(students, [(0, 0.625, Some(0.5)), (1, 0.75, Some(0.5))]);
    // Seed 0: both right on rows 0 and 1, both wrong on 5, 6 and 7; the student alone is right on 2, 3, 4.
    let agreement = results.students[0].agreement;
    assert_eq!(
        (agreement.overall, agreement.supervisor_right, agreement.supervisor_wrong),
        (0.625, Some(1.0), Some(0.5))
    );
    let [summary] = &results.summary[..] else { panic!("{:?}", results.summary) };
    assert_eq!((summary.weak_accuracy.mean, summary.student_accuracy.mean), (0.375, 0.6875));
    assert_eq!((summary.gap.mean, summary.seeds), (0.625, 2));
    // The ratio of the means, (0.6875 - 0.375) / (1 - 0.375).
    assert_eq!(summary.pgr.unwrap().mean, 0.5);
    assert_eq!(results.ladder.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["small", "large"]);
}

#[test]
fn the_order_of_predictions_does_not_change_the_bytes() {
    let mut rng = Rng::new(0, "order test", 0);
    let labels = vec![1; 40];
    let mut all = Vec::new();
    for seed in 0..3 {
        all.push(simulated(weak(), seed, 40, 0.6, &mut rng));
        all.push(simulated(student("naive"), seed, 40, 0.7, &mut rng));
        all.push(simulated(ceiling(), seed, 40, 0.9, &mut rng));
    }
    let text = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap().to_json();
    rng.shuffle(&mut all);
    assert_eq!(weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap().to_json(), text);
    assert_eq!(Results::from_json(&text).unwrap().to_json(), text);
}

#[test]
fn methods_keep_the_order_of_the_experiment() {
    let all = [
        predicted(weak(), 0, &[0]),
        predicted(student("naive"), 0, &[1]),
        predicted(student("confidence"), 0, &[1]),
        predicted(ceiling(), 0, &[1]),
    ];
    let results = weak_to_strong(&names(), &[1], &all, BOOTSTRAP).unwrap();
    assert_eq!(
        results.summary.iter().map(|s| s.method.as_str()).collect::<Vec<_>>(),
        ["naive", "confidence"]
    );
}

#[test]
fn a_gap_that_is_noise_has_no_pgr_and_says_so() {
    let mut rng = Rng::new(0, "noise", 0);
    let labels = vec![1; 100];
    let mut all = Vec::new();
    for (role, accuracy) in [(weak(), 0.7), (student("naive"), 0.7), (ceiling(), 0.75)] {
        all.push(simulated(role, 0, 100, accuracy, &mut rng));
    }
    let results = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap();
    assert!(results.summary[0].gap.low <= 0.0, "{:?}", results.summary[0]);
    let flags = |results: &Results| results.summary[0].flags.clone();
    // All rows are of class 1, so that chance is 1 and nothing is above it.
    let lost = [Flag::CeilingAtChance, Flag::WeakAtChance];
    assert_eq!(results.summary[0].pgr, None);
    assert_eq!(flags(&results), [&[Flag::GapWithinNoise], &lost[..]].concat());
    // Equal bytes of weak and ceiling: the gap is exactly zero.
    all[2].classes = all[0].classes.clone();
    let results = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap();
    assert_eq!((results.students[0].pgr, results.summary[0].pgr), (None, None));
    assert_eq!(flags(&results), [&[Flag::CeilingBelowWeak], &lost[..]].concat());
}

#[test]
fn a_draw_without_a_gap_widens_the_interval_on_both_sides() {
    let steady = [0.5, 0.75, 1.0];
    let drawn = |gapless: usize| [vec![steady; 100 - gapless], vec![[0.5, 0.75, 0.5]; gapless]].concat();
    let narrow = share_of_gap(&steady, &drawn(2)).unwrap();
    assert_eq!((narrow.low, narrow.mean, narrow.high), (0.5, 0.5, 0.5));
    assert_eq!(share_of_gap(&steady, &drawn(3)), None);
}

#[test]
fn the_interval_of_pgr_holds_the_true_value_about_19_times_in_20() {
    let (rows, trials) = (300, 200u32);
    let covered = (0..trials).filter(|&trial| {
        let mut rng = Rng::new(1, "coverage", u64::from(trial));
        let all = [(weak(), 0.6), (student("naive"), 0.75), (ceiling(), 0.9)]
            .map(|(role, accuracy)| simulated(role, 0, rows, accuracy, &mut rng));
        let bootstrap = Bootstrap { draws: 200, seed: u64::from(trial) };
        let results = weak_to_strong(&names(), &vec![1; rows], &all, bootstrap).unwrap();
        results.summary[0].pgr.is_some_and(|pgr| pgr.low <= 0.5 && 0.5 <= pgr.high)
    });
    let share = covered.count() as f64 / f64::from(trials);
    assert!((0.90..0.99).contains(&share), "{share}");
}

#[test]
fn seeds_that_differ_widen_the_interval() {
    let width = |other: f64| {
        let mut rng = Rng::new(2, "seeds", 0);
        let all: Vec<Predicted> = [(0, 0.6), (1, other)]
            .into_iter()
            .flat_map(|(seed, weak_accuracy)| {
                [(weak(), seed, weak_accuracy), (student("naive"), seed, 0.7), (ceiling(), seed, 0.95)]
            })
            .map(|(role, seed, accuracy)| simulated(role, seed, 1000, accuracy, &mut rng))
            .collect();
        let interval =
            weak_to_strong(&names(), &vec![1; 1000], &all, BOOTSTRAP).unwrap().summary[0].weak_accuracy;
        interval.high - interval.low
    };
    assert!(width(0.8) > 1.5 * width(0.6), "{} {}", width(0.8), width(0.6));
}

#[test]
fn predictions_that_do_not_fit_are_named() {
    let good = || {
        vec![predicted(weak(), 0, &[1]), predicted(student("naive"), 0, &[1]), predicted(ceiling(), 0, &[1])]
    };
    let error = |change: fn(&mut Vec<Predicted>)| {
        let mut all = good();
        change(&mut all);
        weak_to_strong(&names(), &[1], &all, BOOTSTRAP).unwrap_err().to_string()
    };
    type Change = fn(&mut Vec<Predicted>);
    let table: [(Change, &str); 9] = [
        (|all| all[1].classes.push(0), "student naive small>large seed 0 covers 2 rows, the test part has 1"),
        (|all| all[0].role = Role::Weak { model: "huge".into() }, "model \"huge\" is not in the ladder"),
        (|all| all.push(all[0].clone()), "weak small seed 0 comes twice"),
        (|all| all[2].seed = 1, "student naive small>large seed 0 has no ceiling \"large\" of its seed"),
        (
            |all| drop(all.remove(0)),
            "student naive small>large seed 0 has no supervisor \"small\" of its seed",
        ),
        (
            |all| all[1].probabilities = Some(vec![]),
            "student naive small>large seed 0 has 0 rows of probabilities for 1 rows",
        ),
        (
            |all| all[1].progress = Some(1.0),
            "student naive small>large seed 0 at 1 stands at 1 of its training: a point is above 0 and below 1",
        ),
        (
            |all| all[1].progress = Some(0.5),
            "student naive small>large seed 0 at 0.5 has no prediction at the end",
        ),
        (
            |all| {
                let early = Predicted { progress: Some(0.5), ..all[1].clone() };
                all.extend([early.clone(), early]);
            },
            "student naive small>large seed 0 at 0.5 comes twice",
        ),
    ];
    for (change, expected) in table {
        let found = error(change);
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(weak_to_strong(&names(), &[], &[], BOOTSTRAP).unwrap_err(), MetricsError::NoRows);
    let none = Bootstrap { draws: 0, seed: 0 };
    assert_eq!(weak_to_strong(&names(), &[1], &good(), none).unwrap_err(), MetricsError::NoDraws);
}

/// Probabilities of two classes whose likelier one is as wished, sure or not.
fn two_classes(classes: &[i32], sure: &[bool]) -> Vec<Vec<f32>> {
    let row = |(&class, &sure): (&i32, &bool)| {
        let high = if sure { 0.97 } else { 0.6 };
        if class == 1 { vec![1.0 - high, high] } else { vec![high, 1.0 - high] }
    };
    classes.iter().zip(sure).map(row).collect()
}

#[test]
fn probabilities_bring_their_numbers_and_a_gap_of_areas() {
    let labels: Vec<i32> = (0..120).map(|row| row % 2).collect();
    let wrong_every = |n: usize| -> Vec<i32> {
        labels.iter().enumerate().map(|(row, &label)| if row % n == 0 { 1 - label } else { label }).collect()
    };
    let of = |role, classes: &[i32]| {
        let sure: Vec<bool> = (0..120).map(|row| row % 3 == 0).collect();
        Predicted::of(role, 0, 10, two_classes(classes, &sure))
    };
    let all = [
        of(weak(), &wrong_every(3)),
        of(student("naive"), &wrong_every(5)),
        of(ceiling(), &labels),
        Predicted { progress: Some(0.5), ..of(student("naive"), &wrong_every(4)) },
        Predicted { progress: Some(0.25), ..of(student("naive"), &wrong_every(2)) },
    ];
    let results = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap();
    let student = &results.students[0];
    assert_eq!(student.accuracy, 0.8);
    assert_eq!(
        student.points,
        [Point { progress: 0.25, accuracy: 0.5 }, Point { progress: 0.5, accuracy: 0.75 }]
    );
    let areas = results.summary[0].auroc.unwrap();
    let area = |score: &Option<Probabilistic>| score.unwrap().auroc.unwrap();
    assert_eq!(areas.weak.mean, area(&results.supervisors[0].probabilistic));
    assert_eq!((areas.student.mean, areas.ceiling.mean), (area(&student.probabilistic), 1.0));
    assert!(areas.pgr.is_some_and(|pgr| pgr.low < pgr.mean && pgr.mean < pgr.high), "{areas:?}");
    // Sure are rows 0, 3, 6...: the supervisor is wrong on all of them, the student on every fifth of them.
    let contradiction = student.contradiction.unwrap();
    assert_eq!(contradiction.confident, 40.0 / 120.0);
    assert_eq!(contradiction.rate, Some(32.0 / 40.0));
    // The student is wrong on rows 0, 5, ..., 115, with the supervisor on those of them that are multiples of 3.
    assert_eq!(contradiction.errors_copied, Some(8.0 / 24.0));
    assert_eq!(results.summary[0].flags, []);
}

#[test]
fn predictions_without_probabilities_have_none_of_their_numbers() {
    let all = [
        predicted(weak(), 0, &[7, 8, 9, 1]),
        predicted(student("naive"), 0, &[7, 8, 9, 2]),
        predicted(ceiling(), 0, &[7, 8, 9, 4]),
    ];
    let results = weak_to_strong(&names(), &[7, 8, 3, 4], &all, BOOTSTRAP).unwrap();
    let student = &results.students[0];
    assert_eq!((student.accuracy, student.balanced_accuracy), (0.5, 0.5));
    assert_eq!((student.probabilistic, student.contradiction, results.summary[0].auroc), (None, None, None));
    let agreement = results.summary[0].agreement;
    assert_eq!((agreement.overall.mean, agreement.supervisor_wrong.unwrap().mean), (0.75, 0.5));
    assert!(agreement.overall.low < 0.75 && agreement.overall.high == 1.0, "{agreement:?}");
}

#[test]
fn moves_are_counted_over_all_seeds_where_all_models_make_some() {
    let labels = [1, 1, 0];
    let with = |role: Role, seed: u64, legal: u64| {
        let moves = Some(Moves { legal, illegal: 3 - legal, unreadable: 0 });
        Predicted { moves, ..predicted(role, seed, &labels) }
    };
    let mut all = Vec::new();
    for (seed, [of_weak, of_student, of_ceiling]) in [[0, 1, 2], [1, 3, 3]].into_iter().enumerate() {
        let seed = seed as u64;
        all.extend([
            with(weak(), seed, of_weak),
            with(student("naive"), seed, of_student),
            with(ceiling(), seed, of_ceiling),
        ]);
    }
    let results = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap();
    assert_eq!(results.supervisors[1].moves, Some(Moves { legal: 1, illegal: 2, unreadable: 0 }));
    assert_eq!(results.students[0].moves, Some(Moves { legal: 1, illegal: 2, unreadable: 0 }));
    let legality = results.summary[0].legality.unwrap();
    let found = [legality.weak, legality.student, legality.ceiling];
    assert_eq!(found.map(|moves| (moves.legal, moves.illegal)), [(1, 5), (4, 2), (5, 1)]);
    assert_eq!(legality.student.share_legal(), 4.0 / 6.0);
    all[0].moves = None;
    let results = weak_to_strong(&names(), &labels, &all, BOOTSTRAP).unwrap();
    assert_eq!(results.summary[0].legality, None);
}
