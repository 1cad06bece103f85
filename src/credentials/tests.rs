//! Credentials from the forms that OpenSSL writes, and from what is none.

use super::*;

const CHAIN: &[u8] = include_bytes!("fixtures/ec.crt");
const KEY: &[u8] = include_bytes!("fixtures/ec.key");
const AES: &[u8] = include_bytes!("fixtures/legacy-aes256.key");
const DES: &[u8] = include_bytes!("fixtures/legacy-des3.key");
const PBKDF2: &[u8] = include_bytes!("fixtures/pkcs8-pbkdf2.key");
const SCRYPT: &[u8] = include_bytes!("fixtures/pkcs8-scrypt.key");
const PBES1: &[u8] = include_bytes!("fixtures/pkcs8-pbe1.key");

fn refused(chain: &[u8], key: &[u8], passphrase: Option<&str>) -> String {
    Credentials::parse(chain, key, passphrase)
        .unwrap_err()
        .to_string()
}

#[test]
fn every_form_of_a_key_opens_with_its_passphrase() {
    for (form, key) in [
        ("plain", KEY),
        ("AES", AES),
        ("DES", DES),
        ("PBKDF2", PBKDF2),
        ("scrypt", SCRYPT),
    ] {
        let read = Credentials::parse(CHAIN, key, Some("secret"));
        assert!(read.is_ok(), "{form}: {read:?}");
    }
}

#[test]
fn an_encrypted_key_says_what_it_lacks() {
    for key in [AES, DES, PBKDF2, SCRYPT] {
        let without = refused(CHAIN, key, None);
        assert_eq!(without, "encrypted, a passphrase is needed");
        let wrong = refused(CHAIN, key, Some("wrong"));
        assert_eq!(wrong, "encrypted, and the passphrase does not open it");
    }
    let weak = refused(CHAIN, PBES1, Some("secret"));
    assert!(weak.ends_with("which is not supported"), "{weak}");
}

#[test]
fn what_is_no_key_material_gives_one_clear_error() {
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let cut = &CHAIN[..CHAIN.len() - 40];
    let scrambled = String::from_utf8_lossy(CHAIN).replace("MII", "MIJ");
    let cases: [(&str, &[u8], &[u8], &str); 8] = [
        ("nothing", b"", KEY, "no PEM certificate inside"),
        ("text", b"hello", KEY, "no PEM certificate inside"),
        ("a key", KEY, KEY, "no PEM certificate inside"),
        ("cut", cut, KEY, "PEM without its END line"),
        (
            "binary",
            &[0x30, 0x82, 0xff, 0x00],
            KEY,
            "no PEM certificate inside",
        ),
        ("no key", CHAIN, b"", "no PEM private key inside"),
        ("a certificate", CHAIN, CHAIN, "no PEM private key inside"),
        (
            "another's",
            CHAIN,
            other.as_bytes(),
            "the private key is not that of the certificate",
        ),
    ];
    for (case, chain, key, expected) in cases {
        assert_eq!(refused(chain, key, None), expected, "{case}");
    }
    let broken = refused(scrambled.as_bytes(), KEY, None);
    assert!(broken.starts_with("a broken certificate: "), "{broken}");
}

#[test]
fn names_and_time_are_those_of_the_certificate() {
    let read = Credentials::parse(CHAIN, KEY, None).unwrap();
    for (name, expected) in [
        ("a.test", true),
        ("A.TEST", true),
        ("x.b.test", true),
        ("y.x.b.test", false),
        ("b.test", false),
        ("127.0.0.1", true),
        ("c.test", false),
    ] {
        assert_eq!(read.covers(name), expected, "{name}");
    }
    let day = Duration::from_secs(24 * 3600);
    let cases = [
        (read.expires - day, None),
        (read.begins + day, None),
        (
            read.expires + 5 * day,
            Some("the certificate expired 5 days ago"),
        ),
        (
            read.expires + day,
            Some("the certificate expired 24 hours ago"),
        ),
        (
            read.begins - 3 * day,
            Some("the certificate is not valid before 3 days from now"),
        ),
    ];
    for (now, expected) in cases {
        let told = read.untimely(now).map(|untimely| untimely.to_string());
        assert_eq!(told.as_deref(), expected);
    }
}
