//! The worker process: takes stages and shards from the coordinator and runs them.

fn main() {}
