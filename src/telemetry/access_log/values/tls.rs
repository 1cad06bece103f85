//! What the client's TLS prints.

use super::Source;
use crate::config::Variable;

impl Source<'_> {
    /// Values of the client's TLS, as nginx prints them.
    pub(super) fn of_tls(&self, out: &mut Vec<u8>, variable: &Variable) -> bool {
        if *variable == Variable::Scheme {
            let is_https = self.record.tls.is_some();
            out.extend_from_slice(if is_https { b"https" } else { b"http" });
            return true;
        }
        let Some(tls) = self.record.tls else {
            return false;
        };
        match variable {
            Variable::SslCipher => out.extend_from_slice(tls.cipher.as_bytes()),
            Variable::SslProtocol => {
                out.extend_from_slice(b"TLSv");
                out.extend_from_slice(tls.version.as_bytes());
            }
            Variable::SslServerName => return self.text(out, tls.name),
            Variable::SslSessionReused => {
                out.extend_from_slice(if tls.is_resumed { b"r" } else { b"." })
            }
            _ => return false,
        }
        true
    }
}
