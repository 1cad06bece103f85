//! One stream of HTTP/2, whichever end of it is ours: a body that comes in, one that goes out, and the
//! byte pipe after an extended CONNECT.
//!
//! What is received is taken piece by piece, and each piece that is taken makes room for a further
//! one, so the pace of whoever takes it is that of the sender. What is sent is handed over only as far
//! as the other end has room for it: it is known how much went out, and since when nothing did.

mod body;
mod pump;
mod tunnel;

pub(crate) use body::StreamBody;
pub(crate) use pump::{Pump, PumpError};
pub(crate) use tunnel::StreamIo;
