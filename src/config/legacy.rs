//! The spelling of 0.3, moved to today's keys (Hipache `lib/config/legacy.js`).
//!
//! A new key wins over its old one. That old keys are in the file is told by `keys`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::File;
use super::findings::Findings;
use super::forms::{Bind, OneOrMany};
use super::https_file::Https;
use super::values::{Address, Hidden, Port, Whole};
use super::written::Written;
use super::{RedisAddress, RedisDriver, RedisServer};

/// Moves what is written at old keys, except Redis, to the new ones.
pub(super) fn modernise(file: &mut File, findings: &mut Findings) {
    let Written::Right(server) = &mut file.server else {
        return;
    };
    let port = std::mem::take(&mut server.port);
    let mut addresses = listed(std::mem::take(&mut server.address));
    addresses.extend(listed(std::mem::take(&mut server.address6)));
    let old_https = std::mem::take(&mut server.https);
    let is_old = !port.is_absent();

    if is_old || !addresses.is_empty() {
        let mut http = std::mem::take(&mut file.http).right().unwrap_or_default();
        http.port = http.port.or(port);
        http.bind = http.bind.or(binds(&addresses));
        if is_old && http.bind.is_absent() {
            findings.warning(
                "http.bind",
                "not given, so only 127.0.0.1 is listened on (0.3 listened on all addresses)",
            );
        }
        file.http = Written::Right(http);
    }
    file.https = std::mem::take(&mut file.https).or(old_https);
    // Without HTTPS settings an address makes no HTTPS listener: the original invented one here,
    // and then missed its certificate.
    if let Written::Right(Https { bind, .. }) = &mut file.https {
        *bind = std::mem::take(bind).or(binds(&addresses));
    }
}

fn listed(written: Written<OneOrMany<Address>>) -> Vec<Address> {
    written.right().map(OneOrMany::right).unwrap_or_default()
}

fn binds<L>(addresses: &[Address]) -> Written<OneOrMany<Bind<L>>> {
    if addresses.is_empty() {
        return Written::Absent;
    }
    let binds = addresses.iter().copied().map(Bind::Address);
    Written::Right(OneOrMany::Many(binds.map(Written::Right).collect()))
}

/// How 0.3 named its Redis; honoured where `driver` is absent.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OldRedis {
    /// Host of the Redis to read from.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_host: Written<String>,
    /// Port of the Redis to read from.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_port: Written<Port>,
    /// Password of the Redis to read from.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_password: Written<Hidden>,
    /// Database of the Redis to read from.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_database: Written<Whole>,
    /// Host of the Redis to write to.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_master_host: Written<String>,
    /// Port of the Redis to write to.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_master_port: Written<Port>,
    /// Password of the Redis to write to.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_master_password: Written<Hidden>,
    /// Database of the Redis to write to.
    #[schemars(extend("deprecated" = true, "x-instead" = "driver"))]
    pub(super) redis_master_database: Written<Whole>,
}

impl OldRedis {
    /// The Redis that the old keys name, if they name any (0.2 and 0.3, `lib/cache.js`).
    pub(super) fn driver(self) -> Option<RedisDriver> {
        let is_absent = self.redis_host.is_absent()
            && self.redis_port.is_absent()
            && self.redis_password.is_absent()
            && self.redis_database.is_absent()
            && self.redis_master_host.is_absent();
        if is_absent {
            return None;
        }
        // As in the original, it is the host that makes a second Redis.
        let has_master = !self.redis_master_host.is_absent();
        let read = server(
            self.redis_host,
            self.redis_port,
            self.redis_password,
            self.redis_database,
        );
        let master = server(
            self.redis_master_host,
            self.redis_master_port,
            self.redis_master_password,
            self.redis_master_database,
        );
        Some(RedisDriver {
            read,
            write: has_master.then_some(master),
            prefix: String::new(),
        })
    }
}

fn server(
    host: Written<String>,
    port: Written<Port>,
    password: Written<Hidden>,
    database: Written<Whole>,
) -> RedisServer {
    let host = host.right().filter(|host| !host.is_empty());
    RedisServer {
        address: RedisAddress::Tcp {
            host: host.unwrap_or_else(|| "127.0.0.1".to_owned()),
            port: port.right().map_or(6379, |port| port.0),
            tls: false,
        },
        username: None,
        password: password
            .right()
            .map(|hidden| hidden.0)
            .filter(|password| !password.0.is_empty()),
        database: database.right().map_or(0, |number| number.0.into()),
    }
}
