//! Base64 (RFC 4648 §4), with or without its padding.

/// The three bytes of a group of up to four characters; what is missing is zero. `None` where a
/// character is none of the alphabet.
pub(super) fn group(characters: &[u8]) -> Option<[u8; 3]> {
    let mut bits: u32 = 0;
    for at in 0..4 {
        let six = match characters.get(at) {
            None | Some(b'=') => 0,
            Some(byte) => sextet(*byte)?,
        };
        bits = bits << 6 | six;
    }
    let [_, bytes @ ..] = bits.to_be_bytes();
    Some(bytes)
}

/// What a text says; `None` where it is malformed.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=');
    let text = &text[..end.map_or(0, |end| end + 1)];
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for characters in text.chunks(4) {
        // One character alone is less than a byte.
        let length = characters.len().checked_sub(1).filter(|length| *length > 0);
        bytes.extend_from_slice(&group(characters)?[..length?]);
    }
    Some(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_rfc_are_decoded_padded_or_not() {
        let cases: [(&str, Option<&str>); 10] = [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zg", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYg", Some("foob")),
            ("Zm9vYmE=", Some("fooba")),
            ("Zm9vYmFy", Some("foobar")),
            ("Z", None),
            ("Zm9*", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|text| text.as_bytes().to_vec());
            assert_eq!(decode(text.as_bytes()), expected, "{text}");
        }
    }
}
