//! The CLIENT span of a lookup in Redis.

use super::super::{Lookup, Record, SpanId, TraceRecord};
use super::attributes::Attributes;
use super::facts::{error_prefix, put_failed, put_peer};
use super::span::{ATTRIBUTES, CLIENT, Encoder, Frame};
use super::wire::Writer;
use crate::config::{Driver, RedisAddress};

/// The Redis that routes are read from.
pub(super) struct Redis {
    address: String,
    port: Option<u16>,
    database: String,
}

impl Redis {
    /// That of this driver, if it has one.
    pub(super) fn of(driver: &Driver) -> Option<Self> {
        let Driver::Redis(redis) = driver else {
            return None;
        };
        let (address, port) = match &redis.read.address {
            RedisAddress::Tcp { host, port, .. } => (host.clone(), Some(*port)),
            RedisAddress::Unix(path) => (path.display().to_string(), None),
        };
        Some(Self {
            address,
            port,
            database: redis.read.database.to_string(),
        })
    }
}

impl Encoder {
    /// Appends it.
    pub(super) fn lookup(
        &self,
        writer: &mut Writer<'_>,
        record: &Record<'_>,
        (trace, id): (&TraceRecord<'_>, SpanId),
        (lookup, redis, batch): (&Lookup<'_>, &Redis, usize),
    ) {
        let frame = Frame {
            id,
            parent: trace.span,
            is_remote: false,
            kind: CLIENT,
            name: "MULTI",
            began: lookup.began,
            took: lookup.took,
        };
        self.span(writer, record, &frame, |span| {
            let mut put = Attributes::new(span, ATTRIBUTES, self.limits);
            put.text("db.system.name", "redis");
            put.text("db.operation.name", "MULTI");
            if batch > 1 {
                put.number("db.operation.batch.size", batch as u64);
            }
            put.text("db.namespace", &redis.database);
            put.text("server.address", &redis.address);
            if let Some(port) = redis.port.filter(|port| *port != 6379) {
                put.number("server.port", port.into());
            }
            if let Some(peer) = lookup.peer {
                put_peer(&mut put, peer);
            }
            if let Some(cause) = lookup.error {
                let prefix = error_prefix(cause);
                if let Some(prefix) = prefix {
                    put.text("db.response.status_code", prefix);
                }
                put.text("error.type", prefix.unwrap_or("redis_unavailable"));
            }
            self.close(put);
            if lookup.error.is_some() {
                put_failed(span);
            }
        });
    }
}
