//! What a seat counts and measures: the names of its cells.

/// What is counted. One cell each; only ever added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Counter {
    /// Connections accepted.
    Connections,
    /// Connections that ended without a single byte.
    SilentConnections,
    /// Connections closed because their peer may not send PROXY headers.
    ProxyHeadersUntrusted,
    /// Connections closed because their PROXY header was malformed, cut or late.
    ProxyHeadersMalformed,
    /// Exchanges finished, each owed one line in each access log.
    Exchanges,
    /// Access-log lines written.
    LinesWritten,
    /// Access-log lines lost because the queue was full.
    LinesDropped,
    /// Access-log lines lost to a write error.
    LinesFailed,
    /// Exchanges without a line in an access log: filtered out, or not in the sample.
    LinesFiltered,
    /// Bytes of access log written.
    LogBytes,
    /// Attempts started.
    Attempts,
    /// Retries (attempts after the first).
    Retries,
    /// Retries refused by the budget.
    RetriesRefused,
    /// Backends marked dead.
    DeadMarks,
    /// Dead marks that could not be written or announced.
    MarksLost,
    /// Connections to backends opened.
    UpstreamConnects,
    /// Requests sent on a kept connection.
    UpstreamReuses,
    /// Requests that had to wait for a free connection (`maxSockets`).
    UpstreamWaits,
    /// Lookups answered by the store.
    Lookups,
    /// Lookups that the store failed to answer.
    LookupFailures,
    /// Tunnels opened.
    Tunnels,
    /// Bytes read from clients by finished exchanges.
    BytesReceived,
    /// Bytes written to clients by finished exchanges.
    BytesSent,
    /// Requests of vhosts that are not among the busiest any more and are shown no longer.
    VhostRequestsForgotten,
    /// Connections to the admin listener that were closed because there were too many.
    AdminRefused,
    /// 1xx responses that a client did not read in time and that were let go.
    InterimLost,
    /// Spans that were to be exported; each ends as exported, dropped or failed.
    SpansQueued,
    /// Spans that the collector took.
    SpansExported,
    /// Spans for which there was no room.
    SpansDropped,
    /// Spans that the collector did not take, or that died with their worker.
    SpansFailed,
    /// Exports of all metrics that the collector took.
    MetricsExported,
    /// Exports that it took in part only, or not at all.
    MetricsFailed,
    /// Exports that were due while another was still on its way.
    MetricsDropped,
    /// Looks at the worker's memory that found it over its limit.
    MemoryOverLimit,
    /// Times that unused memory was given back to the system.
    MemoryPurges,
    /// Bytes given back by it.
    MemoryPurgedBytes,
    /// Times that the worker asked to be replaced for its memory.
    ReplacementsWanted,
    /// Log records of the process's story that were to be exported; each ends as exported, dropped or
    /// failed.
    RecordsQueued,
    /// Log records that the collector took.
    RecordsExported,
    /// Log records for which there was no room.
    RecordsDropped,
    /// Log records that the collector did not take, or that died with their worker.
    RecordsFailed,
    /// Streams of clients that were refused unseen: too many, or after the end was told.
    StreamsRefused,
    /// Connections of HTTP/2 that were ended for a mistake of their client, by the code that it was told.
    Http2ProtocolErrors,
    /// ... more data than there was room for.
    Http2FlowControlErrors,
    /// ... frames on a stream that was over.
    Http2StreamClosed,
    /// ... frames of a wrong size.
    Http2FrameSizeErrors,
    /// ... heads that cannot be decoded.
    Http2CompressionErrors,
    /// ... too much asked for nothing.
    Http2EnhanceYourCalm,
    /// ... any other.
    Http2OtherErrors,
    /// Names whose certificate, or want of one, was forgotten to make room for others.
    CertificatesEvicted,
    /// Access-log lines that were still unwritten when their worker died; counted by the master.
    /// The last counter: the gauges follow it.
    LinesLostAtDeath,
}

/// What goes up and down. One cell each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Gauge {
    /// Connections open.
    OpenConnections,
    /// Exchanges in flight.
    OpenExchanges,
    /// Tunnels open.
    OpenTunnels,
    /// Bytes that jemalloc handed out.
    Allocated,
    /// Bytes in pages of jemalloc's that hold something.
    Active,
    /// Bytes of jemalloc's in memory, at most.
    Resident,
    /// Bytes that jemalloc keeps mapped, and would give back.
    Retained,
    /// Bytes of the worker in memory, as the kernel counts: more than jemalloc's.
    ResidentSet,
    /// Bytes that the control group uses, page cache included.
    CgroupMemory,
    /// Bytes that the worker may use; 0 is no limit.
    MemoryLimit,
    /// Names whose certificate, or want of one, is kept.
    Certificates,
    /// Connections to Redis that are up. The last gauge.
    RedisLinks,
}

/// What is counted by a word, mostly the one that ended it; a row of [`ENDS`] cells each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Tally {
    /// Exchanges finished.
    Exchanges,
    /// Attempts over.
    Attempts,
    /// TLS handshakes with clients that were shown a certificate of the name that they asked for, by
    /// cipher suite, in full and resumed.
    HandshakesOwn,
    /// The same of those that were shown the default for want of one.
    HandshakesDefault,
    /// The same of those that asked for no name.
    HandshakesNone,
    /// TLS handshakes with clients that came to nothing, by reason. The last tally.
    HandshakesFailed,
}

/// Words of a tally, at most.
pub(crate) const ENDS: usize = 32;

/// Why a worker is dead, as the master counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Death {
    /// It left as it was told to.
    Left,
    /// It could not start.
    CouldNotStart,
    /// A signal killed it.
    Signal,
    /// It ended by itself, as after a panic. The last.
    Status,
}

impl Death {
    /// All reasons, in the order of their cells.
    pub(crate) const ALL: [Self; 4] = [Self::Left, Self::CouldNotStart, Self::Signal, Self::Status];

    /// The word in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::CouldNotStart => "could_not_start",
            Self::Signal => "signal",
            Self::Status => "exit_status",
        }
    }
}

/// Why a process took the place of another, as the master counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Replacement {
    /// The old one took too much memory.
    Memory,
    /// The configuration was read again.
    Reload,
    /// The program was replaced in place.
    Upgrade,
    /// The old one did not turn any more, and was killed.
    Hung,
    /// The old one died. The last.
    Died,
}

impl Replacement {
    /// All reasons, in the order of their cells.
    pub(crate) const ALL: [Self; 5] = [
        Self::Memory,
        Self::Reload,
        Self::Upgrade,
        Self::Hung,
        Self::Died,
    ];

    /// The word in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Reload => "reload",
            Self::Upgrade => "upgrade",
            Self::Hung => "hung",
            Self::Died => "died",
        }
    }
}

/// What became of a reload or an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Reload {
    /// Its workers serve.
    Done,
    /// It could not begin: nothing was changed.
    Refused,
    /// Its workers could not serve: the old ones went on. The last.
    Abandoned,
}

impl Reload {
    /// All of them, in the order of their cells.
    pub(crate) const ALL: [Self; 3] = [Self::Done, Self::Refused, Self::Abandoned];

    /// The word in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Abandoned => "abandoned",
        }
    }
}
