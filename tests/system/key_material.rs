//! Bad key material, wherever it is kept: told in one clear sentence, never quoted, and nobody else's
//! trouble.

use nix::sys::signal::Signal;
use rustls::version::TLS13;
use serde_json::json;

use crate::harness::{
    Authority, Backend, Directory, Hipache, Redis, current_user, run_to_end, text,
};
use crate::https::{client, get, listener, secure};

/// A certificate and a key that do not do, and what is told of them.
struct Bad {
    name: &'static str,
    certificate: String,
    key: String,
    /// At the files of a listener.
    of_listener: &'static str,
    /// At a vhost's own.
    of_vhost: &'static str,
    /// Shown all the same where nothing better is at hand.
    is_usable: bool,
}

/// Of a PEM text what stands before its middle.
fn half(pem: &str) -> String {
    pem[..pem.len() / 2].to_owned()
}

/// A PEM text without some lines of its body.
fn thinned(pem: &str) -> String {
    let lines: Vec<_> = pem.lines().collect();
    [&lines[..3], &lines[5..]].concat().join("\n")
}

fn all(authority: &Authority) -> Vec<Bad> {
    let good = authority.issue(&["bad.test"]);
    let other = authority.issue(&["bad.test"]);
    let expired = authority.issue_expired(&["bad.test"]);
    let bad = |name, certificate: &str, key: &str, told: [&'static str; 2]| Bad {
        name,
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        of_listener: told[0],
        of_vhost: told[1],
        is_usable: false,
    };
    let sealed = include_str!("../../src/credentials/fixtures/pkcs8-pbkdf2.key");
    let opened = include_str!("../../src/credentials/fixtures/ec.crt");
    let [cut, no_certificate, no_key] = [
        "PEM without its END line",
        "no PEM certificate inside",
        "no PEM private key inside",
    ];
    let (certificate, key) = (good.certificate(), good.key());
    let mismatch = [
        "not the key of the certificate",
        "the private key is not that of the certificate",
    ];
    let encrypted = ["encrypted, a passphrase is needed"; 2];
    vec![
        Bad {
            is_usable: true,
            ..bad(
                "expired",
                expired.certificate(),
                expired.key(),
                ["the certificate expired"; 2],
            )
        },
        bad("mismatched", certificate, other.key(), mismatch),
        bad("encrypted", opened, sealed, encrypted),
        bad("cut certificate", &half(certificate), key, [cut; 2]),
        bad("cut key", certificate, &half(key), [cut; 2]),
        bad(
            "thinned certificate",
            &thinned(certificate),
            key,
            ["a broken certificate"; 2],
        ),
        bad("text for a certificate", "hello", key, [no_certificate; 2]),
        bad("text for a key", certificate, "hello", [no_key; 2]),
        bad("swapped", key, certificate, [no_certificate; 2]),
    ]
}

#[test]
fn a_dry_run_tells_one_error_each() {
    let (files, authority) = (Directory::fresh(), Authority::new());
    let keys = listener(&files, &authority.issue(&["a.test"]), &json!({}));
    for bad in all(&authority) {
        let mut config = keys.clone();
        config["user"] = json!(current_user());
        config["server"] = json!({ "accessLog": "off" });
        files.write("config.json", config.to_string());
        files.write("default.crt", &bad.certificate);
        files.write("default.key", &bad.key);
        let output = run_to_end(files.path(), &["--dry", "-c", "config.json"], &[]);
        let told = text(&output.stderr);
        assert!(!output.status.success(), "{}: {told}", bad.name);
        let errors: Vec<_> = told
            .lines()
            .filter(|line| line.contains("error:"))
            .collect();
        assert_eq!(errors.len(), 1, "{}: {told}", bad.name);
        assert!(errors[0].contains("https."), "{}: {told}", bad.name);
        assert!(errors[0].contains(bad.of_listener), "{}: {told}", bad.name);
        assert!(!told.contains("-----"), "{}: {told}", bad.name);
    }
}

#[test]
fn a_reload_is_refused_and_what_was_in_force_goes_on() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    let good = authority.issue(&["a.test"]);
    let keys = listener(&files, &good, &json!({}));
    let mut hipache = Hipache::with(&redis, &keys);
    let (workers, address) = (hipache.workers(), secure(&hipache));
    let config = client(&authority, &[&TLS13]);
    for (count, bad) in all(&authority).into_iter().enumerate() {
        files.write("default.crt", &bad.certificate);
        files.write("default.key", &bad.key);
        let before = hipache.count_stderr(bad.of_listener);
        hipache.signal(Signal::SIGHUP);
        hipache.wait_for_stderr("reload failed", count + 1);
        let told = hipache.count_stderr(bad.of_listener) - before;
        assert_eq!(told, 1, "{}", bad.name);
        get(address, &config, "a.test", "/").expect(bad.name);
    }
    assert_eq!(hipache.workers(), workers);
    assert_eq!(hipache.count_stderr("-----"), 0);
    files.write("default.crt", good.certificate());
    files.write("default.key", good.key());
    hipache.reload(&json!({}));
    get(address, &config, "a.test", "/").unwrap();
}

/// Puts a certificate and a key where a vhost's own are looked for.
type Put<'a> = &'a dyn Fn(&str, &str, &str);

/// Vhosts with bad material are told of once, and those with good material, and the default, go on.
fn check_vhosts(hipache: &Hipache, authority: &Authority, put: Put<'_>) {
    let address = secure(hipache);
    let config = client(authority, &[&TLS13]);
    let good = authority.issue(&["good.test"]);
    put("good.test", good.certificate(), good.key());
    for (number, bad) in all(authority).into_iter().enumerate() {
        let name = format!("bad-{number}.test");
        put(&name, &bad.certificate, &bad.key);
        let before = hipache.count_stderr(&format!("certificate of {name}"));
        assert_eq!(before, 0);
        for _ in 0..3 {
            // The default certificate is not for this name, and an expired one for nobody.
            get(address, &config, &name, "/").expect_err(bad.name);
            get(address, &config, "good.test", "/").expect(bad.name);
            get(address, &config, "default.test", "/").expect(bad.name);
        }
        hipache.wait_for_stderr(&format!("certificate of {name}"), 1);
        let told: Vec<_> = hipache.stderr();
        let mut told = told
            .iter()
            .filter(|line| line.contains(&format!("certificate of {name}")));
        let line = told.next().unwrap();
        assert!(line.contains(bad.of_vhost), "{}: {line}", bad.name);
        assert_eq!(told.next(), None, "{}", bad.name);
    }
    // What was good stays in use when something bad takes its place, unless it can be shown, too.
    for bad in all(authority).into_iter().filter(|bad| !bad.is_usable) {
        put("good.test", &bad.certificate, &bad.key);
        get(address, &config, "good.test", "/").expect(bad.name);
    }
    assert_eq!(hipache.count_stderr("-----"), 0);
}

#[test]
fn bad_material_in_redis_hurts_its_own_name_alone() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    let keys = listener(&files, &authority.issue(&["default.test"]), &json!({}));
    let hipache = Hipache::with(&redis, &keys);
    check_vhosts(&hipache, &authority, &|name, certificate, key| {
        let hash = format!("tls:{name}");
        redis.run(&["HSET", &hash, "certificate", certificate, "key", key]);
    });
}

#[test]
fn bad_material_in_the_directory_hurts_its_own_name_alone() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    let more = json!({ "certificates": files.path() });
    let keys = listener(&files, &authority.issue(&["default.test"]), &more);
    let hipache = Hipache::with(&redis, &keys);
    check_vhosts(&hipache, &authority, &|name, certificate, key| {
        files.write(&format!("{name}.crt"), certificate);
        files.write(&format!("{name}.key"), key);
    });
}

#[test]
fn what_is_too_large_for_a_certificate_is_not_looked_into() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    let keys = listener(&files, &authority.issue(&["default.test"]), &json!({}));
    let hipache = Hipache::with(&redis, &keys);
    let own = authority.issue(&["large.test"]);
    let chain = own
        .certificate()
        .repeat((1 << 20) / own.certificate().len() + 1);
    let hash = "tls:large.test";
    redis.run(&["HSET", hash, "certificate", &chain, "key", own.key()]);
    let config = client(&authority, &[&TLS13]);
    // The default certificate is shown, which is not for this name.
    get(secure(&hipache), &config, "large.test", "/").unwrap_err();
    hipache.wait_for_stderr("larger than 1048576 bytes, which no certificate is", 1);
    get(secure(&hipache), &config, "default.test", "/").unwrap();
}

#[test]
fn those_who_ask_for_a_bad_certificate_at_once_make_one_line() {
    let (redis, backend) = (Redis::start(), Backend::saying("here"));
    let (files, authority) = (Directory::fresh(), Authority::new());
    redis.route("*", &[&backend.url()]);
    let keys = listener(&files, &authority.issue(&["default.test"]), &json!({}));
    let hipache = Hipache::with(&redis, &keys);
    redis.run(&["HSET", "tls:bad.test", "certificate", "none", "key", "none"]);
    let config = client(&authority, &[&TLS13]);
    // So that the answers to all of them come together.
    redis.run(&["CLIENT", "PAUSE", "300"]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let ask = || get(secure(&hipache), &config, "bad.test", "/");
            scope.spawn(move || ask().unwrap_err());
        }
    });
    get(secure(&hipache), &config, "default.test", "/").unwrap();
    hipache.wait_for_stderr("certificate of bad.test", 1);
    assert_eq!(hipache.count_stderr("certificate of bad.test"), 1);
}
