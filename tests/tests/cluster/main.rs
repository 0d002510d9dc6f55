//! Runs over the engines that clusters have, set up by the tests on this machine: Slurm with three virtual nodes, sshd.
//!
//! They need Debian's slurm-wlm, munge, openssh-client and openssh-server, and root. FULCRUM_NO_CLUSTER=1 leaves them out,
//! and each says so.

#![allow(clippy::unwrap_used, reason = "a panic is the failure message, in the helpers of tests too")]

mod daemon;
mod hosts;
mod k8s;
mod namespaces;
mod network;
mod slurm;
