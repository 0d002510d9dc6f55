//! The page, and what it and others read.

use std::{convert::Infallible, sync::Arc};

use anyhow::Result;
use axum::{
    Router,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{
        Html, IntoResponse, Json, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
};
use futures::stream::{self, Stream};
use tokio::{net::TcpListener, sync::watch::Receiver};

use super::{Sight, metrics::metrics, tail};
use crate::run_folder::RunFolder;

/// The page: one file that reads nothing from elsewhere.
const PAGE: &str = include_str!("page.html");

/// A dashboard of Grafana over the metrics.
const DASHBOARD: &str = include_str!("grafana.json");

/// What every request reads.
#[derive(Clone, Debug)]
pub(super) struct Shared(Arc<Run>);

#[derive(Debug)]
struct Run {
    folder: RunFolder,
    edges: Vec<Vec<usize>>,
    sees: Receiver<Sight>,
}

impl Shared {
    pub(super) fn new(folder: RunFolder, edges: Vec<Vec<usize>>, sees: Receiver<Sight>) -> Self {
        Self(Arc::new(Run { folder, edges, sees }))
    }
}

/// Answers until this process ends.
///
/// # Errors
/// If the socket fails.
pub(super) async fn serve(listener: TcpListener, shared: Shared) -> Result<()> {
    let routes = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/edges", get(async |State(shared): State<Shared>| Json(shared.0.edges.clone())))
        .route("/status", get(async |State(shared): State<Shared>| Json(shared.0.sees.borrow().clone())))
        .route("/events", get(events))
        .route("/metrics", get(prometheus))
        .route("/grafana.json", get(async || ([(header::CONTENT_TYPE, "application/json")], DASHBOARD)))
        .route("/logs/{who}", get(log))
        .layer(middleware::from_fn(of_this_machine))
        .with_state(shared);
    Ok(axum::serve(listener, routes).await?)
}

/// Only this machine is meant, also where a page of elsewhere has given its own name this machine's address.
async fn of_this_machine(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    match name {
        "127.0.0.1" | "localhost" | "[::1]" => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "this page is for the machine that it runs on\n").into_response(),
    }
}

async fn events(State(shared): State<Shared>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut sees = shared.0.sees.clone();
    sees.mark_changed();
    let told = stream::unfold(sees, async |mut sees| {
        sees.changed().await.ok()?;
        let event = Event::default().json_data(&*sees.borrow_and_update()).unwrap_or_default();
        Some((Ok(event), sees))
    });
    Sse::new(told).keep_alive(KeepAlive::default())
}

async fn prometheus(State(shared): State<Shared>) -> impl IntoResponse {
    let mut headers = HeaderMap::new();
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, kind);
    (headers, metrics(&shared.0.sees.borrow()))
}

/// The end of the log of the coordinator or a worker that the run knows.
async fn log(State(shared): State<Shared>, Path(who): Path<String>) -> Response {
    let is_known = {
        let sight = shared.0.sees.borrow();
        who == "coordinator" || sight.status.workers.iter().any(|worker| worker.worker == who)
    };
    match is_known.then(|| tail(&shared.0.folder, &who).ok()).flatten() {
        Some(text) => text.into_response(),
        None => (StatusCode::NOT_FOUND, "no such log\n").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn panels() -> Vec<Value> {
        let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
        dashboard["panels"].as_array().unwrap().clone()
    }

    /// The words in a text that could be names of metrics.
    fn named(text: &str) -> BTreeSet<String> {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words.filter(|word| word.starts_with("fulcrum_")).map(str::to_owned).collect()
    }

    #[test]
    fn the_dashboard_asks_for_the_metrics_that_there_are_and_for_all_of_them() {
        let page = metrics(&Sight::default());
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let written = types.map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(named(DASHBOARD), written);
        for panel in panels() {
            assert!(!named(&panel["targets"].to_string()).is_empty(), "{} shows nothing", panel["title"]);
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{}", panel["title"]);
        }
    }

    #[test]
    fn no_panel_of_the_dashboard_lies_on_another() {
        let panels = panels();
        let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), panels.len(), "an id comes twice");
        let mut taken = BTreeSet::new();
        for panel in &panels {
            let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
            assert!(x + w <= 24, "{} is wider than the grid", panel["title"]);
            for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
                assert!(taken.insert(cell), "{} lies on another at {cell:?}", panel["title"]);
            }
        }
    }
}
