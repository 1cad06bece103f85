//! Closing a listening socket for good without resetting anybody.
//!
//! A close resets what stands in the accept queue, and what finishes its handshake later. Emptying
//! the queue first does not help alone: between the last `accept` (EAGAIN) and `close` another
//! client may finish its handshake, believe itself connected, and be reset: under load one always
//! does. So the inflow is stopped first, where a client notices nothing: a filter on the socket
//! drops the first segment of a handshake, its SYN. The client repeats it after a second, and is
//! refused by then, or served by a successor. Handshakes already answered go on, because their
//! segments pass the filter, and are accepted. Then the queue stays empty, and may be closed.
//!
//! The filter belongs to the socket, which all processes share, so the master (or, when it is
//! gone, any worker) does this for all. An accepted connection inherits it and loses nothing: no
//! segment of an established connection has SYN set without ACK.

use std::io;
use std::net::TcpListener;

use socket2::{SockFilter, SockRef};

use crate::sys;

/// Instructions of classic BPF, from `linux/bpf_common.h`: load a byte at a fixed offset; and with
/// a constant; jump if equal to a constant; return a constant.
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// The flags of a segment, counted from the start of the TCP header (RFC 9293 §3.1). For a TCP
/// socket the kernel runs the filter when the network header has been taken off, so the offset is
/// the same for IPv4, with or without options, and IPv6, with or without extension headers.
const FLAGS_OFFSET: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// Drops SYN without ACK, keeps all others whole.
const FILTER: [SockFilter; 5] = [
    SockFilter::new(LOAD_BYTE, 0, 0, FLAGS_OFFSET),
    SockFilter::new(AND, 0, 0, SYN | ACK),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];

pub(super) fn refuse_newcomers(socket: &TcpListener) -> io::Result<()> {
    SockRef::from(socket).attach_filter(&FILTER)
}

/// The filter is the only one that is ever attached. Where the kernel does not tell, emptying the
/// queue for nothing does no harm.
pub(super) fn refuses_newcomers(socket: &TcpListener) -> bool {
    sys::has_filter(socket).unwrap_or(true)
}
