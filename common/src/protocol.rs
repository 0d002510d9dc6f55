//! The messages of `proto/fulcrum.proto`, and what both ends agree on.

#![allow(missing_docs, clippy::all)]

tonic::include_proto!("fulcrum.v1");

/// Version of the messages. Coordinator and workers of another version refuse each other.
pub const PROTOCOL_VERSION: u32 = 6;

/// How often a worker says that it lives.
pub const HEARTBEAT_MS: u32 = 200;

/// A worker not heard of for so long is lost.
pub const LEASE_MS: u32 = 2_000;

/// Largest message either end accepts, in bytes.
pub const MESSAGE_LIMIT: usize = 16 << 20;

/// The file in a run's folder that tells workers and the command line where the coordinator listens.
/// It is there while the coordinator runs.
pub const CONTACT_FILE: &str = "coordinator.json";

/// What [`CONTACT_FILE`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Contact {
    /// Where the coordinator listens.
    pub address: std::net::SocketAddr,
    /// Its process.
    pub pid: u32,
}

impl Contact {
    /// Reads the contact file of a run's folder.
    ///
    /// # Errors
    /// If there is none: no coordinator runs there.
    pub fn read(folder: &std::path::Path) -> std::io::Result<Self> {
        let text = std::fs::read(folder.join(CONTACT_FILE))?;
        serde_json::from_slice(&text).map_err(std::io::Error::from)
    }
}
