//! A look at the socket of an idle connection.

use std::io::ErrorKind;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Whether the kernel has nothing to read: neither bytes nor the end of the stream.
///
/// Looks at TCP below TLS, too: what a backend says unasked is nearly always its good-bye.
pub(super) fn is_silent(tcp: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    // The socket is not blocking, so neither is this.
    let peeked = SockRef::from(tcp).peek(&mut byte);
    peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}
