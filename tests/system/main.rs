//! System tests: a real client, the real binary, real backends, a real Redis.
//!
//! One file a behaviour; a test's name is the sentence that it proves. Every test starts what it
//! needs on ports of its own in a directory of its own, and every wait has a limit.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::excessive_nesting,
    reason = "tests block, fail by panicking and tell why on standard error"
)]

mod access_log;
mod access_log_files;
mod access_log_formats;
mod admin;
mod backend_pace;
mod backend_requests;
mod backend_responses;
mod backends;
mod bodies;
mod cache;
mod cli;
mod client_certificates;
mod container;
mod dead_marks;
mod early_answers;
mod forwarding;
mod grpc;
mod harness;
mod http;
mod http2_backends;
mod http2_ends;
mod http2_heads;
mod http2_limits;
mod http2_oddities;
mod http2_streams;
mod http_errors;
mod https;
mod https_redirects;
mod key_material;
mod limits;
mod limits_by_phase;
mod memory;
mod metrics;
mod metrics_push;
mod options;
mod privileges;
mod processes;
mod prometheus;
mod proxied;
mod redis_outage;
mod reload;
mod reload_limits;
mod retry;
mod routing;
mod service_manager;
mod shutdown;
mod socket_activation;
mod stores;
mod story;
mod supervision;
mod surroundings;
mod tls_metrics;
mod tls_oddities;
mod tls_private_files;
mod tls_sessions;
mod tls_terms;
mod traces;
mod traces_export;
mod traces_workers;
mod trailers;
mod tunnels;
mod tunnels_ends;
mod upgrade;
mod websocket;
