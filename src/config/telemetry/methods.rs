//! The methods that spans and metrics tell by their names.

use super::env::Env;
use super::file::Telemetry as Written;

/// Those of RFC 9110 and RFC 5789, and the new `QUERY`.
const KNOWN: [&str; 10] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE",
];
/// Methods, at most: each may have series of its own.
const LIMIT: usize = 64;

/// What environment or file say, or those that everyone knows.
pub(super) fn known(written: &Written, env: &mut Env<'_>) -> Vec<String> {
    let from_env = env.parse(&["OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"], |text| {
        check(text.split(',').map(str::trim))
    });
    let from_file = || {
        let names = written.known_methods.as_ref()?.0.iter().map(String::as_str);
        let at = "telemetry.knownMethods";
        check(names)
            .map_err(|wrong| env.findings.error(at, wrong))
            .ok()
    };
    from_env
        .or_else(from_file)
        .unwrap_or_else(|| KNOWN.map(str::to_owned).to_vec())
}

fn check<'a>(names: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    let is_method = |name: &&str| http::Method::from_bytes(name.as_bytes()).is_ok();
    if let Some(wrong) = names.iter().find(|name| !is_method(name)) {
        return Err(format!("{wrong:?} is no method"));
    }
    if names.len() > LIMIT {
        return Err(format!(
            "these are {} methods, at most {LIMIT} were expected",
            names.len()
        ));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}
