//! Which vhosts have a place of their own in the metrics: the busiest, as this worker sees them.
//!
//! First come, first served while there are places. Then a vhost without one is counted under
//! `other`, and watched by the sketch of Misra and Gries: four counters a place find every vhost
//! that is busy, however many there are. After a round of requests those that were at least twice
//! as busy as the quietest with a place take it; so the places change seldom, and a series ends
//! only when its vhost is quiet in all workers. Worker-private but for the places themselves.

use std::collections::HashSet;

use foldhash::HashMap;

use super::names::OTHER_VHOSTS;
use crate::scoreboard::{Counter, Seat, Visit, shown_name};

/// Requests between two changes of places.
const ROUND: u32 = 8_192;
/// Vhosts that are watched, for each place.
const WATCHED: usize = 4;
/// The place of all others.
const OTHER: usize = 0;

pub(super) struct Busiest {
    seat: Seat,
    places: HashMap<Box<str>, usize>,
    /// Places without a name, the first one last.
    free: Vec<usize>,
    /// Requests of this round by place.
    hits: Vec<u32>,
    watched: HashMap<Box<str>, u32>,
    left: u32,
}

impl Busiest {
    /// Takes over the names that the last worker of this seat left; a name that it did not finish
    /// writing is given up with its counts.
    pub(super) fn new(seat: Seat) -> Self {
        let count = seat.vhost_places();
        let named = |place| seat.visits(place).map(|vhost| vhost.name.into_boxed_str());
        let names = (1..=count).filter_map(|place| Some((named(place)?, place)));
        let places: HashMap<_, _> = names.collect();
        let taken: HashSet<_> = places.values().copied().collect();
        Self {
            free: (1..=count)
                .rev()
                .filter(|place| !taken.contains(place))
                .collect(),
            places,
            hits: vec![0; count + 1],
            watched: HashMap::default(),
            left: ROUND,
            seat,
        }
    }

    /// Counts a request.
    pub(super) fn visit(&mut self, vhost: &str, visit: &Visit) {
        let place = self.place(vhost);
        self.seat.visit(place, visit);
        self.hits[place] += 1;
        self.left -= 1;
        if self.left == 0 {
            self.end_round();
        }
    }

    fn place(&mut self, vhost: &str) -> usize {
        // What is shown under one name is counted in one place.
        let vhost = shown_name(vhost);
        if vhost.is_empty() || vhost == OTHER_VHOSTS {
            return OTHER;
        }
        if let Some(place) = self.places.get(vhost) {
            return *place;
        }
        if let Some(place) = self.free.pop() {
            // Nobody's before, so nothing is given up.
            self.seat.rename_vhost(place, vhost);
            self.places.insert(vhost.into(), place);
            return place;
        }
        self.watch(vhost);
        OTHER
    }

    fn watch(&mut self, vhost: &str) {
        if let Some(count) = self.watched.get_mut(vhost) {
            *count += 1;
        } else if self.watched.len() < self.seat.vhost_places() * WATCHED {
            self.watched.insert(vhost.into(), 1);
        } else {
            self.watched.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    fn end_round(&mut self) {
        self.left = ROUND;
        let mut risers: Vec<_> = self.watched.drain().collect();
        risers.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut quiet: Vec<_> = (1..self.hits.len()).collect();
        quiet.sort_unstable_by_key(|place| self.hits[*place]);
        let pairs = risers.into_iter().zip(quiet);
        let moves = pairs.take_while(|((_, count), place)| *count > self.hits[*place] * 2);
        self.give(moves.map(|((vhost, _), place)| (vhost, place)).collect());
        self.hits.fill(0);
    }

    /// Gives places to other vhosts, or leaves that for the next round while another worker does.
    fn give(&mut self, changes: Vec<(Box<str>, usize)>) {
        if changes.is_empty() {
            return;
        }
        let Some(moves) = self.seat.begin_moves() else {
            return;
        };
        for (vhost, place) in changes {
            self.places.retain(|_, taken| *taken != place);
            let forgotten = moves.give(place, &vhost);
            self.seat.add(Counter::VhostRequestsForgotten, forgotten);
            self.places.insert(vhost, place);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scoreboard::{Scoreboard, State};

    const VISIT: Visit = Visit {
        status: 200,
        is_failed: false,
        took: Duration::from_millis(1),
        bytes_sent: 10,
    };

    fn names(seat: Seat) -> Vec<String> {
        let places = 1..=seat.vhost_places();
        places
            .filter_map(|place| Some(seat.visits(place)?.name))
            .collect()
    }

    fn shown(seat: Seat) -> u64 {
        let places = 0..=seat.vhost_places();
        let shown: u64 = places
            .filter_map(|place| Some(seat.visits(place)?.requests()))
            .sum();
        shown + seat.count(Counter::VhostRequestsForgotten)
    }

    #[test]
    fn the_first_have_places_the_rest_are_others_and_nothing_is_lost() {
        let seat = Seat::detached();
        let mut busiest = Busiest::new(seat);
        for number in 0..1_000 {
            busiest.visit(&format!("v{number}"), &VISIT);
        }
        assert_eq!(names(seat), ["v0", "v1"]);
        assert_eq!(seat.visits(OTHER).unwrap().requests(), 998);
        assert!(busiest.watched.len() <= 2 * WATCHED);
    }

    #[test]
    fn a_busy_newcomer_takes_the_place_of_a_quiet_one() {
        let seat = Seat::detached();
        let mut busiest = Busiest::new(seat);
        let requests = 4 * ROUND;
        for number in 0..requests {
            let vhost = match number {
                0 => "quiet".to_owned(),
                _ if number % 3 == 0 => "steady".to_owned(),
                _ if number % 3 == 1 => "newcomer".to_owned(),
                _ => format!("rare{number}"),
            };
            busiest.visit(&vhost, &VISIT);
        }
        let mut names = names(seat);
        names.sort_unstable();
        assert_eq!(names, ["newcomer", "steady"]);
        assert_eq!(shown(seat), u64::from(requests));
    }

    #[test]
    fn what_two_workers_show_of_a_vhost_never_shrinks_while_one_shows_it() {
        let board = Scoreboard::detached(2);
        let slots = [0, 1].map(|index| board.seat(index));
        slots.iter().for_each(|seat| seat.enter(State::Serving));
        let mut workers = slots.map(Busiest::new);
        let sum = || {
            let shown = slots
                .iter()
                .flat_map(|seat| (1..=seat.vhost_places()).filter_map(|place| seat.visits(place)));
            let shared = shown.filter(|vhost| vhost.name == "shared");
            shared.map(|vhost| vhost.requests()).sum::<u64>()
        };
        for _ in 0..10 {
            workers
                .iter_mut()
                .for_each(|one| one.visit("shared", &VISIT));
        }
        // The first one gives it up for others that are busier there.
        for number in 0..3 * ROUND {
            workers[0].visit(&format!("busy{}", number % 3), &VISIT);
            assert_eq!(sum(), 20);
        }
        assert!(!names(slots[0]).contains(&"shared".to_owned()));
        assert!(names(slots[1]).contains(&"shared".to_owned()));
    }

    #[test]
    fn a_vhost_by_the_name_of_all_others_is_one_of_them() {
        let seat = Seat::detached();
        let mut busiest = Busiest::new(seat);
        busiest.visit("other", &VISIT);
        busiest.visit("", &VISIT);
        assert_eq!(names(seat), Vec::<String>::new());
        assert_eq!(seat.visits(OTHER).unwrap().requests(), 2);
    }

    #[test]
    fn names_that_are_shown_alike_share_a_place() {
        let seat = Seat::detached();
        let mut busiest = Busiest::new(seat);
        let long = "v".repeat(200);
        busiest.visit(&format!("{long}1"), &VISIT);
        busiest.visit(&format!("{long}2"), &VISIT);
        assert_eq!(names(seat).len(), 1);
        assert_eq!(seat.visits(1).unwrap().requests(), 2);
    }

    #[test]
    fn a_successor_goes_on_with_the_same_places() {
        let seat = Seat::detached();
        Busiest::new(seat).visit("a", &VISIT);
        let mut successor = Busiest::new(seat);
        successor.visit("b", &VISIT);
        successor.visit("a", &VISIT);
        assert_eq!(names(seat), ["a", "b"]);
        assert_eq!(seat.visits(1).unwrap().requests(), 2);
    }

    #[test]
    fn a_name_is_cut_at_a_letter_and_may_be_empty_of_meaning() {
        let seat = Seat::detached();
        let long = "ä".repeat(200);
        Busiest::new(seat).visit(&long, &VISIT);
        assert_eq!(names(seat), ["ä".repeat(60)]);
    }
}
