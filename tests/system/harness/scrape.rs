//! A tiny reader of metrics: what a scrape of the admin port says.

use std::collections::BTreeMap;

/// Samples: name and sorted labels, and value.
pub(crate) type Samples = BTreeMap<(String, Vec<(String, String)>), f64>;

/// The samples of one scrape.
#[derive(Debug)]
pub(crate) struct Scrape {
    samples: Samples,
    /// The text itself.
    pub(crate) text: String,
}

impl Scrape {
    /// Reads the text; fails on a line that is none and on a sample that comes twice.
    #[track_caller]
    pub(crate) fn parse(text: String) -> Self {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.split(" # ").next().unwrap();
            let (series, value) = line.rsplit_once(' ').expect(line);
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect(line);
            let mut labels: Vec<_> = labels
                .split("\",")
                .filter(|label| !label.is_empty())
                .map(|label| {
                    let (name, value) = label.split_once("=\"").expect(line);
                    (name.to_owned(), value.trim_end_matches('"').to_owned())
                })
                .collect();
            labels.sort();
            let twice = samples.insert((name.to_owned(), labels), value.parse().expect(line));
            assert_eq!(twice, None, "{line}");
        }
        Self { samples, text }
    }

    /// All samples.
    pub(crate) fn samples(&self) -> &Samples {
        &self.samples
    }

    /// The sum of all samples of this name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.of(name, labels).map(|(_, value)| value).sum()
    }

    /// All values that a label has in samples of this name.
    pub(crate) fn values(&self, name: &str, label: &str) -> Vec<String> {
        let mut values: Vec<_> = self
            .of(name, &[])
            .flat_map(|(labels, _)| labels)
            .filter(|(name, _)| name == label)
            .map(|(_, value)| value.clone())
            .collect();
        values.sort();
        values.dedup();
        values
    }

    /// Counters and buckets that are smaller than they were.
    pub(crate) fn gone_back_since(&self, earlier: &Self) -> Vec<String> {
        let counts = |name: &str| {
            ["_total", "_bucket", "_count"]
                .iter()
                .any(|end| name.ends_with(end))
                && !name.starts_with("process_")
        };
        let counters = earlier.samples.iter().filter(|((name, _), _)| counts(name));
        counters
            .filter(|(key, before)| self.samples.get(key).is_none_or(|now| now < before))
            .map(|(key, before)| format!("{key:?}: {before} became {:?}", self.samples.get(key)))
            .collect()
    }

    fn of<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = (&'a Vec<(String, String)>, f64)> {
        let has = |held: &Vec<(String, String)>, wanted: &(&str, &str)| {
            held.iter()
                .any(|(name, value)| (name.as_str(), value.as_str()) == *wanted)
        };
        self.samples
            .iter()
            .filter(move |((held, held_labels), _)| {
                held == name && labels.iter().all(|wanted| has(held_labels, wanted))
            })
            .map(|((_, labels), value)| (labels, *value))
    }
}
