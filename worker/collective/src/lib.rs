//! One trait for collective communication, and what stands behind it.
