//! The terms of TLS: which certificate, version and suite a client gets, as the listener was told.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;

use nix::sys::signal::Signal;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use serde_json::{Value, json};

use crate::harness::{Authority, Backend, Directory, Hipache, Identity, Redis, SOON, run_to_end};
use crate::https::{client, get, keep, listener, secure};

/// Schemes of signatures that an RSA key makes.
const RSA: [SignatureScheme; 6] = [
    SignatureScheme::RSA_PSS_SHA512,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA256,
];

/// What a client can do.
#[derive(Clone, Copy, Debug)]
enum Ability {
    All,
    /// Verifies signatures of RSA keys alone.
    RsaSignatures,
    /// Has no suite of TLS 1.2 but for RSA keys.
    RsaSuites,
}

/// A client with this ability that trusts this authority.
fn able(
    ability: Ability,
    version: &'static SupportedProtocolVersion,
    authority: &Authority,
) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    // As other libraries do: suites are offered only of versions that are spoken.
    let is_spoken = |suite: &SupportedCipherSuite| suite.version() == version;
    provider.cipher_suites.retain(is_spoken);
    match ability {
        Ability::All => {}
        Ability::RsaSignatures => verify_rsa_alone(&mut provider),
        Ability::RsaSuites => provider
            .cipher_suites
            .retain(|suite| !format!("{:?}", suite.suite()).contains("ECDSA")),
    }
    let mut roots = RootCertStore::empty();
    roots.add(der(&authority.pem())).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn verify_rsa_alone(provider: &mut CryptoProvider) {
    let known = provider.signature_verification_algorithms;
    let mapping = known.mapping.iter().copied();
    let mapping: Vec<_> = mapping.filter(|(scheme, _)| RSA.contains(scheme)).collect();
    provider.signature_verification_algorithms = WebPkiSupportedAlgorithms {
        all: known.all,
        mapping: mapping.leak(),
    };
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// The certificate and the suite of a handshake.
fn shake(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    name: &str,
) -> Result<(CertificateDer<'static>, CipherSuite), String> {
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), server).unwrap();
    let mut tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(SOON)).unwrap();
    while session.is_handshaking() {
        session
            .complete_io(&mut tcp)
            .map_err(|error| error.to_string())?;
    }
    let shown = session.peer_certificates().unwrap()[0].clone();
    let suite = session.negotiated_cipher_suite().unwrap().suite();
    Ok((shown, suite))
}

/// An ECDSA and an RSA certificate for a name.
fn both(authority: &Authority, name: &str) -> [Identity; 2] {
    [authority.issue(&[name]), authority.issue_rsa(&[name])]
}

#[test]
fn each_client_is_shown_a_certificate_that_it_can_verify() {
    let (redis, files, authority) = (Redis::start(), Directory::fresh(), Authority::new());
    let default = both(&authority, "default.test");
    let kept = both(&authority, "redis.test");
    keep(&redis, "redis.test", &kept[0]);
    let second = ["certificate2", kept[1].certificate(), "key2", kept[1].key()];
    redis.run(&[&["HSET", "tls:redis.test"][..], &second].concat());
    let more = json!({
        "cert": [files.write("ec.crt", default[0].certificate()), files.write("rsa.crt", default[1].certificate())],
        "key": [files.write("ec.key", default[0].key()), files.write("rsa.key", default[1].key())],
    });
    let mut keys = listener(&files, &default[0], &more);
    let unequal = json!({ "address": "127.0.0.2", "ciphers": "aRSA" });
    keys["https"]["bind"] = json!(["::1", unequal]);
    let hipache = Hipache::with(&redis, &keys);
    let [equal, unequal] = ["::1", "127.0.0.2"].map(|ip| at(&hipache, ip));
    let table = [
        (equal, &TLS12, Ability::All, 0),
        (equal, &TLS13, Ability::All, 0),
        (equal, &TLS12, Ability::RsaSignatures, 1),
        (equal, &TLS13, Ability::RsaSignatures, 1),
        (equal, &TLS12, Ability::RsaSuites, 1),
        // Suites of TLS 1.3 go with every key.
        (equal, &TLS13, Ability::RsaSuites, 0),
        (unequal, &TLS12, Ability::All, 1),
        (unequal, &TLS13, Ability::All, 0),
    ];
    for (address, version, ability, expected) in table {
        let config = able(ability, version, &authority);
        for (name, pair) in [("default.test", &default), ("redis.test", &kept)] {
            let case = format!("{address} {version:?} {ability:?} {name}");
            let (shown, _) = shake(address, &config, name).expect(&case);
            let expected = der(pair[expected].certificate());
            assert!(shown == expected, "{case}: shown the other one");
        }
    }
}

/// The address of the listener with this IP.
fn at(hipache: &Hipache, ip: &str) -> SocketAddr {
    let ip: IpAddr = ip.parse().unwrap();
    let mut addresses = hipache.addresses().iter();
    *addresses.find(|address| address.ip() == ip).expect("bound")
}

/// One proxy with a listener for each of these terms.
fn scene(terms: &[Value]) -> (Redis, Backend, Directory, Authority, Hipache) {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    let mut keys = listener(&files, &authority.issue(&["a.test"]), &json!({}));
    let bind = terms.iter().enumerate().map(|(index, terms)| {
        let mut bind = terms.clone();
        bind["address"] = json!(ip(index));
        bind
    });
    keys["https"]["bind"] = bind.collect();
    let hipache = Hipache::with(&redis, &keys);
    (redis, backend, files, authority, hipache)
}

/// Loopback addresses, one a listener.
fn ip(index: usize) -> String {
    format!("127.0.0.{}", index + 2)
}

#[test]
fn versions_and_suites_are_those_of_the_listener() {
    let [refused, any] = ["refused", "any"];
    // The client prefers AES with 256 bits, then with 128, then ChaCha20.
    let table = [
        (json!({}), "ECDHE_ECDSA_WITH_AES_256", "TLS13_AES_256"),
        (json!({ "tlsPreset": "modern" }), refused, any),
        (json!({ "secureProtocol": "TLSv1_2_method" }), any, refused),
        (json!({ "secureOptions": 0x0800_0000 }), refused, any),
        (
            json!({ "ciphers": "AES128:TLS_CHACHA20_POLY1305_SHA256" }),
            "ECDHE_ECDSA_WITH_AES_128",
            "TLS13_CHACHA20",
        ),
        (
            json!({ "ciphers": "CHACHA20:AES" }),
            "ECDHE_ECDSA_WITH_AES_256",
            any,
        ),
        (
            json!({ "ciphers": "CHACHA20:AES", "honorCipherOrder": true }),
            "ECDHE_ECDSA_WITH_CHACHA20",
            any,
        ),
        // No suite of TLS 1.2 goes with the certificate, those of TLS 1.3 do.
        (json!({ "ciphers": "aRSA" }), refused, any),
    ];
    let terms: Vec<_> = table.iter().map(|(terms, _, _)| terms.clone()).collect();
    let (_redis, _backend, _files, authority, hipache) = scene(&terms);
    for (index, (terms, by_12, by_13)) in table.iter().enumerate() {
        for (version, expected) in [(&TLS12, by_12), (&TLS13, by_13)] {
            let config = able(Ability::All, version, &authority);
            let found = shake(at(&hipache, &ip(index)), &config, "a.test");
            let told = format!("{terms} {version:?}: {found:?}");
            match found {
                Ok((_, suite)) if *expected != any => {
                    assert!(format!("{suite:?}").contains(expected), "{told}");
                }
                Ok(_) => {}
                Err(_) => assert_eq!(*expected, refused, "{told}"),
            }
        }
    }
}

#[test]
fn without_tickets_no_session_resumes() {
    let terms = [json!({}), json!({ "secureOptions": 0x4000 })];
    let (_redis, _backend, _files, authority, hipache) = scene(&terms);
    for version in [&TLS12, &TLS13] {
        for (index, expected) in [HandshakeKind::Resumed, HandshakeKind::Full]
            .into_iter()
            .enumerate()
        {
            let config = client(&authority, &[version]);
            let address = at(&hipache, &ip(index));
            get(address, &config, "a.test", "/").unwrap();
            let (_, kind) = get(address, &config, "a.test", "/").unwrap();
            assert_eq!(kind, expected, "{version:?}");
        }
    }
}

#[test]
fn what_cannot_be_honoured_is_told_once_at_start_reload_and_dry_run() {
    let (redis, files, authority) = (Redis::start(), Directory::fresh(), Authority::new());
    let old = json!({ "ciphers": "AES128-GCM-SHA256:RC4:HIGH:!MD5:!aNULL", "secureOptions": 0x0004_0000 });
    let mut keys = listener(&files, &authority.issue(&["a.test"]), &old);
    keys["https"]["bind"] = json!(["::1", "127.0.0.2", { "address": "127.0.0.3" }]);
    let mut hipache = Hipache::with(&redis, &keys);
    let told = [
        "https.ciphers: AES128-GCM-SHA256, RC4: no suite that is spoken here, left out",
        "https.secureOptions: SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION: not supported, left out",
    ];
    let config = client(&authority, &[&TLS12]);
    get(secure(&hipache), &config, "a.test", "/").unwrap();
    hipache.reload(&json!({}));
    for text in told {
        assert_eq!(hipache.count_stderr(text), 2, "once each time: {text}");
    }
    let arguments = ["--dry", "-c", "config.json"];
    let directory = hipache.directory().path();
    let output = run_to_end(directory, &arguments, &[]);
    assert!(output.status.success());
    let warned = crate::harness::text(&output.stderr);
    for text in told {
        assert_eq!(warned.matches(text).count(), 1, "{text}: {warned}");
    }
    let shown = crate::harness::text(&output.stdout);
    assert!(shown.contains("ECDHE-RSA-AES256-GCM-SHA384"), "{shown}");
    // Terms that leave nothing change nothing.
    hipache.configure(&json!({ "https": { "secureProtocol": "TLSv1_method" } }));
    hipache.signal(Signal::SIGHUP);
    hipache.wait_for_stderr("https.secureProtocol: TLSv1_method asks for a version", 1);
    get(secure(&hipache), &config, "a.test", "/").unwrap();
}
