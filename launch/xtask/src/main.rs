//! Provisioning, quickstart and the test gate.

fn main() {}
