//! Lists that were parsed before.
//!
//! Redis is asked for every request, and nearly always says what it said the last time. A list that
//! comes again byte for byte is not parsed again; one that differs in anything is. So this is no
//! cache of routes: what Redis said for this very request counts.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use redis::Value;

use crate::vhost::Frontend;

/// What may be remembered, in bytes: the lists of some ten thousand frontends. Beyond, all is
/// forgotten, as it is quickly learned anew.
const LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// The last list of each key, and what it meant.
#[derive(Default)]
pub(super) struct Memo {
    parsed: HashMap<Box<str>, Parsed>,
    bytes: usize,
}

struct Parsed {
    list: Vec<Value>,
    frontend: Rc<Frontend>,
    bytes: usize,
}

impl Memo {
    /// What the list of a key means: the inner `None` when it is empty. `None` when it is no list
    /// of texts.
    pub(super) fn parse(&mut self, key: &str, list: Vec<Value>) -> Option<Option<Rc<Frontend>>> {
        if let Some(last) = self.parsed.get(key).filter(|last| last.list == list) {
            return Some(Some(Rc::clone(&last.frontend)));
        }
        // An identifier may be any bytes; what is no text becomes U+FFFD.
        let texts = list
            .iter()
            .map(|element| bytes(element).map(String::from_utf8_lossy));
        let texts = texts.collect::<Option<Vec<Cow<'_, str>>>>()?;
        let length = texts.iter().map(|text| text.len()).sum::<usize>();
        let frontend = Frontend::from_list(key, texts.iter().map(|text| &**text)).map(Rc::new);
        if let Some(frontend) = &frontend {
            let bytes = key.len() + length + size_of::<Parsed>() + size_of_val(&*list);
            let frontend = Rc::clone(frontend);
            self.keep(
                key,
                Parsed {
                    list,
                    frontend,
                    bytes,
                },
            );
        }
        Some(frontend)
    }

    fn keep(&mut self, key: &str, parsed: Parsed) {
        if self.bytes + parsed.bytes > LIMIT_BYTES {
            *self = Self::default();
        }
        if parsed.bytes > LIMIT_BYTES {
            return;
        }
        self.bytes += parsed.bytes;
        if let Some(last) = self.parsed.insert(key.into(), parsed) {
            self.bytes -= last.bytes;
        }
    }
}

/// The bytes of a text.
pub(super) fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) => Some(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(memo: &mut Memo, key: &str, texts: &[&str]) -> Rc<Frontend> {
        let value = |text: &&str| Value::BulkString(text.as_bytes().to_vec());
        let list = texts.iter().map(value).collect();
        memo.parse(key, list).unwrap().unwrap()
    }

    #[test]
    fn only_the_same_list_of_the_same_key_is_recalled() {
        let mut memo = Memo::default();
        let first = parse(&mut memo, "a.test", &["id", "http://a"]);
        let again = parse(&mut memo, "a.test", &["id", "http://a"]);
        assert!(Rc::ptr_eq(&first, &again));
        for other in [&["id"][..], &["ID", "http://a"], &["id", "http://b", "c"]] {
            let other = parse(&mut memo, "a.test", other);
            assert!(!Rc::ptr_eq(&first, &other));
        }
        let elsewhere = parse(&mut memo, "*.test", &["id", "http://a"]);
        assert_eq!(&*elsewhere.key, "*.test");
    }

    #[test]
    fn a_changed_list_takes_the_place_of_the_last() {
        let mut memo = Memo::default();
        parse(&mut memo, "a.test", &["id", "http://a"]);
        let bytes = memo.bytes;
        let changed = parse(&mut memo, "a.test", &["id", "http://b"]);
        assert_eq!(&*changed.backend(0).unwrap().url, "http://b/");
        assert_eq!((memo.parsed.len(), memo.bytes), (1, bytes));
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut memo = Memo::default();
        let long = "x".repeat(LIMIT_BYTES / 8);
        for n in 0..20 {
            let first = parse(&mut memo, &n.to_string(), &[&long]);
            assert!(Rc::ptr_eq(
                &first,
                &parse(&mut memo, &n.to_string(), &[&long])
            ));
            assert!(memo.bytes <= LIMIT_BYTES);
        }
        parse(&mut memo, "a.test", &[&"x".repeat(LIMIT_BYTES)]);
        assert!(memo.parsed.is_empty());
    }
}
