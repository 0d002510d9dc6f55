//! A bit that flips in the memory of one worker is found, healed, and told.

use std::process::Stdio;

use crate::workplace::{Workplace, finish, same};

#[test]
fn a_bit_that_flips_in_one_worker_changes_no_byte_and_the_worker_is_named() {
    let expected = Workplace::new();
    expected.succeed(&["run", "tiny.toml", "--workers", "2"]);
    // After step 40 they compare: what flips just before is told from the truth, what flips earlier has been learnt from.
    // They do so after the last step, too, which is the 375th.
    let cases = [
        ("weights", "last", 39, (40, "w1")),
        ("moments", "0", 39, (40, "w0")),
        ("weights", "last", 30, (40, "w0 or w1")),
        ("weights", "0", 374, (375, "w0")),
    ];
    let mut went_on = 0;
    for (memory, rank, step, (found, seat)) in cases {
        let place = Workplace::new();
        std::fs::create_dir(place.at("marks")).unwrap();
        let mut run = place.command(&["run", "tiny.toml", "--workers", "2"]);
        run.env("FULCRUM_FAULT", format!("memory.{memory} rank={rank} step={step} kind=flip"));
        run.env("FULCRUM_FAULT_ONCE", place.at("marks")).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = run.spawn().unwrap();
        let told = format!("corrupted weights were found on {seat}");
        let mut is_told = false;
        while run.try_wait().unwrap().is_none() {
            let status = place.status().unwrap_or_default();
            let stages = status["stages"].as_array().into_iter().flatten();
            is_told |= stages.clone().any(|stage| stage["message"].as_str().unwrap().contains(&told));
        }
        assert_eq!(finish(run), Some(0), "{}", place.logs());
        assert!(is_told, "status does not say {told:?}\n{}", place.logs());
        assert!(place.at("marks/0").exists(), "no bit was flipped\n{}", place.logs());
        let logs = place.logs();
        assert!(logs.contains(&format!("held different weights after step {found}")), "{logs}");
        // A slow disk may not have made the newest checkpoint safe by then.
        let newest = (found - 1) / 20 * 20;
        let log = place.read("runs/tiny/logs/coordinator.log");
        let before = log.split("silent corruption").next().unwrap();
        if before.contains(&format!("can go on from step {newest}\n")) {
            assert!(logs.contains(&format!("goes on from step {newest}")), "{logs}");
            went_on += 1;
        }
        for file in ["runs/tiny/warnings.txt", "runs/tiny/report.html"] {
            assert!(place.read(file).contains(&format!("{seat} held corrupted weights")), "{file}");
        }
        same(&place, &expected);
    }
    assert!(went_on > 0, "no checkpoint was ever there in time");
}
