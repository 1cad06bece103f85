//! Where a signal goes: endpoint, protocol, headers, compression and certificates.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::super::values::PathText;
use super::super::written::Written;
use super::env::{self, Env};
use super::file::Collector;
use super::{Exporter, Secret, Signal};

/// The exporter of a signal; `None` when no endpoint is given, or when it is wrong, which was told.
pub(super) fn exporter(signal: Signal, written: &Collector, env: &mut Env<'_>) -> Option<Exporter> {
    Read {
        signal,
        written,
        env,
    }
    .exporter()
}

/// What is read, and for whom.
struct Read<'a, 'e> {
    signal: Signal,
    written: &'a Collector,
    env: &'a mut Env<'e>,
}

impl Read<'_, '_> {
    fn exporter(mut self) -> Option<Exporter> {
        let protocol = |text: &str| match text {
            "grpc" => Ok(true),
            "http/protobuf" => Ok(false),
            other => Err(format!("{other:?} is neither http/protobuf nor grpc")),
        };
        let compression = |text: &str| match text {
            "gzip" => Ok(true),
            "none" => Ok(false),
            other => Err(format!("{other:?} is neither gzip nor none")),
        };
        let is_grpc = self.choose("protocol", &self.written.protocol, protocol);
        let is_gzip = self.choose("compression", &self.written.compression, compression);
        let headers = self.headers();
        let timeout = self.signal.variables("TIMEOUT");
        let timeout = self.env.parse(&timeout, env::milliseconds);
        let timeout = timeout.or(self.written.timeout.as_ref().map(|seconds| seconds.0));
        let certificate = self.path("CERTIFICATE", &self.written.certificate);
        let client = self.client();
        Some(Exporter {
            signal: self.signal,
            url: self.url(is_grpc)?,
            is_grpc,
            headers,
            timeout: timeout.unwrap_or(Duration::from_secs(10)),
            is_gzip,
            certificate,
            client,
        })
    }

    fn url(&mut self, is_grpc: bool) -> Option<Url> {
        let insecure = self.signal.variables("INSECURE");
        let is_insecure = self.env.parse(&insecure, env::boolean).unwrap_or(false);
        let names = self.signal.variables("ENDPOINT");
        let from_env = self.env.text(&names);
        let from_file = || {
            let text = self.written.endpoint.as_ref()?.clone();
            Some((self.signal.key("endpoint"), text))
        };
        let (source, text) = from_env.or_else(from_file)?;
        match parse(&text, is_grpc, is_insecure) {
            Ok(mut url) => {
                // The endpoint of one signal is used as it is, a shared one is a base. That of the
                // file is a base unless it has a path.
                let [own, shared] = &names;
                let is_base = source == *shared || source != *own && url.path() == "/";
                if !is_grpc && is_base {
                    let base = url.path().trim_end_matches('/').to_owned();
                    url.set_path(&format!("{base}/{}", self.signal.path()));
                }
                Some(url)
            }
            Err(wrong) => {
                self.env.findings.error(source, wrong);
                None
            }
        }
    }

    /// What the environment says, or else the file; false without a word.
    fn choose(
        &mut self,
        key: &str,
        written: &Written<String>,
        parse: impl Fn(&str) -> Result<bool, String>,
    ) -> bool {
        let names = self.signal.variables(&key.to_ascii_uppercase());
        let told = (self.signal.key(key), written);
        self.env.choose(&names, told, parse).unwrap_or(false)
    }

    fn headers(&mut self) -> Vec<(String, Secret)> {
        let names = self.signal.variables("HEADERS");
        let source = self
            .env
            .text(&names)
            .map_or_else(|| self.signal.key("headers"), |(name, _)| name);
        let from_env = self.env.parse(&names, env::pairs);
        let from_file = || self.written.headers.as_ref().map(|pairs| pairs.0.clone());
        let pairs = from_env.or_else(from_file).unwrap_or_default();
        let mut headers = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
            if is_name && HeaderValue::from_str(&value).is_ok() {
                headers.push((name, Secret(value)));
            } else {
                let text = format_args!("{name:?} and its value are no header");
                self.env.findings.error(source.clone(), text);
            }
        }
        headers
    }

    fn path(&self, setting: &str, written: &Written<PathText>) -> Option<PathBuf> {
        let from_env = self.env.text(&self.signal.variables(setting));
        let from_env = from_env.map(|(_, path)| PathBuf::from(path));
        from_env.or_else(|| written.as_ref().map(|path| path.0.clone()))
    }

    /// Key and certificate belong together.
    fn client(&mut self) -> Option<(PathBuf, PathBuf)> {
        let key = self.path("CLIENT_KEY", &self.written.client_key);
        let certificate = self.path("CLIENT_CERTIFICATE", &self.written.client_certificate);
        match (key, certificate) {
            (Some(key), Some(certificate)) => Some((key, certificate)),
            (None, None) => None,
            (Some(_), None) => {
                let text = "a key needs its certificate (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE)";
                let at = self.signal.key("clientCertificate");
                self.env.findings.error(at, text);
                None
            }
            (None, Some(_)) => {
                let text = "a certificate needs its key (OTEL_EXPORTER_OTLP_CLIENT_KEY)";
                let at = self.signal.key("clientKey");
                self.env.findings.error(at, text);
                None
            }
        }
    }
}

fn parse(text: &str, is_grpc: bool, is_insecure: bool) -> Result<Url, String> {
    let scheme = if is_insecure { "http" } else { "https" };
    let full = match text.contains("://") {
        // Only gRPC knows targets without a scheme; they are secure unless told otherwise.
        false if is_grpc => format!("{scheme}://{text}"),
        _ => text.to_owned(),
    };
    let url = Url::parse(&full).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    // The text is not shown: it may hold a password.
    let url = url.ok_or("this is no URL such as http://127.0.0.1:4318")?;
    if url.password().is_some() || !url.username().is_empty() {
        return Err("credentials belong in a header, not in the URL".to_owned());
    }
    Ok(url)
}
