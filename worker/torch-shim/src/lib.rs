//! The parts of libtorch that tch lacks: gradient hooks, fused AdamW, Gloo.
