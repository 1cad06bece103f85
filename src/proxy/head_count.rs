//! How many of the bytes sent to a client were heads, so that the log can tell the size of bodies.
//!
//! hyper writes a response's head as a piece of its own, which the I/O adapter shows here before it
//! is written; what is sent of the exchange beyond its heads is body.

use std::cell::Cell;

/// What hyper sends by itself when the service asks for a body that the client holds back.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The heads of one exchange.
#[derive(Debug, Default)]
pub(crate) struct HeadCount {
    /// Interim responses that were passed on.
    interim: Cell<u64>,
    /// [`CONTINUE`], if hyper sent it.
    proceed: Cell<u64>,
    /// The head of the response.
    last: Cell<u64>,
}

impl HeadCount {
    /// The bytes that hyper is about to write. It may show the same ones again, if they could not be
    /// written or not as a whole: a head that is known stays, and its rest does not look like one.
    pub(crate) fn show(&self, bytes: &[u8]) {
        if self.last.get() > 0 || !bytes.starts_with(b"HTTP/1.") {
            return;
        }
        if bytes == CONTINUE {
            self.proceed.set(bytes.len() as u64);
        } else if bytes.ends_with(b"\r\n\r\n") {
            self.last.set(bytes.len() as u64);
        } else if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            self.last.set(at as u64 + 4);
        }
    }

    /// The head of a response that does not pass here, of so many bytes.
    pub(crate) fn count_head(&self, bytes: usize) {
        self.last.set(bytes as u64);
    }

    /// So many bytes of interim responses were written.
    pub(crate) fn add_interim(&self, count: usize) {
        self.interim.set(self.interim.get() + count as u64);
    }

    /// What is body of so many bytes sent, and the end of this exchange.
    pub(crate) fn settle(&self, sent: u64) -> u64 {
        let heads = [&self.interim, &self.proceed, &self.last].map(Cell::take);
        sent.saturating_sub(heads.into_iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_head_is_body() {
        let head = "HTTP/1.1 200 OK\r\na: b\r\n\r\n";
        let joined = format!("{head}body");
        let like_a_head = "HTTP/1.1 200 OK\r\n\r\n";
        let table: [(&[&str], usize, usize, u64); 6] = [
            (&[head, "body"], 0, head.len() + 4, 4),
            (&[head, head, "\r\n"], 0, head.len(), 0),
            (&[&joined], 0, joined.len(), 4),
            (
                &[head, like_a_head],
                0,
                head.len() + like_a_head.len(),
                like_a_head.len() as u64,
            ),
            (
                &["HTTP/1.1 100 Continue\r\n\r\n", head],
                30,
                25 + 30 + head.len() + 7,
                7,
            ),
            (&[], 0, 0, 0),
        ];
        let count = HeadCount::default();
        for (shown, interim, sent, expected) in table {
            shown.iter().for_each(|bytes| count.show(bytes.as_bytes()));
            count.add_interim(interim);
            assert_eq!(count.settle(sent as u64), expected, "{shown:?}");
        }
    }
}
