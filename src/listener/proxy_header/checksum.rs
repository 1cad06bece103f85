//! The checksum of a PROXY header: CRC32c (RFC 4960 Appendix B), a bit at a time, for few ever send
//! one.

/// Whether this is the checksum of the block; it stands in the block itself, before its last `after`
/// bytes, and counts as zeros there.
pub(super) fn is_right(block: &[u8], after: usize, told: &[u8]) -> bool {
    let Ok(told) = <[u8; 4]>::try_from(told) else {
        return false;
    };
    let end = block.len() - after;
    let parts = [&block[..end - told.len()], &[0; 4], &block[end..]];
    crc32c(parts) == u32::from_be_bytes(told)
}

fn crc32c(parts: [&[u8]; 3]) -> u32 {
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (POLYNOMIAL * (sum & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_polynomial() {
        assert_eq!(crc32c([b"123", b"456", b"789"]), 0xE306_9283);
    }
}
