//! Attributes, within the limits that were asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use super::super::access_log::append_address;
use super::wire::{Writer, varint_bytes};
use crate::config::Limits;

/// Fields of `KeyValue` and `AnyValue`.
const KEY: u8 = 1;
const VALUE: u8 = 2;
const TEXT: u8 = 1;
const FLAG: u8 = 2;
const NUMBER: u8 = 3;
const REAL: u8 = 4;

/// Whatever there is.
pub(super) const UNLIMITED: Limits = Limits {
    attributes: usize::MAX,
    events: 0,
    value_length: None,
};

/// Appends attributes to a message.
pub(super) struct Attributes<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    /// The field of the message that they are.
    pub(super) field: u8,
    limits: Limits,
    count: usize,
}

impl<'w, 'a> Attributes<'w, 'a> {
    /// None yet.
    pub(super) fn new(writer: &'w mut Writer<'a>, field: u8, limits: Limits) -> Self {
        Self {
            writer,
            field,
            limits,
            count: 0,
        }
    }

    /// Those that the limit did not let through.
    pub(super) fn dropped(&self) -> usize {
        self.count.saturating_sub(self.limits.attributes)
    }

    /// A text.
    #[inline(always)]
    pub(super) fn text(&mut self, key: &str, value: &str) {
        let value = shortened(value, self.limits.value_length).as_bytes();
        self.put(key, 1 + varint_bytes(value.len()) + value.len(), |writer| {
            writer.bytes(TEXT, value);
        });
    }

    /// A text out of bytes; what is no UTF-8 is replaced.
    pub(super) fn bytes(&mut self, key: &str, value: &[u8]) {
        let value: Cow<'_, str> = String::from_utf8_lossy(value);
        self.text(key, &value);
    }

    /// An address, written in place.
    pub(super) fn address(&mut self, key: &str, address: IpAddr) {
        if !self.is_next_let_through() {
            return;
        }
        // Its characters are bytes.
        let limit = self.limits.value_length.unwrap_or(usize::MAX);
        self.writer.nested(self.field, |attribute| {
            attribute.bytes(KEY, key.as_bytes());
            attribute.nested(VALUE, |value| {
                value.nested(TEXT, |text| {
                    let start = text.0.len();
                    append_address(text.0, address);
                    text.0.truncate(start.saturating_add(limit));
                });
            });
        });
    }

    /// A whole number, from 0.
    #[inline(always)]
    pub(super) fn number(&mut self, key: &str, value: u64) {
        let length = (64 - (value | 1).leading_zeros()).div_ceil(7) as usize;
        self.put(key, 1 + length, |writer| writer.number(NUMBER, value));
    }

    /// Seconds, as the conventions measure time.
    pub(super) fn seconds(&mut self, key: &str, value: std::time::Duration) {
        self.put(key, 9, |writer| {
            writer.fixed64(REAL, value.as_secs_f64().to_bits());
        });
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &str, value: bool) {
        self.put(key, 2, |writer| writer.number(FLAG, value.into()));
    }

    /// Counts one more.
    fn is_next_let_through(&mut self) -> bool {
        self.count += 1;
        self.count <= self.limits.attributes
    }

    /// Part of its callers, where the key is a constant: its length and its copy are then, too.
    #[inline(always)]
    fn put(&mut self, key: &str, length: usize, write: impl FnOnce(&mut Writer<'a>)) {
        if !self.is_next_let_through() {
            return;
        }
        let whole = 1 + varint_bytes(key.len()) + key.len() + 1 + varint_bytes(length) + length;
        self.writer.length(self.field, whole);
        self.writer.bytes(KEY, key.as_bytes());
        self.writer.length(VALUE, length);
        write(self.writer);
    }
}

/// As much of a text as may be told: so many characters.
fn shortened(text: &str, limit: Option<usize>) -> &str {
    // No text has more characters than bytes.
    let limit = limit.filter(|limit| text.len() > *limit);
    let end = limit.and_then(|limit| text.char_indices().nth(limit));
    end.map_or(text, |(end, _)| &text[..end])
}
