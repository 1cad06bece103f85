//! What is said to a manager, and when.

use super::*;
use crate::scoreboard::Occupant;

const WORKER: Occupant = Occupant {
    slot: 0,
    generation: 1,
    logs: 0,
};

type Variables = &'static [(&'static str, &'static str)];

#[test]
fn the_watchdog_is_for_the_process_that_it_names() {
    let table: [(Variables, Option<u64>); 6] = [
        (&[], None),
        (&[("WATCHDOG_USEC", "3000000")], Some(3_000_000)),
        (&[("WATCHDOG_USEC", "20"), ("WATCHDOG_PID", "77")], Some(20)),
        (&[("WATCHDOG_USEC", "20"), ("WATCHDOG_PID", "76")], None),
        (&[("WATCHDOG_USEC", "0")], None),
        (&[("WATCHDOG_USEC", "soon")], None),
    ];
    for (pairs, micros) in table {
        let variable = |name: &str| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let found = watchdog(variable, 77, Instant::now());
        let expected = micros.map(Duration::from_micros);
        assert_eq!(found.map(|it| it.interval), expected, "{pairs:?}");
    }
}

#[test]
fn a_manager_has_a_path_or_an_abstract_name() {
    for (name, is_known) in [
        ("/run/systemd/notify", true),
        ("@notify", true),
        ("vsock:2:1234", false),
        ("notify", false),
        ("", false),
    ] {
        assert_eq!(Manager::at(name).is_ok(), is_known, "{name:?}");
    }
}

/// A service whose manager is this socket, with a watchdog that is always due.
fn watched(name: &str) -> (Service, UnixDatagram) {
    let name = format!("hipache-service-{name}-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = UnixDatagram::bind_addr(&address).unwrap();
    manager.set_nonblocking(true).unwrap();
    let service = Service {
        manager: Some(Manager::at(&format!("@{name}")).unwrap()),
        phase: Phase::Unready(None),
        watchdog: Some(Watchdog {
            interval: Duration::ZERO,
            due: Instant::now(),
            is_withheld: false,
        }),
        told: 0,
    };
    (service, manager)
}

/// All that was said since.
fn heard(manager: &UnixDatagram) -> Vec<String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(length) = manager.recv(&mut buffer) {
        heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    heard
}

#[test]
fn readiness_waits_for_a_worker_and_pings_end_with_the_last_one() {
    const PING: &str = "WATCHDOG=1\n";
    let (mut service, manager) = watched("pings");
    let board = Scoreboard::create(2, 0).unwrap();
    service.tick(&board);
    assert_eq!(heard(&manager), [PING], "starting");
    let (first, second) = (board.seat(0), board.seat(1));
    first.occupy(WORKER);
    service.tick(&board);
    assert_eq!(heard(&manager), [PING], "forked, not serving");
    first.enter(State::Serving);
    service.tick(&board);
    let ready = "READY=1\nSTATUS=workers that serve: 1\n";
    assert_eq!(heard(&manager), [ready, PING]);
    second.occupy(WORKER);
    second.enter(State::Serving);
    first.enter(State::Gone);
    service.tick(&board);
    assert_eq!(heard(&manager), [PING], "as many as before");
    second.enter(State::Gone);
    service.tick(&board);
    service.tick(&board);
    assert_eq!(heard(&manager), ["STATUS=workers that serve: 0\n"]);
    first.enter(State::Serving);
    service.tick(&board);
    assert_eq!(heard(&manager), ["STATUS=workers that serve: 1\n", PING]);
    service.stopping(Duration::from_secs(5));
    let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\nSTATUS=finishing what is in flight\n";
    first.enter(State::Gone);
    service.tick(&board);
    assert_eq!(heard(&manager), [stopping, PING]);
}

#[test]
fn a_reload_ends_with_readiness_unless_a_stop_came_before() {
    let (mut service, manager) = watched("reload");
    service.watchdog = None;
    let board = Scoreboard::create(1, 0).unwrap();
    board.seat(0).occupy(WORKER);
    board.seat(0).enter(State::Serving);
    service.tick(&board);
    heard(&manager);
    service.reloading();
    service.tick(&board);
    let said = heard(&manager);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("RELOADING=1\nMONOTONIC_USEC="),
        "{said:?}"
    );
    service.reloaded();
    service.tick(&board);
    assert_eq!(heard(&manager), ["READY=1\nSTATUS=workers that serve: 1\n"]);
    service.reloading();
    service.stopping(Duration::ZERO);
    service.reloaded();
    service.reloading();
    service.tick(&board);
    assert_eq!(heard(&manager).len(), 2, "RELOADING, STOPPING and no more");
}

#[test]
fn readiness_that_nobody_took_is_said_again_and_nothing_waits() {
    let (mut service, manager) = watched("full");
    service.watchdog = None;
    let board = Scoreboard::create(1, 0).unwrap();
    board.seat(0).occupy(WORKER);
    board.seat(0).enter(State::Serving);
    // Fills the manager's queue, whatever its length.
    while service.say("STATUS=more\n") {}
    service.tick(&board);
    assert!(service.deadline().is_some(), "to be said again");
    assert!(!heard(&manager).iter().any(|it| it.contains("READY")));
    service.tick(&board);
    assert!(heard(&manager).is_empty(), "not at once");
    service.phase = Phase::Unready(Some(Instant::now()));
    service.tick(&board);
    assert_eq!(heard(&manager), ["READY=1\nSTATUS=workers that serve: 1\n"]);
    assert_eq!(service.deadline(), None);
}
