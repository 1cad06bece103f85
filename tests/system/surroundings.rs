//! What the system around the proxy decides: files below `/etc`, a resolver that hangs.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Backend, Client, Directory, Hipache, PrivateEtc, Redis, SOON, current_user, text,
};

#[test]
fn without_a_named_file_the_first_of_three_places_is_read() {
    let Some(etc) = PrivateEtc::new() else { return };
    let directory = Directory::fresh();
    let config = |workers: u32| {
        json!({
            "server": { "workers": workers, "accessLog": directory.join("access.log") },
            "http": { "port": 0 },
            "user": current_user(),
        })
        .to_string()
    };
    // The number of workers in force, or what was said instead.
    let in_force = |flavour: Option<&str>| {
        let mut command = etc.command();
        command.arg("--dry").current_dir(directory.path());
        command.env_remove("SETTINGS_FLAVOR");
        command.envs(flavour.map(|flavour| ("SETTINGS_FLAVOR", flavour)));
        let output = command.output().unwrap();
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(shown) => Ok(shown["server"]["workers"].as_u64().unwrap()),
            Err(_) => Err(text(&output.stderr)),
        }
    };
    directory.write("config/config.json", config(1));
    directory.write("config/config_a.json", config(2));
    etc.write("hipache/config.json", &config(3));
    etc.write("hipache/config_a.json", &config(4));
    etc.write("hipache.json", &config(5));
    assert_eq!((in_force(None), in_force(Some("a"))), (Ok(1), Ok(2)));
    assert_eq!(in_force(Some("")), Ok(1), "an empty flavour is none");

    std::fs::remove_dir_all(directory.join("config")).unwrap();
    assert_eq!((in_force(None), in_force(Some("a"))), (Ok(3), Ok(4)));

    etc.remove("hipache/config.json");
    etc.remove("hipache/config_a.json");
    assert_eq!(in_force(None), Ok(5));
    // What stands there is of no flavour, so it is not taken for one.
    let told = in_force(Some("a")).unwrap_err();
    assert!(told.contains("/etc/hipache/config_a.json"), "{told}");

    etc.remove("hipache.json");
    let told = in_force(None).unwrap_err();
    let places = [
        "config/config.json",
        "/etc/hipache/config.json",
        "/etc/hipache.json",
    ];
    assert!(places.iter().all(|place| told.contains(place)), "{told}");
}

/// A name server that swallows every question: its address.
fn black_hole() -> (UdpSocket, String) {
    let id = std::process::id().to_be_bytes();
    let address = format!("127.{}.{}.53", id[2] | 1, id[3] | 1);
    let socket = UdpSocket::bind((address.as_str(), 53)).unwrap();
    (socket, address)
}

#[test]
fn a_resolver_that_hangs_hurts_only_the_hosts_that_need_it() {
    let Some(etc) = PrivateEtc::new() else { return };
    let (swallowed, name_server) = black_hole();
    etc.write("resolv.conf", &format!("nameserver {name_server}\n"));
    let redis = Redis::start();
    let backend = Backend::saying("here");
    redis.route("address.test", &[&backend.url()]);
    redis.route(
        "local.test",
        &[&format!("http://localhost:{}", backend.port())],
    );
    for number in 0..40 {
        let url = format!("http://backend-{number}.example.com");
        redis.route(&format!("{number}.name.test"), &[&url]);
    }
    let keys = json!({ "server": { "connectTimeout": 2, "retryOnError": 0 } });
    let starter = Hipache::builder().redis(&redis).set(&keys).etc(etc);
    let mut hipache = starter.start();
    assert_eq!(hipache.exchange("local.test", "/x").0.text(), "here");

    // Every look-up that may run at a time hangs, and more wait behind them.
    let mut hurt: Vec<Client> = (0..40)
        .map(|number| {
            let mut client = hipache.client();
            client.get(&format!("{number}.name.test"), "/hurt");
            client
        })
        .collect();
    swallowed.set_read_timeout(Some(SOON)).unwrap();
    swallowed
        .recv(&mut [0; 512])
        .expect("the resolver is asked");
    let start = Instant::now();
    for _ in 0..20 {
        let (response, line) = hipache.exchange("address.test", "/x");
        assert_eq!(response.text(), "here");
        assert!(line.total < 0.5, "{line:?}");
        let response = hipache.exchange("local.test", "/x").0;
        assert_eq!(response.text(), "here", "a name already known");
    }
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "before any of them was answered"
    );
    for client in &mut hurt {
        assert_eq!(client.response().status, 504);
    }
    for line in hipache.log().take_lines(40) {
        assert_eq!((line.target(), line.status), ("/hurt", 504));
        assert!((1.9..5.0).contains(&line.total), "{line:?}");
    }
    // Look-ups that still hang do not keep the process.
    drop(hurt);
    let start = Instant::now();
    hipache.stop();
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "took {:?}",
        start.elapsed()
    );
}
