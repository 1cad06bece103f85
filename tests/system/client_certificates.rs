//! Certificates of clients: who has one of the right authority is served, and who has none; all others
//! are refused in the handshake, told why, and counted.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use serde_json::json;

use crate::harness::{Authority, Backend, Directory, Hipache, Identity, Redis};
use crate::https::{get, listener, secure};

/// A client that trusts this authority and shows this certificate.
fn client(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    shown: Option<&Identity>,
) -> Arc<ClientConfig> {
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(der(&authority.pem())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => builder.with_no_client_auth(),
        Some(shown) => {
            let key = PrivateKeyDer::from_pem_slice(shown.key().as_bytes()).unwrap();
            let chain = vec![der(shown.certificate())];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    Arc::new(config)
}

#[test]
fn only_certificates_of_the_authority_and_of_today_are_accepted() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority, vouching) = (Directory::fresh(), Authority::new(), Authority::new());
    redis.route("a.test", &[&backend.url()]);
    let more = json!({ "requestCert": true, "ca": files.write("ca.crt", vouching.pem()) });
    let keys = listener(&files, &authority.issue(&["a.test"]), &more);
    let mut hipache = Hipache::builder()
        .redis(&redis)
        .set(&keys)
        .set(&json!({ "server": { "debug": true }, "admin": { "bind": "127.0.0.1", "port": 0 } }))
        .start();
    let valid = vouching.issue(&["client"]);
    let foreign = Authority::new().issue(&["client"]);
    let expired = vouching.issue_expired(&["client"]);
    // What the client is told, and what the log tells.
    let table = [
        (Some(&valid), None),
        (None, None),
        (Some(&foreign), Some(("UnknownCA", "UnknownIssuer"))),
        (Some(&expired), Some(("CertificateExpired", "expired"))),
    ];
    let address = secure(&hipache);
    let (mut served, mut refused) = (0, 0);
    for (shown, expected) in table {
        for version in [&TLS12, &TLS13] {
            let config = client(&authority, version, shown);
            let found = get(address, &config, "a.test", "/x");
            match expected {
                None => {
                    assert!(found.unwrap().0.starts_with("HTTP/1.1 200 "));
                    served += 1;
                    let line = hipache.log().next();
                    assert_eq!(
                        (line.request.as_str(), line.status),
                        ("GET /x HTTP/1.1", 200)
                    );
                }
                Some((alert, cause)) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(alert), "{version:?} {alert}: {error}");
                    refused += 1;
                    hipache.wait_for_stderr("no TLS", refused);
                    assert!(hipache.count_stderr(cause) > 0, "{cause}");
                }
            }
        }
    }
    assert_eq!(backend.count(), served);
    let reason = [("error_type", "client_certificate")];
    let failed = hipache
        .scrape()
        .sum("hipache_tls_handshakes_failed_total", &reason);
    assert!(
        (failed - refused as f64).abs() < 0.1,
        "{failed} of {refused}"
    );
}
