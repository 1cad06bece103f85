//! What is to be said about a configuration: collected, never thrown at the first.
//!
//! Every reader and check adds here; whoever asked decides at the end whether it is good enough.

use std::fmt;
use std::path::Path;

/// Everything found, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    /// The file that they are about, as a prefix.
    source: String,
}

/// One thing found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What follows from it.
    pub(crate) weight: Weight,
    /// Where: `server.tcpTimeout`, `http.bind[1].port`; empty for the whole.
    pub(crate) path: String,
    /// What is wrong and what was expected.
    pub(crate) text: String,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The proxy cannot start.
    Error,
    /// A key that is unknown or deprecated: an error when asked to be strict.
    Key,
    /// A certificate that clients refuse today: the other vhosts are served all the same, but a
    /// check fails, and so does a reload.
    Untimely,
    /// Worth knowing.
    Warning,
}

impl Findings {
    /// Adds what prevents a start.
    pub(crate) fn error(&mut self, path: impl Into<String>, text: impl fmt::Display) {
        self.add(Weight::Error, path, text);
    }

    /// Adds what is worth knowing.
    pub(crate) fn warning(&mut self, path: impl Into<String>, text: impl fmt::Display) {
        self.add(Weight::Warning, path, text);
    }

    /// Adds a key that is unknown or deprecated.
    pub(crate) fn key(&mut self, path: impl Into<String>, text: impl fmt::Display) {
        self.add(Weight::Key, path, text);
    }

    /// Adds a certificate that is not valid yet, or not any more.
    pub(crate) fn untimely(&mut self, path: impl Into<String>, text: impl fmt::Display) {
        self.add(Weight::Untimely, path, text);
    }

    fn add(&mut self, weight: Weight, path: impl Into<String>, text: impl fmt::Display) {
        let finding = Finding {
            weight,
            path: path.into(),
            text: text.to_string(),
        };
        // What several listeners inherit is said by each, and wrong once.
        if !self.list.contains(&finding) {
            self.list.push(finding);
        }
    }

    /// Names the file that they are about.
    pub(crate) fn set_file(&mut self, file: &Path) {
        self.source = format!("{}: ", file.display());
    }

    /// What stands before each of them: the file's name and a colon, or nothing.
    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Makes errors of unknown and deprecated keys.
    pub(crate) fn be_strict(&mut self) {
        for finding in self.list.iter_mut().filter(|f| f.weight == Weight::Key) {
            finding.weight = Weight::Error;
        }
    }

    /// Makes errors of certificates that are not valid today.
    pub(crate) fn be_punctual(&mut self) {
        for finding in self
            .list
            .iter_mut()
            .filter(|f| f.weight == Weight::Untimely)
        {
            finding.weight = Weight::Error;
        }
    }

    /// Whether anything prevents a start.
    pub(crate) fn has_errors(&self) -> bool {
        self.iter().any(Finding::is_error)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.list.iter()
    }
}

impl Finding {
    /// Whether it prevents a start.
    pub(crate) fn is_error(&self) -> bool {
        self.weight == Weight::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.text)
        } else {
            write!(f, "{}: {}", self.path, self.text)
        }
    }
}
