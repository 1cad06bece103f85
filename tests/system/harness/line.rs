//! One access-log line, taken apart strictly: whatever is unexpected fails the test.

/// A line of the access log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// The client, with the prefix of mapped addresses.
    pub(crate) address: String,
    /// `22/Nov/2026:05:01:23 +0000`.
    pub(crate) time: String,
    /// Method, target and version as one, `-` when the head was refused.
    pub(crate) request: String,
    /// Status, 0 when none was sent.
    pub(crate) status: u16,
    /// Bytes sent to the client.
    pub(crate) bytes: u64,
    /// `Referer`.
    pub(crate) referer: String,
    /// `User-Agent`.
    pub(crate) agent: String,
    /// Identifier of the frontend.
    pub(crate) vhost: String,
    /// Seconds in all.
    pub(crate) total: f64,
    /// Seconds since the last backend was chosen.
    pub(crate) backend: f64,
}

impl Line {
    /// Parses a line without its newline.
    #[track_caller]
    pub(crate) fn parse(line: &str) -> Self {
        match Cursor(line).line() {
            Ok(parsed) => parsed,
            Err(what) => panic!("access-log line: {what}: {line:?}"),
        }
    }

    /// The target.
    pub(crate) fn target(&self) -> &str {
        self.request.split(' ').nth(1).unwrap_or("-")
    }
}

struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Result<Line, String> {
        let address = self.up_to(" - - [")?;
        let time = self.up_to("] \"")?;
        let request = self.up_to("\" ")?;
        let status = self.up_to(" ")?;
        let bytes = self.up_to(" \"")?;
        let referer = self.up_to("\" \"")?;
        let agent = self.up_to("\" \"")?;
        let vhost = self.up_to("\" ")?;
        let total = self.up_to(" ")?;
        let backend = std::mem::take(&mut self.0);
        check_time(time)?;
        check_request(request)?;
        check_address(address)?;
        for text in [request, referer, agent, vhost] {
            check_escaped(text)?;
        }
        let (total, backend) = (seconds(total)?, seconds(backend)?);
        if backend > total {
            return Err(format!("backend time {backend} above total {total}"));
        }
        Ok(Line {
            address: address.to_owned(),
            time: time.to_owned(),
            request: request.to_owned(),
            status: number(status)?,
            bytes: number(bytes)?,
            referer: referer.to_owned(),
            agent: agent.to_owned(),
            vhost: vhost.to_owned(),
            total,
            backend,
        })
    }

    fn up_to(&mut self, separator: &str) -> Result<&'a str, String> {
        let (before, after) = self
            .0
            .split_once(separator)
            .ok_or_else(|| format!("no {separator:?}"))?;
        self.0 = after;
        Ok(before)
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    // A status that was never sent is `000`, as in nginx.
    let padded = text.len() > 1 && text.starts_with('0') && text != "000";
    let parsed = text.parse().ok().filter(|_| plain && !padded);
    parsed.ok_or_else(|| format!("no number: {text:?}"))
}

/// Seconds as JavaScript prints milliseconds divided by 1000.
fn seconds(text: &str) -> Result<f64, String> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "1"));
    let _: u64 = number(whole)?;
    let digits = part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || part.is_empty() || part.len() > 3 || part.ends_with('0') {
        return Err(format!("no seconds: {text:?}"));
    }
    text.parse().map_err(|_| format!("no seconds: {text:?}"))
}

fn check_address(text: &str) -> Result<(), String> {
    let known = text.starts_with("::") || text.contains(':');
    let valid = known && text.parse::<std::net::Ipv6Addr>().is_ok();
    valid
        .then_some(())
        .ok_or_else(|| format!("no IPv6 or mapped address: {text:?}"))
}

/// `22/Nov/2026:05:01:23 +0000`.
fn check_time(text: &str) -> Result<(), String> {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    let shape = text
        .bytes()
        .zip(*b"00/Aaa/0000:00:00:00 +0000")
        .all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'A' => byte.is_ascii_uppercase(),
            b'a' => byte.is_ascii_lowercase(),
            other => byte == other,
        });
    let valid = shape && text.len() == 26 && text.ends_with(" +0000");
    let month = valid && MONTHS.split(' ').any(|month| month == &text[3..6]);
    month
        .then_some(())
        .ok_or_else(|| format!("no time: {text:?}"))
}

fn check_request(text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split(' ').collect();
    let valid = match words[..] {
        ["-"] => true,
        [method, target, "HTTP/1.0" | "HTTP/1.1" | "HTTP/2.0"] => {
            !method.is_empty() && !target.is_empty()
        }
        _ => false,
    };
    valid
        .then_some(())
        .ok_or_else(|| format!("no request line: {text:?}"))
}

/// nginx: `"`, `\`, control characters and bytes from 127 up stand as `\xHH`.
fn check_escaped(text: &str) -> Result<(), String> {
    let plain = |byte: u8| (0x20..0x7f).contains(&byte) && byte != b'"';
    let escapes = text.split('\\').skip(1).all(|rest| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        let rest = rest.as_bytes();
        rest.len() >= 3 && rest[0] == b'x' && hex(rest[1]) && hex(rest[2])
    });
    let valid = escapes && text.bytes().all(plain);
    valid
        .then_some(())
        .ok_or_else(|| format!("not escaped: {text:?}"))
}

#[test]
fn lines_of_the_original_are_understood_and_anything_else_is_not() {
    let line = r#"::ffff:127.0.0.1 - - [22/Nov/2026:05:01:23 +0000] "GET /x?y=1 HTTP/1.1" 200 101 "http://ref/" "UA/1" "id-a.test" 0.012 0.006"#;
    let parsed = Line::parse(line);
    assert_eq!(
        (parsed.status, parsed.bytes, parsed.target()),
        (200, 101, "/x?y=1")
    );
    assert_eq!(
        (parsed.agent.as_str(), parsed.vhost.as_str()),
        ("UA/1", "id-a.test")
    );
    let refused = r#"::1 - - [02/Jan/2026:05:01:23 +0000] "-" 400 96 "" "" "-" 0 0"#;
    assert_eq!(Line::parse(refused).target(), "-");
    let broken = [
        ("0.012 0.006", "0.0120 0.006"),
        ("0.012 0.006", "0.012 0.013"),
        ("0.012 0.006", "0.012"),
        ("22/Nov", "2/Nov"),
        ("Nov", "nov"),
        ("+0000", "+0100"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("UA/1", "UA\\1"),
        ("UA/1", "U\u{e4}"),
        ("UA/1", "U\"A"),
        (" 200 ", " 0200 "),
        (" 101 ", " - "),
        ("HTTP/1.1", "HTTP/2"),
    ];
    for (old, new) in broken {
        let line = line.replace(old, new);
        assert!(Cursor(&line).line().is_err(), "{line}");
    }
}
