//! The configuration that tests start from.

use std::path::Path;

use serde_json::{Value, json};

/// Whether the tests run as root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The name of the user that runs the tests: as such, nothing is dropped.
pub(crate) fn current_user() -> String {
    let uid = nix::unistd::geteuid();
    let user = nix::unistd::User::from_uid(uid).unwrap();
    user.map_or_else(|| uid.to_string(), |user| user.name)
}

/// One worker on a port of the system's choice, the log in this directory.
pub(super) fn defaults(directory: &Path) -> Value {
    json!({
        "server": {
            "workers": 1,
            "accessLog": directory.join("access.log"),
        },
        "http": { "port": 0, "bind": ["127.0.0.1"] },
        "driver": "redis://127.0.0.1:1",
        "user": current_user(),
    })
}

/// Puts the keys of the second over those of the first, object by object; `null` removes one.
pub(super) fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                if value.is_null() {
                    into.remove(key);
                } else {
                    merge(into.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (into, from) => *into = from.clone(),
    }
}
