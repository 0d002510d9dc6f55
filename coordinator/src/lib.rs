//! The pure state machine, its journal and its network face.
