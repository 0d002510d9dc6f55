//! A hub on this machine: listings, files with their etags, and large files that lie with another server.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use sha2::{Digest, Sha256};

/// Every branch stands here.
pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What goes wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// Every answer has this status and error code.
    Status(u16, &'static str),
    /// Only who has this token is answered.
    Gated(&'static str),
    /// Listings say this.
    Listing(&'static str),
    /// Every answer leads there.
    Redirect(&'static str),
    /// Large files are cut after so many bytes of each answer.
    BreakOff { after: usize },
    /// Large files have other bytes.
    OtherBytes,
    /// Large files have more bytes.
    MoreBytes,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) token: Option<String>,
    pub(crate) range: Option<String>,
    /// Whether it came to the store of large files.
    pub(crate) elsewhere: bool,
}

#[derive(Default)]
struct State {
    /// Bytes, and whether the file is large, by repository and name.
    files: BTreeMap<(String, String), (Vec<u8>, bool)>,
    trouble: Trouble,
    requests: Vec<Request>,
}

/// The hub.
pub(crate) struct Hub {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Hub {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let [hub, store] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = format!("http://{}", hub.local_addr().unwrap());
        let elsewhere = format!("http://{}", store.local_addr().unwrap());
        for (listener, is_store) in [(hub, false), (store, true)] {
            let (state, store) = (state.clone(), elsewhere.clone());
            thread::spawn(move || {
                for stream in listener.incoming() {
                    // Who hangs up early is no concern of the server.
                    let _ = stream.and_then(|stream| answer(stream, &state, &store, is_store));
                }
            });
        }
        Self { address, state }
    }

    pub(crate) fn put(&self, repository: &str, name: &str, bytes: &[u8], large: bool) {
        let key = (repository.to_owned(), name.to_owned());
        self.state.lock().unwrap().files.insert(key, (bytes.to_owned(), large));
    }

    pub(crate) fn remove(&self, repository: &str, name: &str) {
        self.state.lock().unwrap().files.remove(&(repository.to_owned(), name.to_owned())).unwrap();
    }

    pub(crate) fn trouble(&self, trouble: Trouble) {
        self.state.lock().unwrap().trouble = trouble;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// Reads one request from a connection, and answers it.
fn answer(stream: TcpStream, state: &Mutex<State>, store: &str, elsewhere: bool) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers: BTreeMap<String, String> = lines
        .map_while(Result::ok)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            Some(line.split_once(": ")?).map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        })
        .collect();
    let header = |name: &str| headers.get(name).cloned();
    let request = Request { path, token: header("authorization"), range: header("range"), elsewhere };
    let mut state = state.lock().unwrap();
    state.requests.push(request.clone());
    write(stream, &respond(&state, &request, store))
}

struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    /// What the length says.
    body: Vec<u8>,
    /// How much of it comes.
    sent: usize,
}

fn response(status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8>) -> Response {
    let sent = body.len();
    Response { status, headers, body, sent }
}

fn write(mut stream: TcpStream, response: &Response) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} .\r\n", response.status);
    head += &format!("content-length: {}\r\nconnection: close\r\n", response.body.len());
    for (name, value) in &response.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    stream.write_all(&response.body[..response.sent])
}

fn respond(state: &State, request: &Request, store: &str) -> Response {
    match &state.trouble {
        Trouble::Status(status, code) => {
            return response(*status, vec![("x-error-code", (*code).to_owned())], Vec::new());
        }
        Trouble::Gated(token)
            if !request.elsewhere && request.token.as_deref() != Some(&format!("Bearer {token}")) =>
        {
            return response(401, vec![("x-error-code", "GatedRepo".to_owned())], Vec::new());
        }
        Trouble::Redirect(to) => return response(302, vec![("location", (*to).to_owned())], Vec::new()),
        _ => {}
    }
    if let Some(rest) = request.path.strip_prefix("/api/") {
        let repository = rest.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
        let text = match state.trouble {
            Trouble::Listing(text) => text.to_owned(),
            _ => listing(state, &repository),
        };
        return response(200, Vec::new(), text.into_bytes());
    }
    let path = request.path.trim_start_matches("/datasets").trim_start_matches('/');
    let Some((repository, name)) = path.split_once(&format!("/resolve/{COMMIT}/")) else {
        return response(404, Vec::new(), Vec::new());
    };
    match state.files.get(&(repository.to_owned(), name.to_owned())) {
        None => response(404, vec![("x-error-code", "EntryNotFound".to_owned())], Vec::new()),
        Some((bytes, true)) if request.elsewhere => large(state, request, bytes),
        Some((bytes, true)) => {
            let headers = vec![
                ("location", format!("{store}{}", request.path)),
                ("x-linked-etag", quoted(&sha256(bytes))),
            ];
            response(302, headers, Vec::new())
        }
        Some((bytes, false)) => response(200, vec![("etag", quoted(&blob_id(bytes)))], bytes.clone()),
    }
}

/// A file of the store, or the part of it that is asked for. Its own etag means nothing to the hub.
fn large(state: &State, request: &Request, bytes: &[u8]) -> Response {
    let mut bytes = bytes.to_owned();
    match state.trouble {
        Trouble::OtherBytes => bytes[0] ^= 1,
        Trouble::MoreBytes => bytes.push(0),
        _ => {}
    }
    let range = request.range.as_ref().map(|range| range.trim_start_matches("bytes=").trim_end_matches('-'));
    let mut response = match range.map(|start| start.parse::<usize>().unwrap()) {
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            response(206, vec![("content-range", range)], bytes.split_off(start))
        }
        None => response(200, vec![("etag", quoted("another"))], bytes),
    };
    if let Trouble::BreakOff { after } = state.trouble {
        response.sent = response.sent.min(after);
    }
    response
}

fn listing(state: &State, repository: &str) -> String {
    let files = state.files.iter().filter(|((of, _), _)| of == repository);
    let entries: Vec<_> = files
        .map(|((_, name), (bytes, large))| {
            let mut entry =
                serde_json::json!({"rfilename": name, "size": bytes.len(), "blobId": blob_id(bytes)});
            if *large {
                entry["lfs"] =
                    serde_json::json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 1});
            }
            entry
        })
        .collect();
    serde_json::json!({"sha": COMMIT, "siblings": entries}).to_string()
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Git takes SHA-1 of the content; any 40 digits that follow from it serve here.
fn blob_id(bytes: &[u8]) -> String {
    sha256(bytes)[..40].to_owned()
}
