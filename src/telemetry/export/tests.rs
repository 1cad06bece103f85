//! The queue and its counts, with a collector that nobody is.

use std::time::Instant;

use url::Url;

use super::*;
use crate::config::{Exporter, Limits, Sampler, Signal};

mod grpc;
mod tls;

/// Settings with a port where nobody listens.
fn traces(spans: usize, batch: usize) -> Traces {
    let url = Url::parse("http://127.0.0.1:1/v1/traces").unwrap();
    Traces {
        exporter: Exporter {
            signal: Signal::Traces,
            url,
            is_grpc: false,
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            is_gzip: true,
            certificate: None,
            client: None,
        },
        sampler: Sampler {
            is_parent_based: true,
            ratio: 1.0,
        },
        sample_errors: true,
        slower_than: None,
        queue: ExportQueue {
            items: spans,
            batch,
            delay: Duration::from_secs(5),
            limit: Duration::from_secs(30),
        },
        limits: Limits {
            attributes: 1,
            events: 1,
            value_length: None,
        },
    }
}

fn export(spans: usize, batch: usize, seat: Seat) -> Rc<Export> {
    Rc::new(Export::start(&traces(spans, batch), Envelope::new(&[], b"i", 7), seat).unwrap())
}

#[test]
fn every_span_ends_in_one_count_and_nobody_waits() {
    let seat = Seat::detached();
    let export = export(10, 4, seat);
    let start = Instant::now();
    for _ in 0..30 {
        export.append(|bytes| {
            bytes.extend_from_slice(b"x");
            1
        });
    }
    assert!(start.elapsed() < Duration::from_millis(100));
    export.shutdown(Duration::from_secs(10));
    let counts = [
        Counter::SpansQueued,
        Counter::SpansExported,
        Counter::SpansDropped,
        Counter::SpansFailed,
    ];
    let [queued, exported, dropped, failed] = counts.map(|counter| seat.count(counter));
    assert_eq!((queued, exported), (30, 0));
    assert_eq!(dropped + failed, 30, "{dropped} {failed}");
    assert!(failed >= 8, "two batches had room: {failed}");
}

#[test]
fn what_is_not_sent_when_the_limit_is_over_counts_as_failed() {
    let seat = Seat::detached();
    let export = export(100, 100, seat);
    export.append(|bytes| {
        bytes.extend_from_slice(b"x");
        5
    });
    export.shutdown(Duration::ZERO);
    assert_eq!(seat.count(Counter::SpansFailed), 5);
    std::thread::park_timeout(Duration::from_millis(100));
    assert_eq!(seat.count(Counter::SpansFailed), 5, "counted once");
}
