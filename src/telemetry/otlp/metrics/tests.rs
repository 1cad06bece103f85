//! Round trips: the official messages read what was written.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric as Decoded, exemplar, number_data_point};
use prost::Message as _;

use super::super::request::Envelope;
use super::*;

fn point<'a>(
    metric: &'static Metric,
    labels: &'a [(&'static str, String)],
    value: Value,
) -> Point<'a> {
    Point {
        metric,
        labels,
        since: 5,
        is_delta: false,
        value,
    }
}

fn number(number: impl Into<Number>) -> Value {
    Value::Number(number.into())
}

fn histogram() -> Value {
    Value::Histogram(Histogram {
        bounds: &[1_000_000, 2_000_000_000],
        counts: vec![1, 0, 300],
        sum: 1_500_000_000,
        exemplars: vec![Exemplar {
            trace: 0xAB << 64 | 7,
            span: 9,
            value: 3_000_000_000,
            at: 1_700_000_000_042,
        }],
    })
}

fn decode(request: &[u8]) -> Vec<Decoded> {
    let resource = [("service.name".to_owned(), "s".to_owned())];
    let sealed = Envelope::new(&resource, b"i", 77).seal(request);
    let mut decoded = ExportMetricsServiceRequest::decode(&sealed[..]).unwrap();
    let mut group = decoded.resource_metrics.remove(0);
    let attributes = group.resource.unwrap().attributes;
    let pid = attributes.iter().find(|one| one.key == "process.pid");
    let pid = pid.unwrap().value.clone().unwrap().value;
    assert_eq!(pid, Some(Any::IntValue(77)));
    assert!(
        group
            .schema_url
            .starts_with("https://opentelemetry.io/schemas/")
    );
    let scope = group.scope_metrics.remove(0);
    assert_eq!(scope.scope.unwrap().name, "hipache");
    scope.metrics
}

/// One of each kind, as the official messages read them.
fn every_kind() -> Vec<Decoded> {
    let labels = [
        (names::STATUS, "200".to_owned()),
        (names::METHOD, "GET".to_owned()),
        (names::OTEL_OVERFLOW, "true".to_owned()),
    ];
    let points = [
        point(&names::EXCHANGES, &labels, number(7_u64)),
        point(&names::EXCHANGES, &[], number(u64::MAX)),
        point(&names::OPEN_TUNNELS, &[], number(-1_i64)),
        point(&names::UPTIME, &[], number(1.5)),
        Point {
            is_delta: true,
            ..point(&names::REQUEST_DURATION, &[], histogram())
        },
    ];
    let requests = encode(&points, 9, 1 << 20);
    assert_eq!(requests.len(), 1);
    decode(&requests[0])
}

#[test]
fn the_official_messages_read_numbers() {
    let metrics = every_kind();
    let told: Vec<_> = metrics
        .iter()
        .map(|m| (m.name.as_str(), m.unit.as_str()))
        .collect();
    let expected = [
        ("hipache.exchanges", "{exchange}"),
        ("hipache.tunnels_open", "{tunnel}"),
        ("process.uptime", "s"),
        ("http.server.request.duration", "s"),
    ];
    assert_eq!(told, expected);
    assert_eq!(metrics[0].description, names::EXCHANGES.help);
    let [
        Some(Data::Sum(sum)),
        Some(Data::Sum(open)),
        Some(Data::Gauge(uptime)),
    ] = [0, 1, 2].map(|place: usize| metrics[place].data.as_ref())
    else {
        panic!("{metrics:?}")
    };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    let first = &sum.data_points[0];
    assert_eq!((first.start_time_unix_nano, first.time_unix_nano), (5, 9));
    assert_eq!(first.value, Some(number_data_point::Value::AsInt(7)));
    let value = |place: usize| first.attributes[place].value.clone().unwrap().value;
    assert_eq!(value(0), Some(Any::IntValue(200)));
    assert_eq!(value(1), Some(Any::StringValue("GET".to_owned())));
    assert_eq!(value(2), Some(Any::BoolValue(true)));
    let most = Some(number_data_point::Value::AsInt(i64::MAX));
    assert_eq!(sum.data_points[1].value, most, "what no i64 holds");
    assert_eq!(
        (open.aggregation_temporality, open.is_monotonic),
        (2, false)
    );
    let minus = Some(number_data_point::Value::AsInt(-1));
    assert_eq!(open.data_points[0].value, minus);
    let real = Some(number_data_point::Value::AsDouble(1.5));
    assert_eq!(uptime.data_points[0].value, real);
}

#[test]
fn the_official_messages_read_histograms() {
    let metrics = every_kind();
    let Some(Data::Histogram(durations)) = &metrics[3].data else {
        panic!("{:?}", metrics[3])
    };
    assert_eq!(durations.aggregation_temporality, 1);
    let point = &durations.data_points[0];
    assert_eq!((point.count, point.sum), (301, Some(1.5)));
    assert_eq!(point.bucket_counts, [1, 0, 300]);
    assert_eq!(point.explicit_bounds, [0.001, 2.0]);
    let exemplar = &point.exemplars[0];
    assert_eq!(exemplar.trace_id, (0xAB_u128 << 64 | 7).to_be_bytes());
    assert_eq!(exemplar.span_id, 9_u64.to_be_bytes());
    assert_eq!(exemplar.time_unix_nano, 1_700_000_000_042_000_000);
    assert_eq!(exemplar.value, Some(exemplar::Value::AsDouble(3.0)));
}

#[test]
fn what_is_too_long_becomes_several_requests_with_each_metric_once() {
    let labels = [(names::VHOST, "a.test".to_owned())];
    let mut points = Vec::new();
    for _ in 0..2_500 {
        points.push(point(&names::VHOST_DURATION, &labels, histogram()));
    }
    points.push(point(&names::UPTIME, &[], number(1.0)));
    let requests = encode(&points, 9, 100_000);
    let mut seen = 0;
    for request in &requests {
        assert!(request.len() < 400_000, "{}", request.len());
        let metrics = decode(request);
        let mut names: Vec<_> = metrics.iter().map(|metric| &metric.name).collect();
        names.dedup();
        assert_eq!(names.len(), metrics.len());
        for metric in &metrics {
            seen += match &metric.data {
                Some(Data::Histogram(histogram)) => histogram.data_points.len(),
                _ => 1,
            };
        }
    }
    assert_eq!((requests.len(), seen), (3, 2_501));
}
