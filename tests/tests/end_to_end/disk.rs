//! A store on a disk that is too small. A real one: a tmpfs of so many bytes, in a mount namespace of the run's own. Where
//! this machine allows no mounts the tests fail and say so; `FULCRUM_NO_MOUNTS=1` leaves out those that need one.

use std::process::{Child, Command, Output, Stdio};

use crate::workplace::{EXPERIMENT, PATIENCE, Workplace, same};

/// Bytes of the large model's weights, about; its pretraining is the only training that gets to a checkpoint.
const MODEL: usize = 1_600_000;

/// A place whose large model is large beside everything else.
fn place() -> Workplace {
    let place = Workplace::new();
    let text = EXPERIMENT.replace("hidden  = 32\nheads   = 4", "hidden  = 128\nheads   = 4");
    assert_ne!(text, EXPERIMENT);
    std::fs::write(place.at("tiny.toml"), text).unwrap();
    place
}

fn undisturbed() -> Workplace {
    let place = place();
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    place
}

/// How to get a mount namespace on this machine; none where mounts are said not to be possible.
fn namespace() -> Option<Vec<&'static str>> {
    let ways = [vec!["--mount"], vec!["--user", "--mount", "--map-root-user"]];
    let works = |way: &Vec<&str>| {
        let mut probe = Command::new("unshare");
        probe.args(way).args(["sh", "-c", "mount -t tmpfs -o size=64k tmpfs /mnt"]).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    };
    let way = ways.into_iter().find(works);
    let excused = std::env::var_os("FULCRUM_NO_MOUNTS").is_some();
    assert!(way.is_some() || excused, "no tmpfs can be mounted here; if so it is, set FULCRUM_NO_MOUNTS=1");
    if way.is_none() {
        eprintln!("NOT TESTED: a full disk, because FULCRUM_NO_MOUNTS is set");
    }
    way
}

/// Starts a script in the place with its store on a tmpfs of so many bytes; `run` in it is the run of the experiment.
/// What the store holds in the end stays.
fn on_small_disk(place: &Workplace, way: &[&str], bytes: usize, script: &str) -> Child {
    let program = fulcrum_tests::binaries().fulcrum.display().to_string();
    let script = format!(
        "run() {{ '{program}' run tiny.toml --workers 2; }}\nmkdir small fulcrum-store &&
        mount -t tmpfs -o size={bytes} tmpfs fulcrum-store || exit 99\n{script}\ncode=$?
        cp -a fulcrum-store/. small/ && umount fulcrum-store && cp -a small/. fulcrum-store/ || exit 98\nexit $code"
    );
    let mut command = Command::new("unshare");
    command.args(way).args(["sh", "-c", &script]).current_dir(place.at(""));
    command.env_remove("FULCRUM_DATA").env_remove("LD_LIBRARY_PATH");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_training_whose_checkpoints_do_not_fit_goes_on_and_says_what_to_do() {
    let Some(way) = namespace() else { return };
    let place = place();
    // One checkpoint of weights and two moments, and what the model itself takes, but no second checkpoint.
    let run = on_small_disk(&place, &way, MODEL * 7, "run");
    let patience = std::time::Instant::now();
    let mut told = String::new();
    while told.is_empty() && patience.elapsed() < PATIENCE {
        let status = place.status().unwrap_or_default();
        let messages = status["stages"].as_array().into_iter().flatten().map(|it| it["message"].to_string());
        told = messages.into_iter().find(|it| it.contains("no checkpoint after step")).unwrap_or_default();
    }
    for word in [
        "fulcrum-store/training/",
        "rank-",
        "No space left on device",
        "make room",
        "the one before it stays",
    ] {
        assert!(told.contains(word), "status lacks {word:?}: {told}\n{}", place.logs());
    }
    let output = run.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), place.logs());
    let log = place.read("runs/tiny/logs/coordinator.log");
    assert!(log.contains("can go on from step 20"), "the first checkpoint did not fit either\n{log}");
    assert!(log.contains("make room on this disk"), "{log}");
    same(&place, &undisturbed());
}

#[test]
fn a_model_that_does_not_fit_ends_the_run_with_one_line_and_once_there_is_room_it_is_made() {
    let Some(way) = namespace() else { return };
    let place = place();
    let script = "run 2> full.txt; echo $? > code.txt; mount -o remount,size=1g fulcrum-store; run";
    let output = on_small_disk(&place, &way, MODEL * 5 / 4, script).wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}\n{}", stderr(&output), place.logs());
    ends_well(&place, "No space left on device", "make room on this disk");
    same(&place, &undisturbed());
}

#[test]
fn a_file_that_may_not_be_so_long_is_a_full_disk_too() {
    let place = place();
    let program = fulcrum_tests::binaries().fulcrum.display().to_string();
    // Blocks have 512 bytes or 1024, as the shell has it. A limit without the signal that would kill is an error of the write.
    let script = format!(
        "(trap '' XFSZ; ulimit -f {}; exec '{program}' run tiny.toml --workers 2) 2> full.txt; echo $? > code.txt",
        MODEL * 2 / 3 / 1024
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .current_dir(place.at(""))
        .env_remove("FULCRUM_DATA")
        .env_remove("LD_LIBRARY_PATH");
    assert!(shell.stdout(Stdio::null()).status().unwrap().success());
    ends_well(&place, "File too large", "raise the limit");
    place.succeed(&["run", "tiny.toml", "--workers", "2"]);
    same(&place, &undisturbed());
}

/// The first run of the place ended with one line that names the folder, the cause and what to do.
fn ends_well(place: &Workplace, cause: &str, remedy: &str) {
    let (code, told) = (place.read("code.txt"), place.read("full.txt"));
    assert_eq!(code.trim(), "30", "{told}");
    let last: Vec<&str> = told.lines().filter(|line| line.starts_with("error: ")).collect();
    let [line] = last[..] else { panic!("more than one line, or none\n{told}") };
    for word in ["fulcrum-store/", cause, remedy] {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
