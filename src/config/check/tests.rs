//! Tests of `config::check`.

use std::path::PathBuf;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::*;
use crate::config::quick::quick;
use crate::config::{Driver, HttpsBind, Pair, Secret, TlsTerms};

/// A directory of this test's own, removed at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("hipache-check-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What is found in a sound configuration after this change.
fn found(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = quick(Vec::new(), Vec::new(), &mut Findings::default());
    change(&mut config);
    let mut findings = Findings::default();
    check(&config, &mut findings);
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn access_log_must_be_writable_and_is_not_created() {
    let directory = Directory::new("log");
    let there = directory.file("there.log", "");
    let absent = directory.0.join("absent.log");
    let table = [
        (there, None),
        (absent.clone(), None),
        ("just-a-name.log".into(), None),
        (directory.0.clone(), Some("a directory, expected a file")),
        (
            directory.0.join("no/such.log"),
            Some("no: not writable: No such file or directory"),
        ),
    ];
    for (path, expected) in table {
        let found =
            found(|config| config.server.access_logs[0].target = Target::File(path.clone()));
        match expected {
            None => assert_eq!(found, [""; 0], "{path:?}"),
            Some(end) => {
                assert!(
                    found[0].starts_with("server.accessLog: ") && found[0].ends_with(end),
                    "{found:?}"
                );
            }
        }
    }
    assert!(!absent.exists());
}

#[test]
fn static_directory_and_routes_must_be_there() {
    let directory = Directory::new("files");
    assert_eq!(
        found(|config| config.server.static_dir = Some(directory.0.clone())),
        [""; 0]
    );
    let missing = found(|config| config.server.static_dir = Some(directory.0.join("x")));
    assert!(
        missing[0].starts_with("server.staticDir: ") && missing[0].ends_with("no such directory")
    );
    let table = [
        ("{\"a\": []}", None),
        ("[]", Some("no JSON object of hosts and backends")),
        (
            "{",
            Some("no JSON: EOF while parsing an object at line 1 column 1"),
        ),
    ];
    for (text, expected) in table {
        let path = directory.file("routes.json", text);
        let found = found(|config| config.driver = Driver::File(path.clone()));
        let expected = expected.map(|expected| format!("driver: {}: {expected}", path.display()));
        assert_eq!(found, Vec::from_iter(expected), "{text}");
    }
    let missing = found(|config| config.driver = Driver::File("/no/such.json".into()));
    assert_eq!(
        missing,
        ["driver: /no/such.json: No such file or directory (os error 2)"]
    );
}

/// A listener with these files.
fn listener(cert: &Path, key: &Path) -> HttpsBind {
    HttpsBind {
        proxy_protocol: false,
        address: ([127, 0, 0, 1], 443).into(),
        pairs: vec![Pair {
            cert: cert.to_owned(),
            key: key.to_owned(),
            passphrase: None,
        }],
        ca: Vec::new(),
        request_cert: false,
        strict_sni: false,
        terms: TlsTerms::default(),
    }
}

fn self_signed(directory: &Directory, name: &str) -> (PathBuf, PathBuf) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = directory.file(&format!("{name}.key"), &signing_key.serialize_pem());
    (directory.file(&format!("{name}.crt"), &cert.pem()), key)
}

/// A PEM section of this kind with nothing sensible inside.
fn pem(kind: &str) -> String {
    format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")
}

#[test]
fn certificate_and_key_must_be_sound_and_match() {
    let directory = Directory::new("tls");
    let (cert, key) = self_signed(&directory, "a.test");
    let (_, other) = self_signed(&directory, "b.test");
    let garbage = directory.file("garbage", "no pem");
    let cut = directory.file("cut", "-----BEGIN CERTIFICATE-----\nAAAA\n");
    let broken = directory.file("broken", &pem("CERTIFICATE"));
    let none = PathBuf::from("/no/such.pem");
    let table = [
        (&cert, &key, ""),
        (&cert, &other, "https.key: not the key of the certificate"),
        (&cert, &garbage, "https.key: no PEM private key inside"),
        (&cert, &none, "https.key: No such file or directory"),
        (&garbage, &key, "https.cert: no PEM certificate inside"),
        (&cut, &key, "https.cert: PEM without its END line"),
        (
            &broken,
            &key,
            "https.cert: a broken certificate: invalid peer certificate: BadEncoding",
        ),
        (&none, &key, "https.cert: No such file or directory"),
    ];
    for (cert, key, expected) in table {
        let found = found(|config| config.https.push(listener(cert, key))).join("; ");
        let paths = [cert, key].map(|path| format!("{}: ", path.display()));
        let bare = paths
            .iter()
            .fold(found, |text, path| text.replace(path, ""));
        assert!(bare.starts_with(expected), "{bare} / {expected}");
        assert_eq!(bare.is_empty(), expected.is_empty(), "{bare}");
    }
    let with_ca = HttpsBind {
        ca: vec![garbage],
        ..listener(&cert, &key)
    };
    assert_eq!(found(|config| config.https.push(with_ca)).len(), 1);
}

#[test]
fn encrypted_key_needs_a_passphrase() {
    let directory = Directory::new("sealed");
    let fixture = |name: &str| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/credentials/fixtures");
        directory.file(name, &std::fs::read_to_string(fixtures.join(name)).unwrap())
    };
    let cert = fixture("ec.crt");
    for name in ["pkcs8-pbkdf2.key", "legacy-aes256.key"] {
        let key = fixture(name);
        for (passphrase, expected) in [
            (None, "encrypted, a passphrase is needed"),
            (
                Some("hush"),
                "encrypted, and the passphrase does not open it",
            ),
            (Some("secret"), ""),
        ] {
            let passphrase = passphrase.map(|text| Secret(text.to_owned()));
            let found = found(|config| {
                let mut bind = listener(&cert, &key);
                bind.pairs[0].passphrase = passphrase;
                config.https.push(bind);
            });
            let text = format!("https.passphrase: {}: {expected}", key.display());
            let expected = Vec::from_iter((!expected.is_empty()).then_some(text));
            assert_eq!(found, expected, "{name}");
        }
    }
}
