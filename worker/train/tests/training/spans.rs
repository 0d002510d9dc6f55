//! A training in several stretches, each by another stage, is the training in one.

use fulcrum_common::plan::{Optimizer, Rule, Span};

use crate::{
    job::{Job, Left, Sharing},
    strategies::{CASES, DETERMINISTIC, FAST, NAIVE, THRESHOLD, classifier},
    support::settings,
};

/// Stretches of one step, two steps and two.
const OF: usize = 3;

/// Runs all stretches, each over another gang, and what each but the last leaves for the next.
fn in_stretches(job: &Job<'_>, gangs: [Sharing; OF]) -> Vec<Left> {
    let mut done: Vec<Left> = Vec::new();
    for (begin, sharing) in gangs.into_iter().enumerate() {
        let span = Some(Span { begin, end: begin + 1, of: OF });
        let job = Job { span, settings: job.settings.clone(), ..*job };
        let world = sharing.gangs().len();
        let before = done.last().and_then(|left| left.state.as_ref());
        let before = before.map(|files| files.handed_over(world, &|_, _| true).unwrap());
        done.push(job.run(sharing, before.as_deref(), job.steps()).unwrap());
    }
    done
}

#[test]
fn in_deterministic_mode_stretches_over_any_gangs_leave_the_bytes_of_one_training() {
    use Sharing::{Data, Hybrid, Sharded, Zero1};
    for (number, (model, objective)) in CASES.into_iter().enumerate() {
        let job = Job { model: &model, objective, settings: settings(), numerics: DETERMINISTIC, span: None };
        let expected = job.run(Data(1), None, job.steps()).unwrap();
        assert_eq!(expected.state, None, "nobody goes on");
        let alone = in_stretches(&job, [Data(1), Data(1), Data(1)]);
        for gangs in [[Data(2), Sharded(2), Data(1)], [Hybrid, Zero1(2), Sharded(4)]] {
            let done = in_stretches(&job, gangs);
            for (at, (done, alone)) in done.iter().zip(&alone).enumerate() {
                assert!(done.state == alone.state, "case {number}, {gangs:?}: state after stretch {at}");
                assert!(
                    done.weights == alone.weights,
                    "case {number}, {gangs:?}: weights after stretch {at}"
                );
            }
            let last = done.last().unwrap();
            last.equals(&expected, &format!("case {number}, {gangs:?}"));
            assert!(last.snapshots.iter().all(|snapshot| !snapshot.resized), "each stage began anew");
        }
    }
}

#[test]
fn every_optimizer_hands_over_what_it_remembers() {
    let momentum = Rule::Sgd { momentum: 0.9, nesterov: false };
    for rule in [settings().rule, momentum, Rule::Adafactor] {
        let settings = Optimizer { rule, ..settings() };
        let job = Job { model: &classifier, objective: &NAIVE, settings, numerics: FAST, span: None };
        let two = Sharing::Data(2);
        let expected = job.run(two, None, job.steps()).unwrap();
        in_stretches(&job, [two, two, two]).last().unwrap().equals(&expected, &format!("{rule:?}"));
    }
}

#[test]
fn a_stretch_without_the_one_before_is_refused() {
    let span = Some(Span { begin: 1, end: 2, of: OF });
    let job = Job { model: &classifier, objective: &THRESHOLD, settings: settings(), numerics: FAST, span };
    let refused = job.run(Sharing::Data(1), None, 0).err().unwrap().to_string();
    assert!(refused.ends_with("a training of steps 1 to 3 cannot go on from step 0"), "{refused}");
}
