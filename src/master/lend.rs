//! Certificate files opened for workers, who may not do so themselves.

use super::Master;
use crate::config::Config;
use crate::control::{Lent, ToWorker};
use crate::tls;

impl Master {
    /// Answers a worker that asks for the files of a host. One that does not read its answers gets no
    /// more of them.
    pub(super) fn lend(&mut self, seat: usize, request: u64, host: &str) {
        if let Some(generation) = self.workers.generation_of_reader(seat) {
            let what = self.open(generation, host);
            self.workers.tell(seat, ToWorker::Lent { request, what });
        }
    }

    fn open(&self, generation: u64, host: &str) -> Lent {
        let config = self.configuration_of(generation);
        let Some(directory) = config.and_then(|config| config.certificates.as_ref()) else {
            return Lent::Nothing;
        };
        match tls::lend(directory, host) {
            Ok(Some(files)) => Lent::Files(files),
            Ok(None) => Lent::Nothing,
            Err(error) => {
                let error = format_args!("{}: {error}", directory.display());
                self.unlent
                    .tell("opening a certificate's files for a worker", &error);
                Lent::Refused
            }
        }
    }

    fn configuration_of(&self, generation: u64) -> Option<&Config> {
        let present = std::iter::once(&self.current).chain(&self.next);
        let present = present.map(|it| (it.number, &it.config));
        let past = self.past.iter().map(|it| (it.number, &it.config));
        let mut all = present.chain(past);
        all.find(|(number, _)| *number == generation)
            .map(|(_, config)| config)
    }
}
