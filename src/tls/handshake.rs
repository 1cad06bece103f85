//! One handshake with a client, within its limit, and what came of it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::server::Acceptor;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use super::Vhosts;
use super::failure::HandshakeError;
use super::termination::Termination;
use crate::config::Suite;
use crate::deadline::{after, before};
use crate::listener::TlsFacts;
use crate::telemetry::names::{SHOWN_DEFAULT, SHOWN_NONE, SHOWN_OWN};
use crate::transport::{Tcp, Transport};

impl Termination {
    /// Shakes hands with a client that was just accepted.
    ///
    /// # Errors
    ///
    /// Nothing of HTTP was read or sent in any of them.
    pub(crate) async fn shake_hands(
        &self,
        tcp: TcpStream,
        vhosts: &Vhosts,
    ) -> Result<(Transport, TlsFacts), HandshakeError> {
        let began = Instant::now();
        let hands = self.shake_hands_since(began, tcp, vhosts);
        let shaken = before(after(began, self.limit), hands).await;
        shaken.unwrap_or(Err(HandshakeError::TimedOut))
    }

    /// The same without a limit.
    async fn shake_hands_since(
        &self,
        began: Instant,
        tcp: TcpStream,
        vhosts: &Vhosts,
    ) -> Result<(Transport, TlsFacts), HandshakeError> {
        let mut first = [0];
        let is_there = tcp.peek(&mut first).await? == 1;
        if is_there && first[0].is_ascii_uppercase() {
            // No record of TLS begins with a letter (RFC 8446 §5.1), and every method of HTTP does.
            return Err(HandshakeError::PlainHttp(tcp));
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), Tcp::from(tcp)).await?;
        // RFC 6066 §3: without a trailing dot; some send it all the same.
        let name = start
            .client_hello()
            .server_name()
            .map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        let found = match &name {
            Some(name) => vhosts.find(name).await,
            None => None,
        };
        let certificate = match (&name, &found) {
            (None, _) => SHOWN_NONE,
            (Some(_), None) => SHOWN_DEFAULT,
            (Some(_), Some(_)) => SHOWN_OWN,
        };
        let config = match found {
            Some(chosen) => {
                let mut config = ServerConfig::clone(&self.default);
                config.cert_resolver = chosen.within(self.default.crypto_provider());
                Arc::new(config)
            }
            None if self.is_strict => return Err(HandshakeError::UnknownName),
            None => Arc::clone(&self.default),
        };
        let stream = start.into_stream(config).await?;
        let facts = TlsFacts {
            certificate,
            name: name.map(Rc::from),
            is_strict: self.is_strict,
            ..facts_of(stream.get_ref().1, began.elapsed())
        };
        Ok((Transport::tls(stream), facts))
    }
}

/// What the session itself knows.
fn facts_of(connection: &ServerConnection, took: Duration) -> TlsFacts {
    TlsFacts {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2",
            _ => "1.3",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .and_then(|suite| Suite::of(suite.suite().into()))
            .map_or("-", |suite| suite.iana),
        certificate: SHOWN_NONE,
        name: None,
        is_strict: false,
        is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        is_http2: connection.alpn_protocol() == Some(b"h2"),
        took,
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES;

    use super::*;
    use crate::telemetry::names::CIPHERS;

    #[test]
    fn every_suite_that_can_be_agreed_on_has_a_name_that_is_counted() {
        for suite in ALL_CIPHER_SUITES {
            let known = Suite::of(suite.suite().into()).map(|suite| suite.iana);
            assert!(
                known.is_some_and(|name| CIPHERS.contains(&name)),
                "{suite:?}"
            );
        }
    }
}
