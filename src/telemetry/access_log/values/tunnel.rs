//! What the end of a tunnel prints.

use super::super::text::append_number;
use super::Source;
use crate::config::Variable;

impl Source<'_> {
    /// Who closed a tunnel, and what a WebSocket said at that.
    pub(super) fn of_tunnel(&self, out: &mut Vec<u8>, variable: &Variable) -> bool {
        let Some(tunnel) = self.record.tunnel else {
            return false;
        };
        match (variable, tunnel.close_status) {
            (Variable::TunnelClosedBy, _) => return self.text(out, tunnel.closed_by),
            (Variable::WebsocketClose, Some(status)) => append_number(out, status.into()),
            _ => return false,
        }
        true
    }
}
