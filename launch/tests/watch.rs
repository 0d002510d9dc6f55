//! `fulcrum watch`: what it answers, and to whom.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod support;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::Child,
};

use support::{Place, pid_in, wait_for};

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Status line, headers and the body that came until `enough`.
fn ask(address: &str, host: &str, path: &str, enough: impl Fn(&str) -> bool) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes).unwrap();
        answer.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&answer);
        if count == 0 || enough(&text) {
            return text.into_owned();
        }
    }
}

#[test]
fn a_run_is_shown_to_its_machine_and_to_nobody_else() {
    let place = Place::with_worker("cat > /dev/null");
    let _run = Running(place.start(&["run", "tiny.toml", "--workers", "2"]));
    wait_for("the coordinator", || pid_in(&place.at("runs/tiny/coordinator.json")));
    let mut watch = Running(place.start(&["watch", "tiny", "--listen", "127.0.0.1:0"]));
    let mut said = String::new();
    BufReader::new(watch.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().strip_prefix("tiny is shown at http://").unwrap().to_owned();
    let get = |path: &str| ask(&address, &address, path, |_| false);

    let page = get("/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<!doctype html>"), "{page}");
    assert!(!page.contains("https://") && !page.contains("src="), "it reads something from elsewhere");
    let metrics = get("/metrics");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    assert!(metrics.contains("fulcrum_run_info{run=\"tiny\",phase=\"running\"} 1"), "{metrics}");
    assert!(get("/edges").contains("[["));
    let dashboard = get("/grafana.json");
    assert!(dashboard.contains("application/json") && dashboard.contains("\"schemaVersion\""), "{dashboard}");
    assert!(get("/logs/coordinator").contains("listens on 127.0.0.1:"));
    let event = ask(&address, &address, "/events", |text| text.contains("data: {"));
    assert!(event.contains("text/event-stream") && event.contains("\"phase\":\"running\""), "{event}");

    let token = place.read("runs/tiny/token");
    for path in ["/", "/status", "/metrics", "/logs/coordinator"] {
        assert!(!get(path).contains(token.trim()), "{path} tells the token");
    }
    for path in ["/logs/token", "/logs/..%2Ftoken", "/logs/..%2f..%2frun.json", "/logs/%2Fetc%2Fpasswd"] {
        assert!(get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    for host in ["evil.example", "evil.example:80", "127.0.0.1.evil.example"] {
        let refused = ask(&address, host, "/status", |_| false);
        assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    }
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let place = Place::new();
    let done = place.run(&["watch", "tiny", "--listen", "0.0.0.0:4680"]);
    assert_eq!(done.code, Some(2));
    assert!(done.err.contains("ssh -L 4680:127.0.0.1:4680"), "{}", done.err);
}
