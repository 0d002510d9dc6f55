//! A member that is killed as a process: the others learn it at once, in the middle of their operations.
//!
//! This program is its own member: started with the word `member`, it joins the gang that the test serves.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its failure message")]

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use fulcrum_collective::{Collective, Gloo, Interface, Options, Reduction, Store};
use tch::{Device, Kind, Tensor};

const WORLD: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::from_secs(15);

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.as_slice() {
        [word, rank, address] if word == "member" => member(rank.parse().unwrap(), address.parse().unwrap()),
        _ => a_killed_member_breaks_the_gang_at_once(),
    }
}

fn join(store: &Store, rank: usize) -> Gloo {
    let interface = Interface::Address(Ipv4Addr::LOCALHOST.into());
    Gloo::new(store, &Options { name: "killed".into(), rank, world: WORLD, interface, timeout: TIMEOUT })
        .unwrap()
}

/// Reduces until the gang breaks; exits with 0 if it did so in time.
fn reduce_until_broken(gang: &Gloo, mut each: impl FnMut(usize)) {
    for round in 0.. {
        let tensor = Tensor::ones([200_000], (Kind::Float, Device::Cpu));
        if let Err(error) = gang.all_reduce(&tensor, Reduction::Sum).and_then(|handle| handle.wait()) {
            println!("rank {} after {round} rounds: {error}", gang.rank());
            assert!(gang.health().is_err());
            return;
        }
        assert_eq!(tensor.double_value(&[0]), WORLD as f64);
        each(round);
    }
}

fn member(rank: usize, address: SocketAddr) {
    let store = Store::connect(address, TIMEOUT).unwrap();
    reduce_until_broken(&join(&store, rank), |_| ());
}

fn a_killed_member_breaks_the_gang_at_once() {
    let store = Store::serve(Ipv4Addr::LOCALHOST.into(), TIMEOUT).unwrap();
    let address = store.address().to_string();
    let start = |rank: usize| -> io::Result<Child> {
        let mut command = Command::new(env::current_exe()?);
        command.args(["member", &rank.to_string(), &address]).stdin(Stdio::null()).spawn()
    };
    let mut members = [1, 2].map(|rank| start(rank).unwrap());
    let gang = join(&store, 0);
    let mut killed = None;
    reduce_until_broken(&gang, |round| {
        if round == 20 {
            members[1].kill().unwrap();
            killed = Some(Instant::now());
        }
    });
    assert!(killed.expect("the gang broke before the kill").elapsed() < AT_ONCE);
    assert!(members[0].wait().unwrap().success(), "the other member did not see the gang break");
    members[1].wait().unwrap();
    assert!(killed.is_some_and(|killed| killed.elapsed() < AT_ONCE));
    println!("test a_killed_member_breaks_the_gang_at_once ... ok");
}
