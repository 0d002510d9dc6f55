//! The training step and the inference pass.
