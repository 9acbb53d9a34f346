//! Floating point.
