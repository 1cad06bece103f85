//! Who accepts for whom: a slot without a reliable worker is an *orphan*, and every reliable worker
//! of the others accepts from its sockets as well until it has one again.
//!
//! Wanted and done are two sets; the difference is what is to be told.

use std::collections::BTreeSet;

use super::{Action, Supervisor};

impl Supervisor {
    /// Tells workers to accept for orphans, and to stop that.
    pub(super) fn share_orphans(&mut self) {
        let wanted = self.wanted_adoptions();
        let released = self.adopted.difference(&wanted);
        self.actions
            .extend(released.map(|&(orphan, by)| Action::Release { orphan, by }));
        let adopted = wanted.difference(&self.adopted);
        self.actions
            .extend(adopted.map(|&(orphan, by)| Action::Adopt { orphan, by }));
        self.adopted = wanted;
    }

    fn wanted_adoptions(&self) -> BTreeSet<(usize, usize)> {
        // The newest generation that serves each slot; numbers begin with 1.
        let mut served_by = vec![0; self.known_since.len()];
        let reliable = || {
            let processes = self.processes.iter();
            processes.filter(|(_, process)| process.is_reliable())
        };
        for (_, process) in reliable() {
            if let Some(newest) = served_by.get_mut(process.slot) {
                *newest = process.generation.max(*newest);
            }
        }
        let mut wanted = BTreeSet::new();
        for (slot, (&served_by, &known_since)) in
            served_by.iter().zip(&self.known_since).enumerate()
        {
            // Who serves it must know at least as many of its sockets as who would help.
            let helpers = reliable().filter(|(_, helper)| {
                helper.slot != slot
                    && helper.generation > served_by
                    && helper.generation >= known_since
            });
            wanted.extend(helpers.map(|(seat, _)| (slot, *seat)));
        }
        wanted
    }
}
