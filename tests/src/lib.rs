//! End-to-end tests through the real binaries, and the invariants of the workspace.
