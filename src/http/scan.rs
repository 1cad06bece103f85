//! Looks at a request head as it passes, for what hyper settles silently.
//!
//! hyper drops `Content-Length` when `Transfer-Encoding` is there too, and goes on. RFC 9112 §6.1
//! allows it; we refuse such requests, as they are how requests are smuggled. The scanner sees
//! field names only, line by line; it parses nothing, hyper does.

/// The longest of the names looked for, with its colon.
const NAME_BYTES: usize = b"transfer-encoding:".len();

/// What has been seen of one head.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    line: [u8; NAME_BYTES],
    line_len: usize,
    has_begun: bool,
    is_over: bool,
    has_content_length: bool,
    has_transfer_encoding: bool,
}

impl HeadScan {
    /// Begins with the next head.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }

    /// Looks at bytes of the head; what follows its end is not looked at.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.is_over && !bytes.is_empty() {
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let (line, rest) = match end {
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
                None => (bytes, &bytes[bytes.len()..]),
            };
            self.extend_line(line);
            if end.is_some() {
                self.end_line();
            }
            bytes = rest;
        }
    }

    /// Whether the head carries both framings.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.has_content_length && self.has_transfer_encoding
    }

    fn extend_line(&mut self, piece: &[u8]) {
        let room = NAME_BYTES - self.line_len;
        let taken = piece.len().min(room);
        self.line[self.line_len..self.line_len + taken].copy_from_slice(&piece[..taken]);
        self.line_len += taken;
    }

    fn end_line(&mut self) {
        let line = &self.line[..self.line_len];
        if line.is_empty() || line == b"\r" {
            // RFC 9112 §2.2: empty lines before the request line are ignored, by hyper as well.
            self.is_over = self.has_begun;
        } else {
            self.has_begun = true;
        }
        self.has_content_length |= begins_with(line, b"content-length:");
        self.has_transfer_encoding |= begins_with(line, b"transfer-encoding:");
        self.line_len = 0;
    }
}

fn begins_with(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_framings_are_seen_however_the_head_is_cut() {
        let cases: [(&str, bool); 8] = [
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                true,
            ),
            (
                "POST / HTTP/1.1\ntransfer-encoding:chunked\ncontent-length:1\n\n",
                true,
            ),
            (
                "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nTransfer-Encoding: chunked\r\n",
                false,
            ),
            (
                "POST / HTTP/1.1\r\nX-Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
            (
                "POST /content-length: HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
                false,
            ),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false),
            (
                "\r\n\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                true,
            ),
            (
                "\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nTransfer-Encoding: chunked\r\n",
                false,
            ),
        ];
        for (head, expected) in cases {
            for cut in 0..head.len() {
                let mut scan = HeadScan::default();
                scan.feed(&head.as_bytes()[..cut]);
                scan.feed(&head.as_bytes()[cut..]);
                assert_eq!(scan.is_ambiguous(), expected, "{head:?} cut at {cut}");
            }
        }
    }
}
