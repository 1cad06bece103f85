//! The quick start: a proxy from the command line alone, with no file and no Redis.

use std::net::SocketAddr;
use std::str::FromStr;

use super::findings::Findings;
use super::listeners::{admin_default, default_trusted};
use super::resolve::{Surroundings, server_default};
use super::{AccessLog, Config, Driver, Http, Server, Target, identity, telemetry};

/// One `--route`: a host and its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuickRoute {
    /// A name, `*.` and a name, or `*`; lower case.
    host: String,
    /// URLs of the backends, at least one.
    backends: Vec<String>,
}

/// What is in force with these listeners and routes.
pub(super) fn quick(
    listen: Vec<SocketAddr>,
    routes: Vec<QuickRoute>,
    findings: &mut Findings,
) -> Config {
    let around = Surroundings::here();
    let identity = around
        .is_root
        .then(|| identity::default(findings))
        .flatten();
    Config {
        server: Server {
            access_logs: vec![AccessLog::plain(Target::Stdout)],
            ..server_default(around)
        },
        http: Http {
            bind: listen,
            h2c: false,
            proxy_protocol: Vec::new(),
            proxy_protocol_from: default_trusted(),
            trusted_proxies: default_trusted(),
        },
        admin: admin_default(),
        https: Vec::new(),
        https_public_port: None,
        certificates: None,
        driver: Driver::Routes(table(routes)),
        telemetry: telemetry::resolve(Default::default(), around.env, findings),
        identity,
    }
}

/// The routes as a table; a host that is given twice has the backends of both.
fn table(routes: Vec<QuickRoute>) -> Vec<(String, Vec<String>)> {
    let mut table: Vec<(String, Vec<String>)> = Vec::new();
    for QuickRoute { host, backends } in routes {
        match table.iter_mut().find(|(known, _)| *known == host) {
            Some((_, known)) => known.extend(backends),
            None => table.push((host, backends)),
        }
    }
    table
}

impl FromStr for QuickRoute {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, backends) = text
            .split_once('=')
            .ok_or("expected HOST=URL, such as example.com=http://127.0.0.1:3000")?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(format!("{host:?} is no name, `*.` and a name, or `*`"));
        }
        let backends: Vec<String> = backends
            .split(',')
            .map(|url| url.trim().to_owned())
            .collect();
        match backends.iter().find(|url| !is_backend(url)) {
            Some(wrong) => Err(format!(
                "{wrong:?} is no URL of a backend, such as http://127.0.0.1:3000"
            )),
            None => Ok(Self { host, backends }),
        }
    }
}

fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_ipv6 = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    host == "*" || is_ipv6 || is_name
}

fn is_backend(url: &str) -> bool {
    let parsed = url::Url::parse(url);
    parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_is_a_host_and_its_backends() {
        let table = [
            (
                "a.test=http://127.0.0.1:1",
                Some(("a.test", vec!["http://127.0.0.1:1"])),
            ),
            (
                "A.Test=http://b:1,https://c",
                Some(("a.test", vec!["http://b:1", "https://c"])),
            ),
            ("*=http://b:1", Some(("*", vec!["http://b:1"]))),
            (
                "*.a.test=http://b:1",
                Some(("*.a.test", vec!["http://b:1"])),
            ),
            (
                "[::1]=http://[::1]:1",
                Some(("[::1]", vec!["http://[::1]:1"])),
            ),
            ("a.test", None),
            ("=http://b", None),
            ("a.*=http://b", None),
            ("a:80=http://b", None),
            ("a/b=http://b", None),
            ("a.test=", None),
            ("a.test=http://b,", None),
            ("a.test=b:80", None),
            ("a.test=ftp://b", None),
        ];
        for (text, expected) in table {
            let parsed = text.parse::<QuickRoute>();
            let expected = expected.map(|(host, backends)| QuickRoute {
                host: host.to_owned(),
                backends: backends.into_iter().map(str::to_owned).collect(),
            });
            assert_eq!(parsed.clone().ok(), expected, "{text}: {parsed:?}");
        }
    }

    #[test]
    fn host_given_twice_has_the_backends_of_both() {
        let routes = ["a=http://x:1", "b=http://y:1", "a=http://z:1"];
        let routes = routes.map(|text| text.parse().unwrap()).to_vec();
        let config = quick(Vec::new(), routes, &mut Findings::default());
        let Driver::Routes(table) = config.driver else {
            panic!("no routes")
        };
        assert_eq!(
            table[0],
            ("a".into(), vec!["http://x:1".into(), "http://z:1".into()])
        );
        assert_eq!(table.len(), 2);
        assert_eq!(
            config.server.access_logs,
            [AccessLog::plain(Target::Stdout)]
        );
    }
}
