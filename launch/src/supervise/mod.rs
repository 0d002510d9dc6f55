//! A coordinator and its workers on this machine: started, watched, respawned, stopped.

mod policy;
mod seat;
