//! The decision at the beginning of a trace. Pure.

use super::ids::TraceId;
use crate::config::Sampler;

/// Decides by the parent, where it counts and has decided, or else by the trace id.
pub(super) struct HeadSampler {
    is_parent_based: bool,
    /// Ids below are sampled: the share, of 2^63.
    threshold: u64,
}

impl HeadSampler {
    /// A sampler with these settings.
    pub(super) fn new(sampler: Sampler) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of 2^63, from 0 to 1, checked by the configuration"
        )]
        let threshold = (sampler.ratio * (1_u64 << 63) as f64) as u64;
        Self {
            is_parent_based: sampler.is_parent_based,
            threshold,
        }
    }

    /// Whether this trace is sampled. Every service that takes the same share takes the same ones:
    /// the last 64 bits of the id count but one, as in the official SDKs.
    pub(super) fn decide(&self, id: &TraceId, parent: Option<bool>) -> bool {
        if let Some(decided) = parent.filter(|_| self.is_parent_based) {
            return decided;
        }
        let bits = u128::from_be_bytes(id.0) & u128::from(u64::MAX);
        bits >> 1 < u128::from(self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_decides_where_it_counts_and_the_id_otherwise() {
        let low = TraceId(1_u128.to_be_bytes());
        let high = TraceId(u128::MAX.to_be_bytes());
        let cases = [
            (true, 1.0, None, (true, true)),
            (true, 1.0, Some(false), (false, false)),
            (true, 0.0, Some(true), (true, true)),
            (true, 0.0, None, (false, false)),
            (false, 0.0, Some(true), (false, false)),
            (false, 1.0, Some(false), (true, true)),
            (true, 0.5, None, (true, false)),
            (false, 0.5, Some(true), (true, false)),
        ];
        for (is_parent_based, ratio, parent, expected) in cases {
            let sampler = HeadSampler::new(Sampler {
                is_parent_based,
                ratio,
            });
            let decided = (sampler.decide(&low, parent), sampler.decide(&high, parent));
            assert_eq!(decided, expected, "{is_parent_based} {ratio} {parent:?}");
        }
    }
}
