//! Where finished exchanges go.

use std::cell::Cell;
use std::rc::Rc;

use crate::scoreboard::Seat;
use crate::telemetry::{AccessLog, Metrics, Tracer};

/// Where finished exchanges go.
pub(crate) struct Sinks {
    /// The access log of this worker.
    pub(crate) access_log: Rc<AccessLog>,
    /// The metrics of this worker.
    pub(crate) metrics: Metrics,
    /// The traces of this worker.
    pub(crate) tracer: Rc<Tracer>,
    /// The counters of this worker.
    pub(crate) seat: Seat,
    /// The worker ends now: what is still in flight was cut by us.
    pub(crate) is_ending: Cell<bool>,
}
