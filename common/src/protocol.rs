//! The messages of `proto/fulcrum.proto`, and what both ends agree on.

#![allow(missing_docs, clippy::all)]

tonic::include_proto!("fulcrum.v1");

/// Version of the messages. Coordinator and workers of another version refuse each other.
pub const PROTOCOL_VERSION: u32 = 1;

/// How often a worker says that it lives.
pub const HEARTBEAT_MS: u32 = 200;

/// A worker not heard of for so long is lost.
pub const LEASE_MS: u32 = 2_000;

/// Largest message either end accepts, in bytes.
pub const MESSAGE_LIMIT: usize = 16 << 20;
