//! Interrupt controllers and clocks.
