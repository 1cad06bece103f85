//! Answering operators and scrapers: `/metrics`, `/healthz`, `/readyz`, `/status`.
//!
//! Every serving worker answers for all: figures come from the scoreboard. Whoever asks is kept
//! short, so that traffic does not notice: few connections, one request each, small heads, little
//! time, and answers that are made in pieces between which others run. A worker in its last drain
//! goes on answering, so that the end can be watched.

mod io;
mod status;
mod text;

use std::cell::Cell;
use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, spawn_local};
use tokio::time::timeout;

use crate::drain::DrainWatch;
use crate::listener::{Accepted, Listeners, Shortage};
use crate::route::Router;
use crate::scoreboard::{Counter, Seat, State};
use crate::telemetry::{Event, Source, emit, gather};
use io::AdminIo;
use text::{Format, Text};

/// Connections at a time; more are closed at once.
const CONNECTIONS: usize = 16;
/// For the head to arrive, and then for the answer to be taken.
const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of a request head; the least that hyper allows.
const HEAD_BYTES: usize = 8 * 1024;
/// Fields of a request head.
const HEAD_FIELDS: usize = 32;

/// What answers are made from.
pub(crate) struct Facts {
    /// The answering worker.
    pub(crate) number: usize,
    pub(crate) seat: Seat,
    pub(crate) router: Rc<Router>,
    /// Held by every answer in the making.
    pub(crate) watch: DrainWatch,
    /// What metrics are read from.
    pub(crate) source: Source,
}

/// Answers on these sockets until the task that this runs in ends.
pub(crate) async fn serve(listeners: Listeners, facts: Facts) {
    let facts = Rc::new(facts);
    let mut queues = JoinSet::new();
    for listener in listeners.of_slot(0) {
        let queue = match listener.open_queue() {
            Ok(queue) => queue,
            Err(error) => {
                emit(&Event::Problem {
                    doing: "accepting on the admin listener",
                    error: &error,
                });
                continue;
            }
        };
        let facts = Rc::clone(&facts);
        queues.spawn_local(async move {
            let (shortage, open) = (Shortage::unreserved(), Rc::new(Cell::new(0)));
            let receive = |accepted: Accepted| receive(accepted.stream, &facts, &open);
            queue.accept_each(&shortage, receive).await;
        });
    }
    while queues.join_next().await.is_some() {}
}

/// Answers a connection in a task of its own, which its limits end soon.
fn receive(stream: TcpStream, facts: &Rc<Facts>, open: &Rc<Cell<usize>>) {
    if open.get() >= CONNECTIONS {
        facts.seat.add(Counter::AdminRefused, 1);
        return;
    }
    let place = Place::take(open);
    let (facts, watch) = (Rc::clone(facts), facts.watch.clone());
    spawn_local(async move {
        answer_one(stream, facts).await;
        drop((place, watch));
    });
}

/// Counts a connection for as long as it lives.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn answer_one(stream: TcpStream, facts: Rc<Facts>) {
    let is_asked = Rc::new(Cell::new(false));
    let service = service_fn(|request| {
        is_asked.set(true);
        answer(request, Rc::clone(&facts))
    });
    let mut connection = pin!(
        http1::Builder::new()
            .keep_alive(false)
            .header_read_timeout(None)
            .max_headers(HEAD_FIELDS)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(AdminIo(stream), service)
    );
    // Whoever breaks off or overruns a limit gets no more of an answer than that.
    if timeout(LIMIT, connection.as_mut()).await.is_err() && is_asked.get() {
        let _ = timeout(LIMIT, connection).await;
    }
}

/// A body that is there in full.
type Answer = Response<Whole>;

async fn answer(request: Request<Incoming>, facts: Rc<Facts>) -> Result<Answer, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(header::ALLOW, allowed);
        return Ok(refusal);
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            let format = Format::wanted(request.headers());
            let mut text = Text::new(format);
            gather(&mut text, &facts.source).await;
            reply(StatusCode::OK, format.content_type(), text.end())
        }
        "/healthz" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => match readiness(&facts) {
            Ok(()) => plain(StatusCode::OK, "ready\n"),
            Err(reason) => plain(StatusCode::SERVICE_UNAVAILABLE, &format!("{reason}\n")),
        },
        "/status" => {
            let text = status::status(&facts).await.to_string();
            reply(StatusCode::OK, "application/json", text)
        }
        _ => plain(
            StatusCode::NOT_FOUND,
            "expected /metrics, /healthz, /readyz or /status\n",
        ),
    })
}

/// Whether the answering worker can serve requests, or why not.
fn readiness(facts: &Facts) -> Result<(), String> {
    match facts.seat.life().state {
        State::Serving => {}
        state => return Err(format!("not ready: this worker is {}", state.as_str())),
    }
    let routed = facts.router.readiness();
    routed.map_err(|cause| format!("not ready: no routes: {cause}"))
}

fn plain(status: StatusCode, text: &str) -> Answer {
    reply(status, "text/plain; charset=utf-8", text.to_owned())
}

fn reply(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut response = Response::new(Whole(Some(text.into())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A text as a body.
struct Whole(Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let text = self.0.take();
        std::task::Poll::Ready(text.map(|text| Ok(http_body::Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        let length = self.0.as_ref().map_or(0, Bytes::len);
        http_body::SizeHint::with_exact(length as u64)
    }
}
