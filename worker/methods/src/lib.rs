//! Objectives and measures: what the published methods add to the common machinery.
