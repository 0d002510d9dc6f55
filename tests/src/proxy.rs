//! What goes wrong between a client and a server, addressed by the number of the request: throttling, errors, connections
//! that break before, after and amid an answer.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused with this status and code, and not passed on.
    Refused(u16, &'static str),
    /// Its connection breaks before it is passed on.
    Dropped,
    /// The server does it, and the connection breaks before the answer.
    Unanswered,
    /// The connection breaks in the middle of the answer.
    Cut,
}

/// 503 as the service says it.
pub const SLOW_DOWN: Fault = Fault::Refused(503, "SlowDown");

/// 500 as the service says it.
pub const INTERNAL: Fault = Fault::Refused(500, "InternalError");

/// Decides by the number of a request, from 0, and by its first line.
type Plan = Box<dyn FnMut(usize, &str) -> Option<Fault> + Send>;

/// Stands before a server until the process ends. Requests are passed on one after the other, so that what a server does in
/// two steps is one.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    upstream: SocketAddr,
    plan: Plan,
    /// First lines of the requests since the plan was made.
    seen: Vec<String>,
    /// Whether conditions are taken out of requests, as if the server did not know them.
    forgets: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Proxy {
    /// Without faults so far.
    ///
    /// # Panics
    /// If no port is free.
    pub fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let state = State { upstream, plan: Box::new(|_, _| None), seen: Vec::new(), forgets: false };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // What breaks here was to break, or its client is gone.
                thread::spawn(move || _ = serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes wrong from here on; requests are counted from 0 again.
    pub fn plan(&self, plan: impl FnMut(usize, &str) -> Option<Fault> + Send + 'static) {
        let mut state = lock(&self.state);
        state.plan = Box::new(plan);
        state.seen.clear();
    }

    /// First lines of the requests since the plan was made.
    pub fn seen(&self) -> Vec<String> {
        lock(&self.state).seen.clone()
    }

    /// From here on the server seems to know no conditions.
    pub fn forget_conditions(&self) {
        lock(&self.state).forgets = true;
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One request; the connection is not used again.
fn serve(mut client: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let Some((head, body)) = request(&mut client)? else { return Ok(()) };
    let mut state = lock(state);
    let line = head.lines().next().unwrap_or_default().to_owned();
    let number = state.seen.len();
    let fault = (state.plan)(number, &line);
    state.seen.push(line.clone());
    match fault {
        Some(Fault::Dropped) => return client.shutdown(Shutdown::Both),
        Some(Fault::Refused(status, code)) => {
            let text = format!("<Error><Code>{code}</Code><Message>on purpose</Message></Error>");
            let length = text.len();
            let head =
                format!("HTTP/1.1 {status} Fault\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            let body = if line.starts_with("HEAD ") { "" } else { &text };
            return client.write_all(format!("{head}{body}").as_bytes());
        }
        Some(Fault::Unanswered | Fault::Cut) | None => {}
    }
    let answer = ask(state.upstream, &passed_on(&head, state.forgets), &body)?;
    drop(state);
    match fault {
        Some(Fault::Unanswered) => client.shutdown(Shutdown::Both),
        Some(Fault::Cut) => {
            client.write_all(&answer[..answer.len() - answer.len() / 4])?;
            client.shutdown(Shutdown::Both)
        }
        _ => client.write_all(&answer),
    }
}

/// Reads a request: its head without the empty line, and its body. None where the client has nothing to say.
fn request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut chunk = [0; 4096];
        match client.read(&mut chunk)? {
            0 => return Ok(None),
            length => read.extend_from_slice(&chunk[..length]),
        }
    };
    let mut body = read.split_off(end + 4);
    read.truncate(end);
    let head = String::from_utf8_lossy(&read).into_owned();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    let begun = body.len();
    body.resize(length.unwrap_or(begun), 0);
    client.read_exact(&mut body[begun..])?;
    Ok(Some((head, body)))
}

/// The head for the server, which is to end the connection after its answer.
fn passed_on(head: &str, forgets: bool) -> String {
    let stays = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        name != "connection" && !(forgets && name == "if-none-match")
    };
    let lines: Vec<_> = head.lines().filter(stays).collect();
    format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"))
}

fn ask(server: SocketAddr, head: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
