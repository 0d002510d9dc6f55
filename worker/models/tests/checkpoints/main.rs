//! Checkpoints as transformers writes them: the same numbers come out, and broken ones are refused by name.

mod parity;
mod rebuilding;
mod refusals;
mod support;
