//! The user of a `Basic` login, decoded without the password and without an allocation.

use super::mask::Veil;

/// Appends the user, who ends at the colon (RFC 4648 §4); whether there is one.
pub(super) fn append_user(out: &mut Vec<u8>, login: &[u8], veil: Veil<'_>) -> bool {
    for group in login.chunks(4) {
        let mut bits: u32 = 0;
        for at in 0..4 {
            let six = match group.get(at) {
                None | Some(b'=') => 0,
                Some(byte) => match sextet(*byte) {
                    Some(six) => six,
                    None => return false,
                },
            };
            bits = bits << 6 | six;
        }
        let [_, bytes @ ..] = bits.to_be_bytes();
        let end = bytes.iter().position(|&byte| byte == b':');
        veil.plain(out, &bytes[..end.unwrap_or(3)]);
        if end.is_some() {
            return true;
        }
    }
    false
}

fn sextet(byte: u8) -> Option<u32> {
    let value = match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(value.into())
}
