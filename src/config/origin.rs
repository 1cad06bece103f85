//! Where the configuration comes from: read at the start, and again at a reload.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::findings::Findings;
use super::quick::{QuickRoute, quick};
use super::resolve::Surroundings;
use super::{Config, check, load};

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A file.
    File(PathBuf),
    /// The command line alone.
    CommandLine {
        /// Addresses to listen on.
        listen: Vec<SocketAddr>,
        /// Hosts and their backends.
        routes: Vec<QuickRoute>,
    },
}

/// A configuration and the text that it was made of.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What is in force with it.
    pub config: Config,
    /// The file's text; empty without a file.
    pub(crate) text: String,
}

impl Origin {
    /// Reads and checks it all. What is wrong is among the findings; with an error there the
    /// configuration, if there is one at all, is not to be used.
    pub(crate) fn load(&self, findings: &mut Findings) -> Option<Loaded> {
        let loaded = match self {
            Self::File(path) => {
                findings.set_file(path);
                let text = load::read(path, findings)?;
                self.load_text(text, findings)
            }
            Self::CommandLine { .. } => self.load_text(String::new(), findings),
        }?;
        check::check(&loaded.config, findings);
        Some(loaded)
    }

    /// Makes a configuration of a text that was read and checked before.
    pub(crate) fn load_text(&self, text: String, findings: &mut Findings) -> Option<Loaded> {
        let config = match self {
            Self::File(_) => load::parse(text.as_bytes(), Surroundings::here(), findings)?,
            Self::CommandLine { listen, routes } => quick(listen.clone(), routes.clone(), findings),
        };
        Some(Loaded { config, text })
    }
}
