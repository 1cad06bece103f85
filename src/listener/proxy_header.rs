//! The PROXY header: what a balancer before us says of a connection before the client's first byte.
//!
//! Versions 1 and 2 of the PROXY protocol. Pure: judges bytes as far as they have come. Invariant:
//! bytes that can no longer become a header are refused at once, and a header that is whole names its
//! length, so that not a byte of what follows is taken for it.

mod checksum;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header, at most: 65,551 by the format of version 2, of which nobody needs more than
/// its addresses and a few facts about TLS.
const HEADER_BYTES: usize = 4096;
/// Bytes of a header of version 1, at most, with its line end (§2.1).
const LINE_BYTES: usize = 107;
/// What version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// What version 2 begins with (§2.2).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before those that its length counts.
const FIXED_BYTES: usize = 16;

/// Who connected to whom, as the balancer that took the connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proxied {
    /// The client; an IPv4 address is never in its mapped IPv6 form.
    pub(crate) source: SocketAddr,
    /// What the client connected to.
    pub(crate) destination: SocketAddr,
}

/// What the bytes so far are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// The beginning of a header.
    Partial,
    /// A header, and perhaps more.
    Whole {
        /// Its bytes.
        length: usize,
        /// `None`: the connection is the balancer's own, or comes from nowhere that has an address.
        proxied: Option<Proxied>,
    },
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

/// Looks at the first bytes of a connection.
pub(super) fn look(bytes: &[u8]) -> Result<Look, Malformed> {
    let begins = |with: &[u8]| {
        let count = bytes.len().min(with.len());
        bytes[..count] == with[..count]
    };
    match bytes.first() {
        None => Ok(Look::Partial),
        Some(_) if begins(WORD) => look_at_line(bytes),
        Some(_) if begins(SIGNATURE) => look_at_block(bytes),
        Some(_) => Err(Malformed("no PROXY header, which this listener asks for")),
    }
}

/// Version 1: a line of text.
fn look_at_line(bytes: &[u8]) -> Result<Look, Malformed> {
    let head = &bytes[..bytes.len().min(LINE_BYTES)];
    let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") else {
        return match head.len() < LINE_BYTES {
            true => Ok(Look::Partial),
            false => Err(Malformed("no line end within 107 bytes")),
        };
    };
    let proxied = read_line(&head[WORD.len()..end])?;
    let length = end + 2;
    Ok(Look::Whole { length, proxied })
}

fn read_line(line: &[u8]) -> Result<Option<Proxied>, Malformed> {
    const WRONG: Malformed =
        Malformed("expected PROXY TCP4|TCP6 and two addresses and two ports, or PROXY UNKNOWN");
    let line = std::str::from_utf8(line).map_err(|_| WRONG)?;
    let mut words = line.split(' ');
    let read: fn(&str) -> Option<IpAddr> = match words.next() {
        // Whatever follows is ignored (§2.1).
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        Some("TCP6") => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(WRONG),
    };
    let mut address = || words.next().and_then(read).ok_or(WRONG);
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(parse_port).ok_or(WRONG);
    let proxied = Proxied::new((source, port()?), (destination, port()?));
    match words.next() {
        None => Ok(Some(proxied)),
        Some(_) => Err(WRONG),
    }
}

/// Digits without a leading zero (§2.1).
fn parse_port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    text.parse().ok().filter(|_| is_number && is_short)
}

/// Version 2: a block of bytes.
fn look_at_block(bytes: &[u8]) -> Result<Look, Malformed> {
    let is_local = match bytes.get(SIGNATURE.len()) {
        None => return Ok(Look::Partial),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(_) => return Err(Malformed("unknown version or command")),
    };
    let Some(fixed) = bytes.get(..FIXED_BYTES) else {
        return Ok(Look::Partial);
    };
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > HEADER_BYTES {
        return Err(Malformed("header is longer than 4096 bytes"));
    }
    let Some(block) = bytes.get(..length) else {
        return Ok(Look::Partial);
    };
    // The block of a LOCAL connection is skipped, whatever its family (§2.2).
    let proxied = if is_local { None } else { read_block(block)? };
    Ok(Look::Whole { length, proxied })
}

fn read_block(block: &[u8]) -> Result<Option<Proxied>, Malformed> {
    let (family, rest) = (block[13], &block[FIXED_BYTES..]);
    let size = match family {
        0x00 => return Ok(None),
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Malformed("unknown address family or protocol")),
    };
    let (addresses, extensions) = rest
        .split_at_checked(size)
        .ok_or(Malformed("too short for its addresses"))?;
    check_extensions(block, extensions)?;
    // Datagrams do not come here, and paths are no addresses of clients: either counts as unknown.
    Ok(match family {
        0x11 => pair::<4>(addresses).map(|(from, to)| Proxied::new(from, to)),
        0x21 => pair::<16>(addresses).map(|(from, to)| Proxied::new(from, to)),
        _ => None,
    })
}

/// Two addresses of so many bytes, then two ports.
fn pair<const SIZE: usize>(bytes: &[u8]) -> Option<((IpAddr, u16), (IpAddr, u16))>
where
    IpAddr: From<[u8; SIZE]>,
{
    let (addresses, ports) = bytes.split_at_checked(2 * SIZE)?;
    let address = |at: usize| {
        let bytes: [u8; SIZE] = addresses.get(at..at + SIZE)?.try_into().ok()?;
        Some(IpAddr::from(bytes))
    };
    let port = |at: usize| Some(u16::from_be_bytes(ports.get(at..at + 2)?.try_into().ok()?));
    Some(((address(0)?, port(0)?), (address(SIZE)?, port(2)?)))
}

/// Skips the extensions; a checksum among them must be right (§2.2.3).
fn check_extensions(block: &[u8], mut rest: &[u8]) -> Result<(), Malformed> {
    const CRC32C: u8 = 0x03;
    const CUT: Malformed = Malformed("an extension is longer than the header");
    while !rest.is_empty() {
        let [kind, high, low, after @ ..] = rest else {
            return Err(CUT);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, next) = after.split_at_checked(length).ok_or(CUT)?;
        if *kind == CRC32C && !checksum::is_right(block, next.len(), value) {
            return Err(Malformed("its checksum is wrong"));
        }
        rest = next;
    }
    Ok(())
}

impl Proxied {
    fn new(source: (IpAddr, u16), destination: (IpAddr, u16)) -> Self {
        let plain = |(address, port): (IpAddr, u16)| SocketAddr::new(address.to_canonical(), port);
        Self {
            source: plain(source),
            destination: plain(destination),
        }
    }
}

#[cfg(test)]
mod tests;
