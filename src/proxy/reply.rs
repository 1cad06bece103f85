//! The proxy's own answers: error pages, `__ping__`, `X-Debug`.
