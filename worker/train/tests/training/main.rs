//! Training over a gang against training alone, and what happens when it goes wrong.

mod failures;
mod inference;
mod parity;
mod support;
