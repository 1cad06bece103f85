//! What is told vhost by vhost: the busiest of all workers.

use std::collections::BTreeMap;

use tokio::task::yield_now;

use super::super::names::{self, CLASSES};
use super::{Buckets, PIECE, Sink};
use crate::scoreboard::{Scoreboard, VHOST_BOUNDS, Vhost};

/// The label of the vhosts that are not among the busiest.
const OTHER: &str = "other";

/// The busiest vhosts of all workers, and first all others.
pub(crate) async fn busiest(board: Scoreboard) -> Vec<Vhost> {
    let mut all: BTreeMap<String, Vhost> = BTreeMap::new();
    for (_, slot) in board.used() {
        for place in 0..=slot.vhost_places() {
            if place % PIECE == PIECE - 1 {
                yield_now().await;
            }
            let Some(mut vhost) = slot.visits(place) else {
                continue;
            };
            if vhost.name.is_empty() {
                OTHER.clone_into(&mut vhost.name);
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
