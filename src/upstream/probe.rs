//! A look at the socket of an idle connection.

use std::io;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Fails unless the kernel has nothing to read: neither bytes nor the end of the stream.
///
/// Looks at TCP below TLS, too: what a backend says unasked is nearly always its good-bye.
pub(super) fn probe(tcp: &TcpStream) -> io::Result<()> {
    let mut byte = [MaybeUninit::uninit()];
    // The socket is not blocking, so neither is this.
    match SockRef::from(tcp).peek(&mut byte) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "bytes on an idle connection, expected none",
        )),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
