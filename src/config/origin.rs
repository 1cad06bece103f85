//! Where the configuration comes from: read at the start, and again at a reload.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::findings::Findings;
use super::quick::{QuickRoute, quick};
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

impl Origin {
    /// Reads and checks it all. What is wrong is among the findings; with an error there the
    /// configuration, if there is one at all, is not to be used.
    pub(crate) fn read(&self, findings: &mut Findings) -> Option<Config> {
        let config = match self {
            Self::File(path) => {
                findings.set_file(path);
                load::load(path, findings)
            }
            Self::CommandLine { listen, routes } => {
                Some(quick(listen.clone(), routes.clone(), findings))
            }
        };
        if let Some(config) = &config {
            check::check(config, findings);
        }
        config
    }
}
