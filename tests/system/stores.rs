//! The stores of routes: driver URLs of Redis, the file, the table of `--route`.

use serde_json::json;

use crate::harness::{Authority, Backend, Hipache, Redis, Refused, SOON, eventually, free_port};

#[test]
fn a_password_and_a_database_of_the_driver_url_are_used() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let backend = Backend::saying("here");
    let mut setup = redis.connection();
    setup.command(&["AUTH", "secret"]).unwrap();
    setup.command(&["SELECT", "3"]).unwrap();
    setup
        .command(&["RPUSH", "frontend:a.test", "id-a.test", &backend.url()])
        .unwrap();
    let url = format!("redis://:secret@127.0.0.1:{}/3", redis.port());
    let mut hipache = Hipache::builder().set(&json!({ "driver": [url] })).start();
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
    let told = hipache.stderr().join("\n");
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn an_acl_user_of_the_driver_url_is_used() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.run(&[
        "ACL", "SETUSER", "hipache", "on", ">s%3cret", "~*", "&*", "+@all",
    ]);
    redis.run(&["ACL", "SETUSER", "default", "off"]);
    // What stands percent-encoded in a URL is decoded before it is sent.
    let url = format!("redis://hipache:s%253cret@127.0.0.1:{}", redis.port());
    let mut setup = redis.connection();
    setup.command(&["AUTH", "hipache", "s%3cret"]).unwrap();
    setup
        .command(&["RPUSH", "frontend:a.test", "id-a.test", &backend.url()])
        .unwrap();
    let mut hipache = Hipache::builder().set(&json!({ "driver": url })).start();
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
}

#[test]
fn a_wrong_password_is_a_503_and_is_told() {
    let redis = Redis::with(&["--requirepass", "secret"]);
    let url = format!("redis://:wrong@127.0.0.1:{}", redis.port());
    let mut hipache = Hipache::builder().set(&json!({ "driver": url })).start();
    assert_eq!(hipache.exchange("a.test", "/x").0.status, 503);
    let told = hipache.stderr().join("\n");
    assert!(!told.contains("wrong@"), "{told}");
    eventually("the reason on stderr", SOON, || {
        let told = hipache.stderr().join("\n").to_lowercase();
        ["wrongpass", "password", "auth"]
            .iter()
            .any(|word| told.contains(word))
            .then_some(())
    });
}

#[test]
fn a_prefix_stands_before_keys_and_not_before_the_channel() {
    let redis = Redis::start();
    let refused = Refused::new();
    let backend = Backend::saying("here");
    redis.run(&[
        "RPUSH",
        "pre:frontend:a.test",
        "id",
        &backend.url(),
        &refused.url(),
    ]);
    let url = format!("{}/0#pre:", redis.url());
    let mut hipache = Hipache::builder().set(&json!({ "driver": url })).start();
    let mut dead = redis.subscribe("dead");
    for _ in 0..200 {
        assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
        if redis.run(&["EXISTS", "pre:dead:a.test"]).int() == 1 {
            break;
        }
    }
    assert_eq!(
        dead.next(SOON),
        Some(format!("a.test;{}/;1;2", refused.url()))
    );
    assert_eq!(redis.run(&["SMEMBERS", "pre:dead:a.test"]).texts(), ["1"]);
    assert_eq!(redis.run(&["EXISTS", "dead:a.test"]).int(), 0);
}

#[test]
fn a_socket_file_serves_as_well_as_a_port() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let socket = redis.socket();
    for driver in [format!("redis+unix://{socket}"), format!("unix:{socket}")] {
        let mut hipache = Hipache::builder().set(&json!({ "driver": driver })).start();
        assert_eq!(
            hipache.exchange("a.test", "/x").0.text(),
            "here",
            "{driver}"
        );
    }
}

#[test]
fn tls_is_spoken_to_redis_and_its_certificate_is_checked() {
    let (ours, others) = (Authority::new(), Authority::new());
    let identity = ours.issue(&["localhost", "127.0.0.1"]);
    let starter = Hipache::builder();
    let write = |name, text: &str| starter.directory().write(name, text).display().to_string();
    let (key, cert) = (
        write("key.pem", identity.key()),
        write("cert.pem", identity.certificate()),
    );
    let (trusted, strange) = (
        write("ca.pem", &ours.pem()),
        write("other.pem", &others.pem()),
    );
    let port = free_port().to_string();
    let redis = Redis::with(&[
        "--tls-port",
        &port,
        "--tls-key-file",
        &key,
        "--tls-cert-file",
        &cert,
        "--tls-ca-cert-file",
        &trusted,
        "--tls-auth-clients",
        "no",
    ]);
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    for host in ["localhost", "127.0.0.1"] {
        let driver = json!({ "driver": format!("rediss://{host}:{port}") });
        let with_ours = Hipache::builder()
            .env("SSL_CERT_FILE", &trusted)
            .set(&driver);
        assert_eq!(
            with_ours.start().exchange("a.test", "/x").0.text(),
            "here",
            "{host}"
        );
        let with_others = Hipache::builder()
            .env("SSL_CERT_FILE", &strange)
            .set(&driver);
        let mut refusing = with_others.start();
        assert_eq!(refusing.exchange("a.test", "/x").0.status, 503, "{host}");
        refusing.wait_for_stderr("certificate", 1);
    }
}

#[test]
fn a_replica_is_read_and_the_master_is_written() {
    let master = Redis::start();
    let port = master.port().to_string();
    let replica = Redis::with(&["--replicaof", "127.0.0.1", &port]);
    let refused = Refused::new();
    let backend = Backend::saying("here");
    master.route("a.test", &[&refused.url(), &backend.url()]);
    eventually("replication", SOON, || {
        (replica.run(&["EXISTS", "frontend:a.test"]).int() == 1).then_some(())
    });
    let drivers = json!({ "driver": [replica.url(), master.url()] });
    let mut hipache = Hipache::builder().set(&drivers).start();
    let mut dead = master.subscribe("dead");
    for _ in 0..200 {
        assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
        if !master.dead("a.test").is_empty() {
            break;
        }
    }
    assert_eq!(master.dead("a.test"), ["0"]);
    assert_eq!(
        dead.next(SOON),
        Some(format!("a.test;{}/;0;2", refused.url()))
    );
}

#[test]
fn the_keys_of_version_0_3_still_name_redis() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let old = json!({
        "driver": null, "redisHost": "127.0.0.1", "redisPort": redis.port(),
    });
    let mut hipache = Hipache::builder().set(&old).start();
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "here");
    let told = hipache.stderr().join("\n");
    assert!(
        told.contains("redisHost") && told.contains("deprecated"),
        "{told}"
    );
}

#[test]
fn a_file_of_routes_is_reread_when_it_changes() {
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    let starter = Hipache::builder();
    let first = json!({ "a.test": [one.url()], "*.wild.test": [one.url()] });
    let path = starter.directory().write("routes.json", first.to_string());
    let driver = json!({ "driver": format!("file:{}", path.display()) });
    let mut hipache = starter.set(&driver).start();
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "one");
    assert_eq!(hipache.exchange("b.wild.test", "/x").0.text(), "one");
    assert_eq!(hipache.exchange("b.test", "/x").0.status, 400);

    let second = json!({ "a.test": [two.url()], "b.test": [two.url()] });
    hipache.directory().write("routes.json", second.to_string());
    eventually("the new file in force", SOON, || {
        (hipache.get("a.test", "/poll").text() == "two").then_some(())
    });
    assert_eq!(hipache.get("b.test", "/x").text(), "two");

    // A file that cannot be read as routes changes nothing, and is told.
    let problems = hipache.stderr().len();
    hipache
        .directory()
        .write("routes.json", "{ this is no JSON");
    eventually("a word on the broken file", SOON, || {
        (hipache.stderr()[problems..]
            .join("\n")
            .contains("routes.json"))
        .then_some(())
    });
    assert_eq!(hipache.get("b.test", "/x").text(), "two");
}

#[test]
fn a_table_on_the_command_line_needs_neither_file_nor_redis() {
    let (one, any) = (Backend::saying("one"), Backend::saying("any"));
    let refused = Refused::new();
    let routes = [
        format!("www.example.com={},{}", one.url(), refused.url()),
        format!("*={}", any.url()),
    ];
    let arguments = [
        "--listen",
        "127.0.0.1:0",
        "--route",
        &routes[0],
        "--route",
        &routes[1],
    ];
    let mut hipache = Hipache::builder().arguments(&arguments).start();
    for _ in 0..20 {
        let (response, line) = hipache.exchange("www.example.com", "/x");
        assert_eq!((response.text().as_str(), line.status), ("one", 200));
    }
    assert_eq!(hipache.exchange("other.test", "/x").0.text(), "any");
}

#[test]
fn routes_may_be_kept_by_each_worker_for_a_while() {
    let redis = Redis::start();
    let (one, two) = (Backend::saying("one"), Backend::saying("two"));
    redis.route("a.test", &[&one.url()]);
    let keys = json!({ "server": { "lruCache": { "size": 10, "ttl": 1 } } });
    let mut hipache = Hipache::with(&redis, &keys);
    assert_eq!(hipache.exchange("a.test", "/x").0.text(), "one");
    let mut monitor = redis.monitor();
    redis.route("a.test", &[&two.url()]);
    let kept = hipache.exchange("a.test", "/x").0.text();
    redis.run(&["ECHO", "marker"]);
    let commands = monitor.until("marker").join("\n").to_lowercase();
    assert!(
        kept == "two" || !commands.contains("lrange"),
        "asked in spite of the cache"
    );
    // Unlike the original's, a hit does not renew the entry.
    eventually("the change under steady traffic", SOON, || {
        (hipache.get("a.test", "/poll").text() == "two").then_some(())
    });
}

#[test]
fn a_proxy_that_listens_on_several_addresses_serves_on_each() {
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("a.test", &[&backend.url()]);
    let (one, two) = (free_port(), free_port());
    let bind = json!([
        { "address": "127.0.0.1", "port": one },
        { "address": "::1", "port": two },
    ]);
    let mut hipache = Hipache::with(&redis, &json!({ "http": { "bind": bind } }));
    assert_eq!(hipache.addresses().len(), 2);
    let addresses = [format!("127.0.0.1:{one}"), format!("[::1]:{two}")];
    let clients = ["::ffff:127.0.0.1", "::1"];
    for (address, from) in addresses.iter().zip(clients) {
        let mut client = crate::harness::Client::connect(address.parse().unwrap());
        client.get("a.test", "/x");
        let response = client.response();
        assert_eq!(response.text(), "here");
        assert_eq!(hipache.line_of("GET /x HTTP/1.1", &response).address, from);
    }
}
