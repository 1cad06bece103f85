//! Headers of every kind, each with every cut.

use super::*;

fn whole(length: usize, proxied: Option<(&str, &str)>) -> Result<Look, &'static str> {
    let proxied = proxied.map(|(source, destination)| Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    });
    Ok(Look::Whole { length, proxied })
}

fn looked(bytes: &[u8]) -> Result<Look, &'static str> {
    look(bytes).map_err(|Malformed(why)| why)
}

/// A header of version 2.
fn block(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut block = SIGNATURE.to_vec();
    block.extend([command, family]);
    block.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    block.extend(rest);
    block
}

fn tcp4(extensions: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 1, 198, 51, 100, 2, 0x9C, 0x40, 1, 187];
    block(0x21, 0x11, &[&addresses, extensions].concat())
}

fn tcp6() -> Vec<u8> {
    let source: Ipv6Addr = "2001:db8::1".parse().unwrap();
    let destination: Ipv6Addr = "::ffff:198.51.100.2".parse().unwrap();
    let rest = [&source.octets()[..], &destination.octets(), &[0, 1, 0, 80]];
    block(0x21, 0x21, &rest.concat())
}

/// `PP2_TYPE_NOOP` of three bytes, then `PP2_TYPE_CRC32C`.
fn with_checksum(sum: [u8; 4]) -> Vec<u8> {
    tcp4(&[&[4, 0, 3, 7, 7, 7, 3, 0, 4][..], &sum, &[4, 0, 0]].concat())
}

#[test]
fn whole_headers_say_who_came_and_where_they_end() {
    let v4 = Some(("192.0.2.1:40000", "198.51.100.2:443"));
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff \
                   ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    let ffff = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
    let unknown = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES - 16));
    let unknown = unknown.as_bytes();
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 443\r\n";
    let mapped = b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 0\r\n";
    let mut cases = vec![
        (line.to_vec(), v4),
        (longest.into(), Some((ffff, ffff))),
        (mapped.to_vec(), Some(("192.0.2.1:1", "[::1]:0"))),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (unknown.to_vec(), None),
        (tcp4(&[]), v4),
        (tcp4(&[0x20, 0, 2, 1, 2, 0xE0, 0, 0]), v4),
        (tcp6(), Some(("[2001:db8::1]:1", "198.51.100.2:80"))),
        (block(0x20, 0x00, &[]), None),
        // The block of a LOCAL connection may hold anything.
        (block(0x20, 0xFF, &[9; 300]), None),
        (block(0x21, 0x00, &[9; 5]), None),
        (block(0x21, 0x12, &[1; 12]), None),
        (block(0x21, 0x31, &[1; 216]), None),
        (block(0x20, 0x11, &vec![0; HEADER_BYTES - 16]), None),
    ];
    let sum = checksum_of(&with_checksum([0; 4]));
    cases.push((with_checksum(sum), v4));
    for (mut bytes, proxied) in cases {
        let length = bytes.len();
        for cut in 0..length {
            let got = looked(&bytes[..cut]);
            assert_eq!(got, Ok(Look::Partial), "{bytes:?} cut at {cut}");
        }
        assert_eq!(looked(&bytes), whole(length, proxied), "{bytes:?}");
        bytes.extend(b"\r\nGET / HTTP/1.1\r\n");
        assert_eq!(looked(&bytes), whole(length, proxied), "{bytes:?}");
    }
}

/// The sum that makes a header right, found by trying none: the rest of the bytes fixes it.
fn checksum_of(block: &[u8]) -> [u8; 4] {
    let mut sum = !0_u32;
    for byte in block {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 {
                (sum >> 1) ^ 0x82F6_3B78
            } else {
                sum >> 1
            };
        }
    }
    (!sum).to_be_bytes()
}

#[test]
fn what_cannot_become_a_header_is_refused_as_soon_as_it_shows() {
    let no_header = "no PROXY header, which this listener asks for";
    let words = "expected PROXY TCP4|TCP6 and two addresses and two ports, or PROXY UNKNOWN";
    let line = |text: &str| format!("PROXY {text}\r\n").into_bytes();
    let (signed, cut) = (SIGNATURE, "an extension is longer than the header");
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"G".to_vec(), no_header),
        (b"PROXx".to_vec(), no_header),
        (b"\r\n\r\n\r".to_vec(), no_header),
        (b"\x16".to_vec(), no_header),
        (line("TCP4 192.0.2.1 198.51.100.2 40000"), words),
        (line("TCP4 192.0.2.1 198.51.100.2 40000 443 1"), words),
        (line("TCP4  192.0.2.1 198.51.100.2 40000 443"), words),
        (line("TCP4 192.0.2.1 198.51.100.2 040 443"), words),
        (line("TCP4 192.0.2.1 198.51.100.2 +40 443"), words),
        (line("TCP4 192.0.2.1 198.51.100.2 65536 443"), words),
        (line("TCP4 ::1 ::2 1 2"), words),
        (line("TCP6 192.0.2.1 198.51.100.2 1 2"), words),
        (line("TCP4 a.test b.test 1 2"), words),
        (line("UDP4 192.0.2.1 198.51.100.2 1 2"), words),
        (line("unknown"), words),
        (line("TCP4 \u{e9}"), words),
        (line(""), words),
        (b"PROXY \r\n".to_vec(), words),
        (
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 93]].concat(),
            "no line end within 107 bytes",
        ),
        ([signed, &[0x11]].concat(), "unknown version or command"),
        ([signed, &[0x22]].concat(), "unknown version or command"),
        (
            [signed, &[0x21, 0x11, 0x10, 0]].concat(),
            "header is longer than 4096 bytes",
        ),
        (
            block(0x21, 0x13, &[0; 12]),
            "unknown address family or protocol",
        ),
        (block(0x21, 0x11, &[0; 11]), "too short for its addresses"),
        (block(0x21, 0x21, &[0; 35]), "too short for its addresses"),
        (block(0x21, 0x31, &[0; 215]), "too short for its addresses"),
        (tcp4(&[4, 0]), cut),
        (tcp4(&[4, 0, 1]), cut),
        (with_checksum([1, 2, 3, 4]), "its checksum is wrong"),
        (tcp4(&[3, 0, 2, 0, 0]), "its checksum is wrong"),
    ];
    for (bytes, expected) in cases {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        assert_eq!(looked(&bytes), Err(expected), "{shown:?}");
        let before = looked(&bytes[..bytes.len() - 1]);
        assert_eq!(before, Ok(Look::Partial), "{shown:?} was refused late");
    }
}
