//! Which fields a head has, of those that a rule asks for and that most heads do not have. Pure.
//!
//! One walk over what is there, in place of a look-up for each that may be.

use http::header::{
    CONNECTION, CONTENT_TYPE, COOKIE, EXPECT, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

/// A field that a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Connection,
    ContentType,
    Cookie,
    Expect,
    Http2Settings,
    KeepAlive,
    ProxyAuthenticate,
    ProxyAuthenticationInfo,
    ProxyAuthorization,
    ProxyConnection,
    Referer,
    Te,
    TransferEncoding,
    Upgrade,
    XDebug,
    XRealIp,
}

/// The fields of a head, as it was when they were looked for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present(u32);

impl Present {
    /// Those of a head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let fields = headers.keys().filter_map(field);
        Self(fields.fold(0, |present, field| present | bit(field)))
    }

    /// Whether this one is there.
    pub(crate) fn has(self, field: Field) -> bool {
        self.0 & bit(field) != 0
    }
}

const fn bit(field: Field) -> u32 {
    1 << field as u32
}

fn field(name: &HeaderName) -> Option<Field> {
    Some(match *name {
        CONNECTION => Field::Connection,
        CONTENT_TYPE => Field::ContentType,
        COOKIE => Field::Cookie,
        EXPECT => Field::Expect,
        PROXY_AUTHENTICATE => Field::ProxyAuthenticate,
        PROXY_AUTHORIZATION => Field::ProxyAuthorization,
        REFERER => Field::Referer,
        TE => Field::Te,
        TRANSFER_ENCODING => Field::TransferEncoding,
        UPGRADE => Field::Upgrade,
        _ => match name.as_str() {
            "http2-settings" => Field::Http2Settings,
            "keep-alive" => Field::KeepAlive,
            "proxy-authentication-info" => Field::ProxyAuthenticationInfo,
            "proxy-connection" => Field::ProxyConnection,
            "x-debug" => Field::XDebug,
            "x-real-ip" => Field::XRealIp,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn each_field_is_found_by_its_name_and_no_other() {
        let cases = [
            (Field::Connection, "Connection"),
            (Field::ContentType, "Content-Type"),
            (Field::Cookie, "Cookie"),
            (Field::Expect, "Expect"),
            (Field::Http2Settings, "HTTP2-Settings"),
            (Field::KeepAlive, "Keep-Alive"),
            (Field::ProxyAuthenticate, "Proxy-Authenticate"),
            (Field::ProxyAuthenticationInfo, "Proxy-Authentication-Info"),
            (Field::ProxyAuthorization, "Proxy-Authorization"),
            (Field::ProxyConnection, "Proxy-Connection"),
            (Field::Referer, "Referer"),
            (Field::Te, "TE"),
            (Field::TransferEncoding, "Transfer-Encoding"),
            (Field::Upgrade, "Upgrade"),
            (Field::XDebug, "X-Debug"),
            (Field::XRealIp, "X-Real-IP"),
        ];
        for (_, name) in cases {
            let mut headers = HeaderMap::new();
            for line in [name, "host", "x-other"] {
                let line: HeaderName = line.parse().unwrap();
                headers.append(line, HeaderValue::from_static("x"));
            }
            let present = Present::of(&headers);
            for (field, other) in cases {
                assert_eq!(present.has(field), name == other, "{name}: {field:?}");
            }
        }
    }
}
