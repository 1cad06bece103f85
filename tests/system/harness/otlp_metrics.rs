//! What the collector of the tests makes of metrics: every push is held against the specification,
//! and against all pushes before.

use std::collections::{BTreeMap, HashSet};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, HistogramDataPoint, Metric, NumberDataPoint, metric::Data, number_data_point,
};

use super::Samples;
use super::otlp::{check_attributes, find};

/// Those of a trace and a span.
pub(crate) type Ids = (Vec<u8>, Vec<u8>);
/// A series: the metric's name, and its attributes in order.
type Key = (String, Vec<(String, String)>);

/// What was pushed so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pushed {
    series: BTreeMap<Key, Told>,
    /// Requests that were taken.
    pub(crate) requests: usize,
    /// Trace and span ids of the exemplars.
    pub(crate) exemplars: Vec<Ids>,
    /// Who sends them: the instance of the service.
    pub(crate) instance: Option<String>,
}

/// A series as it was told last.
#[derive(Clone, Debug)]
struct Told {
    kind: Kind,
    unit: String,
    start: u64,
    time: u64,
    value: Number,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Gauge,
    UpDown,
    Counter { is_delta: bool },
    Histogram { is_delta: bool },
}

#[derive(Clone, Debug, PartialEq)]
enum Number {
    One(f64),
    Buckets(Vec<f64>, Vec<u64>, f64),
}

impl Pushed {
    /// Takes a push, or says what is wrong with it.
    pub(crate) fn take(&mut self, request: ExportMetricsServiceRequest) -> Result<(), String> {
        let mut next = self.clone();
        let mut names = HashSet::new();
        for group in request.resource_metrics {
            let resource = group.resource.ok_or("no resource")?;
            check_attributes(&resource.attributes)?;
            find(&resource.attributes, "service.name").ok_or("no service.name")?;
            let instance = find(&resource.attributes, "service.instance.id");
            if next.instance.is_some() && next.instance != instance {
                return Err(format!("another instance: {instance:?}"));
            }
            next.instance = Some(instance.ok_or("no instance")?);
            for scope in group.scope_metrics {
                let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
                if name.is_empty() {
                    return Err("no scope".to_owned());
                }
                for metric in scope.metrics {
                    if metric.name.is_empty() || !names.insert(metric.name.clone()) {
                        return Err(format!("no name, or one twice: {metric:?}"));
                    }
                    let name = metric.name.clone();
                    let taken = next.take_metric(metric);
                    taken.map_err(|wrong| format!("{name}: {wrong}"))?;
                }
            }
        }
        if names.is_empty() {
            return Err("no metrics".to_owned());
        }
        next.requests += 1;
        *self = next;
        Ok(())
    }

    fn take_metric(&mut self, metric: Metric) -> Result<(), String> {
        let Metric {
            name, unit, data, ..
        } = metric;
        let is_delta = |temporality: i32| match temporality {
            1 => Ok(true),
            2 => Ok(false),
            other => Err(format!("temporality {other}")),
        };
        let mut seen = HashSet::new();
        let mut put = |pushed: &mut Self, kind, point: Point| {
            let key = (name.clone(), sorted(&point.attributes)?);
            if !seen.insert(key.clone()) {
                return Err(format!("twice: {key:?}"));
            }
            pushed.put(key, (kind, &unit), point)
        };
        match data.ok_or("no data")? {
            Data::Gauge(gauge) => {
                for point in gauge.data_points {
                    put(self, Kind::Gauge, Point::number(point)?)?;
                }
            }
            Data::Sum(sum) => {
                let is_delta = is_delta(sum.aggregation_temporality)?;
                let kind = match sum.is_monotonic {
                    true => Kind::Counter { is_delta },
                    false if is_delta => return Err("what goes down as delta".to_owned()),
                    false => Kind::UpDown,
                };
                for point in sum.data_points {
                    put(self, kind, Point::number(point)?)?;
                }
            }
            Data::Histogram(histogram) => {
                let is_delta = is_delta(histogram.aggregation_temporality)?;
                for point in histogram.data_points {
                    self.exemplars.extend(check_exemplars(&point)?);
                    put(self, Kind::Histogram { is_delta }, Point::histogram(point)?)?;
                }
            }
            other => return Err(format!("{other:?}")),
        }
        match seen.is_empty() {
            true => Err("no points".to_owned()),
            false => Ok(()),
        }
    }

    /// Holds a point against the one before.
    fn put(&mut self, key: Key, (kind, unit): (Kind, &str), point: Point) -> Result<(), String> {
        let has_start = kind != Kind::Gauge;
        if point.time == 0 || (has_start && (point.start == 0 || point.start > point.time)) {
            return Err(format!("times: {point:?}"));
        }
        let grows = matches!(kind, Kind::Counter { .. } | Kind::Histogram { .. });
        if grows && !point.value.is_positive() {
            return Err(format!("less than nothing: {point:?}"));
        }
        let mut value = point.value.clone();
        if let Some(before) = self.series.get(&key) {
            let of = |what: &str| format!("{what}: {key:?} {before:?} {point:?}");
            if (before.kind, before.unit.as_str()) != (kind, unit) {
                return Err(of("kind or unit"));
            }
            if point.time < before.time {
                // What a sender had on its way when it was killed may come after its successor's: old
                // news, and for deltas of a time that the successor has not told of.
                let is_delta = matches!(
                    kind,
                    Kind::Counter { is_delta: true } | Kind::Histogram { is_delta: true }
                );
                let overlaps = is_delta && point.time > before.start;
                return if overlaps {
                    Err(of("overlaps"))
                } else {
                    Ok(())
                };
            }
            if point.time == before.time {
                return Err(of("told twice"));
            }
            match kind {
                Kind::Counter { is_delta: true } | Kind::Histogram { is_delta: true } => {
                    if point.start < before.time {
                        return Err(of("overlaps"));
                    }
                    value = before.value.plus(&value).ok_or_else(|| of("bounds"))?;
                }
                Kind::Gauge => {}
                _ if point.start < before.start => return Err(of("an older start")),
                _ if point.start > before.start && point.start < before.time => {
                    return Err(of("began anew before it ended"));
                }
                _ if grows && point.start == before.start && !value.is_at_least(&before.value) => {
                    return Err(of("went back"));
                }
                _ => {}
            }
        }
        let told = Told {
            kind,
            unit: unit.to_owned(),
            start: point.start,
            time: point.time,
            value,
        };
        self.series.insert(key, told);
        Ok(())
    }

    /// The sum of all series of this name; of histograms that of their counts. Deltas are added up.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        let series = self.series.iter().filter(|((held, _), _)| held == name);
        series
            .map(|(_, told)| match &told.value {
                Number::One(value) => *value,
                Number::Buckets(_, counts, _) => counts.iter().sum::<u64>() as f64,
            })
            .sum()
    }

    /// As Prometheus shows it: name, labels in order, value.
    pub(crate) fn samples(&self) -> Samples {
        let mut samples = BTreeMap::new();
        for ((name, attributes), told) in &self.series {
            let suffix = match told.unit.as_str() {
                "s" => "_seconds",
                "By" if !name.ends_with("bytes") => "_bytes",
                _ => "",
            };
            let name = match name.as_str() {
                "process.thread.count" => "process_threads".to_owned(),
                "process.unix.file_descriptor.count" => "process_open_fds".to_owned(),
                other => other.replace('.', "_") + suffix,
            };
            let labels: Vec<_> = attributes
                .iter()
                .map(|(name, value)| (name.replace('.', "_"), value.clone()))
                .collect();
            let mut put = |end: &str, labels: &[(String, String)], value| {
                samples.insert((format!("{name}{end}"), labels.to_vec()), value);
            };
            match &told.value {
                Number::One(value) => {
                    let is_counter = matches!(told.kind, Kind::Counter { .. });
                    put(if is_counter { "_total" } else { "" }, &labels, *value);
                }
                Number::Buckets(bounds, counts, sum) => {
                    let bounds = bounds.iter().map(|bound| format!("{bound:?}"));
                    let mut total = 0;
                    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
                        total += count;
                        let mut labels = labels.clone();
                        labels.push(("le".to_owned(), bound));
                        labels.sort();
                        put("_bucket", &labels, total as f64);
                    }
                    put("_sum", &labels, *sum);
                    put("_count", &labels, total as f64);
                }
            }
        }
        samples
    }
}

/// A point of whichever kind.
#[derive(Debug)]
struct Point {
    attributes: Vec<KeyValue>,
    start: u64,
    time: u64,
    value: Number,
}

impl Point {
    fn number(point: NumberDataPoint) -> Result<Self, String> {
        let value = match point.value.ok_or("no value")? {
            number_data_point::Value::AsInt(whole) => whole as f64,
            number_data_point::Value::AsDouble(real) if real.is_finite() => real,
            other => return Err(format!("{other:?}")),
        };
        Ok(Self {
            attributes: point.attributes,
            start: point.start_time_unix_nano,
            time: point.time_unix_nano,
            value: Number::One(value),
        })
    }

    fn histogram(point: HistogramDataPoint) -> Result<Self, String> {
        let (bounds, counts) = (point.explicit_bounds, point.bucket_counts);
        let sum = point.sum.filter(|sum| sum.is_finite()).ok_or("no sum")?;
        if counts.len() != bounds.len() + 1 || counts.iter().sum::<u64>() != point.count {
            return Err(format!("{counts:?} for {bounds:?} and {}", point.count));
        }
        if !bounds.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(format!("{bounds:?}"));
        }
        Ok(Self {
            attributes: point.attributes,
            start: point.start_time_unix_nano,
            time: point.time_unix_nano,
            value: Number::Buckets(bounds, counts, sum),
        })
    }
}

impl Number {
    fn is_positive(&self) -> bool {
        match self {
            Self::One(value) | Self::Buckets(_, _, value) => *value >= 0.0,
        }
    }

    fn is_at_least(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::One(now), Self::One(then)) => now >= then,
            (Self::Buckets(_, now, sum), Self::Buckets(_, then, earlier)) => {
                now.len() == then.len()
                    && now.iter().zip(then).all(|(now, then)| now >= then)
                    && sum >= earlier
            }
            _ => false,
        }
    }

    fn plus(&self, more: &Self) -> Option<Self> {
        match (self, more) {
            (Self::One(sum), Self::One(more)) => Some(Self::One(sum + more)),
            (Self::Buckets(bounds, counts, sum), Self::Buckets(others, more, added))
                if bounds == others =>
            {
                let counts = counts.iter().zip(more).map(|(count, more)| count + more);
                Some(Self::Buckets(bounds.clone(), counts.collect(), sum + added))
            }
            _ => None,
        }
    }
}

fn sorted(attributes: &[KeyValue]) -> Result<Vec<(String, String)>, String> {
    check_attributes(attributes)?;
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::BoolValue(flag) => Some(flag.to_string()),
        _ => None,
    };
    let mut sorted = Vec::new();
    for attribute in attributes {
        let value = text(attribute).filter(|text| !text.is_empty());
        let value = value.ok_or_else(|| format!("{attribute:?}"))?;
        sorted.push((attribute.key.clone(), value));
    }
    sorted.sort();
    Ok(sorted)
}

/// Exemplars fall in the time of their point and in a bucket that counted something.
fn check_exemplars(point: &HistogramDataPoint) -> Result<Vec<Ids>, String> {
    let is_sound = |exemplar: &Exemplar| {
        let Some(opentelemetry_proto::tonic::metrics::v1::exemplar::Value::AsDouble(value)) =
            exemplar.value
        else {
            return false;
        };
        let bounds = &point.explicit_bounds;
        let bucket = bounds.partition_point(|bound| *bound < value);
        // The time of an exemplar is in whole milliseconds.
        let start = point.start_time_unix_nano.saturating_sub(1_000_000);
        (start..=point.time_unix_nano).contains(&exemplar.time_unix_nano)
            && point
                .bucket_counts
                .get(bucket)
                .is_some_and(|count| *count > 0)
            && (exemplar.trace_id.len(), exemplar.span_id.len()) == (16, 8)
    };
    match point.exemplars.iter().find(|exemplar| !is_sound(exemplar)) {
        Some(wrong) => Err(format!("{wrong:?} in {point:?}")),
        None => Ok(point
            .exemplars
            .iter()
            .map(|exemplar| (exemplar.trace_id.clone(), exemplar.span_id.clone()))
            .collect()),
    }
}
