//! One serving process: runtime, wiring, drain, exit status.
