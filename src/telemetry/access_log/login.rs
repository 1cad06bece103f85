//! The user of a `Basic` login, decoded without the password and without an allocation.

use super::super::base64;
use super::mask::Veil;

/// Appends the user, who ends at the colon; whether there is one.
pub(super) fn append_user(out: &mut Vec<u8>, login: &[u8], veil: Veil<'_>) -> bool {
    for characters in login.chunks(4) {
        let Some(bytes) = base64::group(characters) else {
            return false;
        };
        let end = bytes.iter().position(|&byte| byte == b':');
        veil.plain(out, &bytes[..end.unwrap_or(3)]);
        if end.is_some() {
            return true;
        }
    }
    false
}
