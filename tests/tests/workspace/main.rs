//! What holds of the workspace as a whole: who may depend on whom, and how files are kept.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod dependencies;
mod gpu;
mod tidy;
