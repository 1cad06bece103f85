//! Where spans go: endpoint, protocol, headers, compression and certificates.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use url::Url;

use super::env::{self, Env};
use super::file::Telemetry as Written;
use super::{Exporter, Secret};

/// The path of the specification, below the endpoint that all signals share.
const TRACES_PATH: &str = "v1/traces";

/// The exporter; `None` when no endpoint is given, or when it is wrong, which was told.
pub(super) fn exporter(written: &Written, env: &mut Env<'_>) -> Option<Exporter> {
    let is_grpc = is_grpc(written, env);
    let insecure = [
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        "OTEL_EXPORTER_OTLP_INSECURE",
    ];
    let is_insecure = env.parse(&insecure, env::boolean).unwrap_or(false);
    let headers = headers(written, env);
    let timeout = [
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ];
    let timeout = env.parse(&timeout, env::milliseconds);
    let timeout = timeout.or(written.timeout.as_ref().map(|seconds| seconds.0));
    let is_gzip = is_gzip(written, env);
    let certificate = path(
        env,
        ["TRACES_CERTIFICATE", "CERTIFICATE"],
        &written.certificate,
    );
    let client = client(written, env);
    let url = url(written, env, is_grpc, is_insecure)?;
    Some(Exporter {
        url,
        is_grpc,
        headers,
        timeout: timeout.unwrap_or(Duration::from_secs(10)),
        is_gzip,
        certificate,
        client,
    })
}

fn url(written: &Written, env: &mut Env<'_>, is_grpc: bool, is_insecure: bool) -> Option<Url> {
    let own = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    let shared = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let from_env = env.text(&[own, shared]);
    let from_file = || Some(("telemetry.endpoint", written.endpoint.as_ref()?.clone()));
    let (source, text) = from_env.or_else(from_file)?;
    match parse(&text, is_grpc, is_insecure) {
        Ok(mut url) => {
            // The endpoint of one signal is used as it is, a shared one is a base. That of the file
            // is a base unless it has a path.
            let is_base = source == shared || source != own && url.path() == "/";
            if !is_grpc && is_base {
                let base = url.path().trim_end_matches('/').to_owned();
                url.set_path(&format!("{base}/{TRACES_PATH}"));
            }
            Some(url)
        }
        Err(wrong) => {
            env.findings.error(source, wrong);
            None
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

fn is_grpc(written: &Written, env: &mut Env<'_>) -> bool {
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
        "OTEL_EXPORTER_OTLP_PROTOCOL",
    ];
    let parse = |text: &str| match text {
        "grpc" => Ok(true),
        "http/protobuf" => Ok(false),
        other => Err(format!("{other:?} is neither http/protobuf nor grpc")),
    };
    let from_file = written.protocol.as_ref().map(|text| parse(text));
    choose(env, &names, ("telemetry.protocol", from_file), parse).unwrap_or(false)
}

fn is_gzip(written: &Written, env: &mut Env<'_>) -> bool {
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        "OTEL_EXPORTER_OTLP_COMPRESSION",
    ];
    let parse = |text: &str| match text {
        "gzip" => Ok(true),
        "none" => Ok(false),
        other => Err(format!("{other:?} is neither gzip nor none")),
    };
    let from_file = written.compression.as_ref().map(|text| parse(text));
    choose(env, &names, ("telemetry.compression", from_file), parse).unwrap_or(false)
}

/// What the environment says, or else the file.
fn choose<T>(
    env: &mut Env<'_>,
    names: &[&'static str],
    (key, from_file): (&str, Option<Result<T, String>>),
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let from_env = env.parse(names, parse);
    let from_file =
        from_file.and_then(|told| told.map_err(|wrong| env.findings.error(key, wrong)).ok());
    from_env.or(from_file)
}

fn headers(written: &Written, env: &mut Env<'_>) -> Vec<(String, Secret)> {
    let names = [
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
        "OTEL_EXPORTER_OTLP_HEADERS",
    ];
    let source = env
        .text(&names)
        .map_or("telemetry.headers", |(name, _)| name);
    let from_env = env.parse(&names, env::pairs);
    let from_file = || written.headers.as_ref().map(|pairs| pairs.0.clone());
    let pairs = from_env.or_else(from_file).unwrap_or_default();
    let mut headers = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        let is_name = HeaderName::from_bytes(name.as_bytes()).is_ok();
        if is_name && HeaderValue::from_str(&value).is_ok() {
            headers.push((name, Secret(value)));
        } else {
            let text = format_args!("{name:?} and its value are no header");
            env.findings.error(source, text);
        }
    }
    headers
}

fn path(
    env: &Env<'_>,
    suffixes: [&str; 2],
    written: &super::super::written::Written<super::super::values::PathText>,
) -> Option<PathBuf> {
    let variable = |suffix: &str| (env.lookup)(&format!("OTEL_EXPORTER_OTLP_{suffix}"));
    let set = |suffix| variable(suffix).filter(|path| !path.is_empty());
    let from_env = suffixes.into_iter().find_map(set).map(PathBuf::from);
    from_env.or_else(|| written.as_ref().map(|path| path.0.clone()))
}

/// Key and certificate belong together.
fn client(written: &Written, env: &mut Env<'_>) -> Option<(PathBuf, PathBuf)> {
    let key = path(
        env,
        ["TRACES_CLIENT_KEY", "CLIENT_KEY"],
        &written.client_key,
    );
    let names = ["TRACES_CLIENT_CERTIFICATE", "CLIENT_CERTIFICATE"];
    let certificate = path(env, names, &written.client_certificate);
    match (key, certificate) {
        (Some(key), Some(certificate)) => Some((key, certificate)),
        (None, None) => None,
        (Some(_), None) => {
            let text = "a key needs its certificate (OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE)";
            env.findings.error("telemetry.clientCertificate", text);
            None
        }
        (None, Some(_)) => {
            let text = "a certificate needs its key (OTEL_EXPORTER_OTLP_CLIENT_KEY)";
            env.findings.error("telemetry.clientKey", text);
            None
        }
    }
}
