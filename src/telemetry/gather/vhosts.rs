//! What is told vhost by vhost: the busiest of all workers.

use std::collections::BTreeMap;

use tokio::task::yield_now;

use super::super::names::{self, CLASSES, OTHER_VHOSTS};
use super::{Buckets, PIECE, Sink};
use crate::scoreboard::{Scoreboard, VHOST_BOUNDS, Vhost};

/// Readings that moves of vhosts may disturb; the last one is taken as it is. A move takes a
/// fraction of a millisecond, and there is one in thousands of requests at most.
const READINGS: usize = 8;

/// The busiest vhosts of all workers, and all others. What moves from one worker to another
/// meanwhile is neither missed nor counted twice.
pub(crate) async fn busiest(board: Scoreboard) -> Vec<Vhost> {
    for _ in 1..READINGS {
        let before = board.moves();
        let vhosts = read(board).await;
        if before.is_some() && board.moves() == before {
            return vhosts;
        }
    }
    read(board).await
}

async fn read(board: Scoreboard) -> Vec<Vhost> {
    let mut all: BTreeMap<String, Vhost> = BTreeMap::new();
    for (_, seat) in board.used() {
        for place in 0..=seat.vhost_places() {
            if place % PIECE == PIECE - 1 {
                yield_now().await;
            }
            let Some(mut vhost) = seat.visits(place) else {
                continue;
            };
            if vhost.name.is_empty() {
                OTHER_VHOSTS.clone_into(&mut vhost.name);
            }
            match all.get_mut(&vhost.name) {
                Some(known) => known.merge(&vhost),
                None => {
                    all.insert(vhost.name.clone(), vhost);
                }
            }
        }
    }
    all.into_values().collect()
}

/// Writes their metrics.
pub(super) async fn vhosts(sink: &mut impl Sink, board: Scoreboard) {
    let vhosts = busiest(board).await;
    for metric in [
        &names::VHOST_REQUESTS,
        &names::VHOST_FAILED,
        &names::VHOST_SENT,
        &names::VHOST_DURATION,
    ] {
        sink.begin(metric);
        for (written, vhost) in vhosts.iter().enumerate() {
            visits(sink, metric.name, vhost);
            if written % PIECE == PIECE - 1 {
                yield_now().await;
            }
        }
    }
}

fn visits(sink: &mut impl Sink, metric: &str, vhost: &Vhost) {
    let name = (names::VHOST, vhost.name.as_str());
    if metric == names::VHOST_REQUESTS.name {
        for (class, count) in CLASSES.iter().zip(vhost.classes) {
            if count > 0 {
                sink.sample(&[name, (names::CLASS, class)], count);
            }
        }
    } else if metric == names::VHOST_FAILED.name {
        sink.sample(&[name], vhost.failed);
    } else if metric == names::VHOST_SENT.name {
        sink.sample(&[name], vhost.bytes_sent);
    } else {
        let buckets = Buckets {
            bounds: &VHOST_BOUNDS,
            counts: &vhost.buckets,
            sum: vhost.sum,
            exemplars: &[],
        };
        sink.histogram(&[name], &buckets);
    }
}
