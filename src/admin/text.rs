//! Writing metrics as text: Prometheus 0.0.4, and OpenMetrics 1.0 for those who ask for it.
//!
//! The two differ in the name of a counter's family, in exemplars and in the last line. A library
//! that encodes keeps the data in registries of its own; ours is in shared memory.

use std::fmt::Write;

use http::HeaderMap;
use http::header::ACCEPT;

use crate::scoreboard::Exemplar;
use crate::telemetry::names::{Kind, Metric};
use crate::telemetry::{Buckets, Number, Pairs, Sink, seconds};

/// The exposition format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// The one that is asked for: OpenMetrics where it is named, and not refused.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).into_iter();
        let mut ranges = accepted
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','));
        let is_wanted = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it = parts.next() == Some("application/openmetrics-text");
            is_it && !parts.any(|part| matches!(part, "q=0" | "q=0.0"))
        };
        if ranges.any(is_wanted) {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The text so far.
pub(super) struct Text {
    format: Format,
    text: String,
    /// The metric's name.
    metric: String,
    suffix: &'static str,
}

impl Text {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
            metric: String::new(),
            suffix: "",
        }
    }

    /// The whole text.
    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let Exemplar {
            trace,
            span,
            value,
            at,
        } = *exemplar;
        let value = seconds(value);
        let (secs, millis) = (at / 1_000, at % 1_000);
        let _ = write!(
            self.text,
            " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {value} {secs}.{millis:03}"
        );
    }

    fn name(&mut self, suffix: &str, labels: &Pairs<'_>, bound: Option<&str>) {
        self.text.push_str(&self.metric);
        self.text.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut separator = '{';
        // A label without a value is the same as none.
        for (name, value) in labels.iter().copied().chain(bound) {
            if value.is_empty() {
                continue;
            }
            self.text.push(separator);
            // Names are ASCII; Prometheus has no dots in them.
            let letters = name.chars();
            self.text
                .extend(letters.map(|letter| if letter == '.' { '_' } else { letter }));
            self.text.push_str("=\"");
            self.value(value);
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
    }

    /// Both formats escape these three and nothing else.
    fn value(&mut self, value: &str) {
        for letter in value.chars() {
            match letter {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}

impl Sink for Text {
    fn begin(&mut self, metric: &'static Metric) {
        let (kind, suffix) = match metric.kind {
            Kind::Counter => ("counter", "_total"),
            Kind::Level | Kind::Gauge => ("gauge", ""),
            Kind::Histogram => ("histogram", ""),
        };
        (self.metric, self.suffix) = (metric.exposed(), suffix);
        let family = match self.format {
            Format::Prometheus => suffix,
            Format::OpenMetrics => "",
        };
        let (name, help) = (&self.metric, metric.help);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name}{family} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{family} {kind}");
    }

    fn sample(&mut self, labels: &Pairs<'_>, value: impl Into<Number>) {
        let suffix = self.suffix;
        self.name(suffix, labels, None);
        match value.into() {
            Number::Count(count) => self.line(format_args!(" {count}")),
            Number::Level(level) => self.line(format_args!(" {level}")),
            Number::Real(real) => self.line(format_args!(" {real}")),
        }
    }

    fn histogram(&mut self, labels: &Pairs<'_>, buckets: &Buckets<'_>) {
        let bounds = buckets.bounds.iter().map(|bound| Some(seconds(*bound)));
        let mut total = 0;
        for (place, bound) in bounds.chain([None]).enumerate() {
            total += buckets.counts[place];
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{bound:?}"));
            self.name("_bucket", labels, Some(&bound));
            let _ = write!(self.text, " {total}");
            let exemplar = buckets.exemplars.get(place).copied().flatten();
            if let Some(exemplar) = exemplar.filter(|_| self.format == Format::OpenMetrics) {
                self.exemplar(&exemplar);
            }
            self.text.push('\n');
        }
        self.name("_sum", labels, None);
        self.line(format_args!(" {}", seconds(buckets.sum)));
        self.name("_count", labels, None);
        self.line(format_args!(" {total}"));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::telemetry::{crowded, gather, pieces};

    const SIZES: Metric = Metric {
        name: "a",
        kind: Kind::Histogram,
        unit: "s",
        help: "What it says.",
    };

    const COUNTS: Metric = Metric {
        name: "b",
        kind: Kind::Counter,
        unit: "{thing}",
        help: "Counts.",
    };

    fn write(format: Format) -> String {
        let mut text = Text::new(format);
        text.begin(&COUNTS);
        text.sample(&[("x.z", "a\"b\\c\nd"), ("y", "")], 3_u64);
        text.begin(&SIZES);
        let exemplar = Exemplar {
            trace: 0xABC,
            span: 0xDE,
            value: 1_500_000,
            at: 1_700_000_000_042,
        };
        let buckets = Buckets {
            bounds: &[5_000, 2_000_000_000],
            counts: &[1, 2, 0],
            sum: 1_500_000,
            exemplars: &[None, Some(exemplar), None],
        };
        text.histogram(&[("m", "GET")], &buckets);
        text.end()
    }

    #[test]
    fn prometheus_text_has_no_exemplars() {
        let expected = r#"# HELP b_total Counts.
# TYPE b_total counter
b_total{x_z="a\"b\\c\nd"} 3
# HELP a_seconds What it says.
# TYPE a_seconds histogram
a_seconds_bucket{m="GET",le="5e-6"} 1
a_seconds_bucket{m="GET",le="2.0"} 3
a_seconds_bucket{m="GET",le="+Inf"} 3
a_seconds_sum{m="GET"} 0.0015
a_seconds_count{m="GET"} 3
"#;
        assert_eq!(write(Format::Prometheus), expected);
    }

    #[test]
    fn openmetrics_has_exemplars_and_an_end() {
        let expected = r#"# HELP b Counts.
# TYPE b counter
b_total{x_z="a\"b\\c\nd"} 3
# HELP a_seconds What it says.
# TYPE a_seconds histogram
a_seconds_bucket{m="GET",le="5e-6"} 1
a_seconds_bucket{m="GET",le="2.0"} 3 # {trace_id="00000000000000000000000000000abc",span_id="00000000000000de"} 0.0015 1700000000.042
a_seconds_bucket{m="GET",le="+Inf"} 3
a_seconds_sum{m="GET"} 0.0015
a_seconds_count{m="GET"} 3
# EOF
"#;
        assert_eq!(write(Format::OpenMetrics), expected);
    }

    #[test]
    #[ignore = "a measurement: cargo test --release --lib big_scrape -- --ignored --nocapture"]
    fn big_scrape() {
        for (workers, vhosts) in [(2, 100), (64, 100), (64, 1_000)] {
            let source = crowded(workers, vhosts);
            let mut runs: Vec<_> = (0..20)
                .map(|_| {
                    let mut text = Text::new(Format::OpenMetrics);
                    let began = std::time::Instant::now();
                    let (longest, polls) = pieces(gather(&mut text, &source));
                    (longest, began.elapsed(), polls, text.end().len())
                })
                .collect();
            runs.sort();
            let (longest, all, polls, bytes) = runs[runs.len() / 2];
            let worst = runs[runs.len() - 1].0;
            eprintln!(
                "{workers} workers, {vhosts} vhosts: {bytes} bytes in {all:?}, {polls} pieces, \
                 longest {longest:?} in the middle run, {worst:?} in the worst"
            );
        }
    }

    #[test]
    fn the_format_is_what_accept_names() {
        let cases = [
            ("*/*", Format::Prometheus),
            (
                "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Prometheus,
            ),
            (
                "application/openmetrics-text; version=1.0.0",
                Format::OpenMetrics,
            ),
            (
                "text/plain, application/openmetrics-text;q=0.8",
                Format::OpenMetrics,
            ),
            ("application/openmetrics-text;q=0, */*", Format::Prometheus),
        ];
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Prometheus);
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Format::wanted(&headers), expected, "{accept}");
        }
    }
}
