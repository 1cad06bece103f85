//! Over TLS, to a collector that asks for our certificate: both protocols, compressed and not.

use std::convert::Infallible;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, channel};

use flate2::read::GzDecoder;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::grpc::{Got, answer};
use super::*;

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A server that takes those of this authority, and speaks what the client asks for.
fn server(authority: &Issuer) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config).into()
}

/// Serves one connection, if it is let in.
async fn serve_one(listener: std::net::TcpListener, acceptor: TlsAcceptor, tell: Sender<Got>) {
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request| {
        let tell = tell.clone();
        async move { Ok::<_, Infallible>(answer(request, "0", &tell).await) }
    });
    let io = TokioIo::new(tls);
    let _ = match is_http2 {
        true => {
            let server = http2::Builder::new(TokioExecutor::new());
            server.serve_connection(io, service).await
        }
        false => http1::Builder::new().serve_connection(io, service).await,
    };
}

/// Files of a test, removed at its end.
struct Files(PathBuf);

impl Files {
    fn fresh() -> Self {
        let unique = format!("hipache-export-{:x}", fastrand::u64(..));
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Exports one span; what the collector got, and the spans exported and failed.
fn export_one(traces: &Traces, acceptor: TlsAcceptor) -> (Option<Got>, [u64; 2]) {
    let seat = Seat::detached();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::LocalRuntime::new().unwrap();
        runtime.block_on(serve_one(listener, acceptor, tell));
    });
    let mut traces = traces.clone();
    traces.exporter.url = Url::parse(&format!("https://{address}/v1/traces")).unwrap();
    let export = Rc::new(Export::start(&traces, Envelope::new(&[], b"i", 7), seat).unwrap());
    export.append(|bytes| {
        // An entry of `ScopeSpans.spans` with the name `x`.
        bytes.extend_from_slice(&[0x12, 3, 0x2a, 1, b'x']);
        1
    });
    export.shutdown(Duration::from_secs(10));
    let counts = [Counter::SpansExported, Counter::SpansFailed];
    let counts = counts.map(|counter| seat.count(counter));
    (told.try_recv().ok(), counts)
}

/// The name of the span in a message, as it was framed and compressed.
fn name_of(message: &[u8], is_grpc: bool, is_gzip: bool) -> String {
    let message = match is_grpc {
        true => {
            assert_eq!(message[0], u8::from(is_gzip));
            &message[5..]
        }
        false => message,
    };
    let mut plain = Vec::new();
    match is_gzip {
        true => GzDecoder::new(message).read_to_end(&mut plain).unwrap(),
        false => (&message[..]).read_to_end(&mut plain).unwrap(),
    };
    let decoded = ExportTraceServiceRequest::decode(&plain[..]).unwrap();
    decoded.resource_spans[0].scope_spans[0].spans[0]
        .name
        .clone()
}

#[test]
fn a_collector_that_asks_for_our_certificate_gets_spans_with_it_and_none_without() {
    let (authority, files) = (authority(), Files::fresh());
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["hipache".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let ours = (
        files.write("key.pem", &key.serialize_pem()),
        files.write("chain.pem", &certificate.pem()),
    );
    let authorities = files.write("ca.pem", &authority.pem());
    for (is_grpc, is_gzip) in [(true, true), (true, false), (false, true), (false, false)] {
        let mut traces = traces(100, 100);
        traces.exporter.is_grpc = is_grpc;
        traces.exporter.is_gzip = is_gzip;
        traces.exporter.certificate = Some(authorities.clone());
        let (got, counts) = export_one(&traces, server(&authority));
        assert!(got.is_none(), "without a certificate");
        assert_eq!(counts, [0, 1], "without a certificate");
        traces.exporter.client = Some(ours.clone());
        let (got, counts) = export_one(&traces, server(&authority));
        let (headers, _, message) = got.unwrap();
        assert_eq!(name_of(&message, is_grpc, is_gzip), "x");
        let told = headers.get(if is_grpc {
            "grpc-encoding"
        } else {
            "content-encoding"
        });
        assert_eq!(told.is_some(), is_gzip);
        assert_eq!(counts, [1, 0], "grpc {is_grpc} gzip {is_gzip}");
    }
}
