//! Metrics on their way to a collector: all that `/metrics` shows, pushed by one worker for all.
//!
//! Which one is read from the scoreboard, turn by turn; turns begin at the same moments in all
//! workers, so that nobody has to tell anybody. A thread of its own reads, encodes and sends: the
//! worker's runtime has no part in it. The last worker that leaves pushes once more.

mod ledger;
mod reading;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::timeout;

use super::events::{Event, emit};
use super::export::{Delivery, run};
use super::gather::{Source, gather};
use super::otlp::{self, Envelope};
use crate::config::{MetricsPush, Telemetry};
use crate::scoreboard::{Counter, Scoreboard, Seat, Told, monotonic_millis};
use ledger::Ledger;
use reading::Reading;

/// Collectors take requests of 4 MiB; what is bigger than this is sent in several.
const REQUEST_BYTES: usize = 1 << 20;
/// Failures are told at most so often.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// The pushing thread of one worker.
pub(crate) struct Push {
    board: Scoreboard,
    seat: Seat,
    /// Tells the thread to end.
    ending: watch::Sender<bool>,
    /// It pushes once more before.
    is_last: Arc<AtomicBool>,
    done: Receiver<()>,
}

impl Push {
    /// Starts the thread, where metrics are to be pushed; never before a fork.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub(crate) fn start(
        telemetry: &Telemetry,
        source: Source,
        number: usize,
    ) -> io::Result<Option<Self>> {
        let Some(push) = &telemetry.metrics else {
            return Ok(None);
        };
        let board = source.board;
        board.expect_farewell();
        let (ending, is_ending) = watch::channel(false);
        let (finished, done) = sync_channel(1);
        let is_last = Arc::new(AtomicBool::new(false));
        let thread = Pusher {
            delivery: Delivery::new(&push.exporter, push.limit, is_ending.clone()),
            envelope: envelope(&telemetry.resource, board),
            source,
            number,
            push: push.clone(),
            is_ending,
            is_last: Arc::clone(&is_last),
            untold: 0,
            told: None,
        };
        thread::Builder::new()
            .name("metric-export".to_owned())
            .spawn(move || {
                thread.run();
                // The worker may have stopped to wait.
                let _ = finished.send(());
            })?;
        Ok(Some(Self {
            board,
            seat: board.seat(number),
            ending,
            is_last,
            done,
        }))
    }

    /// Ends the thread; where this worker is the last one, with a push. Waits no longer than the
    /// limit. Blocking; when nothing is counted any more.
    pub(crate) fn shutdown(self, limit: Duration) {
        let is_last = self.board.is_last(self.seat);
        self.is_last.store(is_last, Ordering::Relaxed);
        self.ending.send_replace(true);
        if self.done.recv_timeout(limit).is_err() && is_last {
            self.seat.add(Counter::MetricsFailed, 1);
            emit(&Event::Problem {
                doing: "pushing metrics for the last time",
                error: &format_args!("not done within {limit:?}"),
            });
        }
    }
}

/// The proxy as a whole is what the metrics are of, so that a series goes on when its worker is
/// replaced.
fn envelope(resource: &[(String, String)], board: Scoreboard) -> Envelope {
    let started = nanoseconds(board.started());
    let drawn = board.instance(|| fastrand::u64(..));
    let instance = format!("{started:016x}{drawn:016x}");
    Envelope::new(resource, instance.as_bytes(), board.master())
}

/// What the thread owns.
struct Pusher {
    delivery: Delivery,
    envelope: Envelope,
    source: Source,
    /// The seat of this worker.
    number: usize,
    push: MetricsPush,
    is_ending: watch::Receiver<bool>,
    is_last: Arc<AtomicBool>,
    /// Pushes lost since that was last told.
    untold: u64,
    told: Option<Instant>,
}

impl Pusher {
    fn run(self) {
        run(
            "starting the push of metrics; this worker will push none",
            self.serve(),
        );
    }

    async fn serve(mut self) {
        let board = self.source.board;
        let base = match board.pushed() {
            Told::NOTHING => None,
            _ => Some(self.read().await),
        };
        let mut ledger = Ledger::new(self.push.temporality, board, base);
        let mut turn = self.next_turn();
        while !self.sleep_until(turn).await {
            let is_elected = board.elected() == Some(self.number);
            self.take(&mut ledger, turn, is_elected).await;
            let next = self.next_turn();
            if is_elected {
                let passed = (next - turn) / self.interval();
                self.count(Counter::MetricsDropped, passed.saturating_sub(1));
            }
            turn = next;
        }
        if self.is_last.load(Ordering::Relaxed) {
            self.take(&mut ledger, turn, true).await;
        }
    }

    /// One turn: whoever is elected pushes, and all remember what there was to push.
    async fn take(&mut self, ledger: &mut Ledger, turn: u64, is_elected: bool) {
        let board = self.source.board;
        ledger.settle(board.pushed());
        let reading = self.read().await;
        if is_elected {
            // A sender that died cannot say any more whether its last push was taken. To tell
            // something twice is worse than to leave it out.
            ledger.settle(board.sent());
            board.set_sent(Told {
                turn,
                at: reading.at,
            });
            let requests = otlp::encode(&ledger.points(&reading), reading.at, REQUEST_BYTES);
            let sent = self.deliver(requests).await;
            board.settle_sent(sent.is_ok());
            let objection = sent.unwrap_or_else(|reason| reason);
            self.settle(u64::from(!objection.is_empty()), &objection);
        }
        ledger.keep(turn, reading);
    }

    async fn read(&self) -> Reading {
        let mut reading = Reading::at(nanoseconds(SystemTime::now()));
        gather(&mut reading, &self.source).await;
        // No exemplar is younger than what it is an example of.
        reading.at = nanoseconds(SystemTime::now());
        reading
    }

    /// Sends all requests of a push; gives what the collector objects to in what it took.
    async fn deliver(&mut self, requests: Vec<Vec<u8>>) -> Result<String, String> {
        let mut objection = String::new();
        for entries in requests {
            let message = self.envelope.seal(&entries);
            let (rejected, reason) = self.delivery.deliver(message).await?;
            if rejected > 0 {
                objection = format!("{rejected} points were rejected: {reason}");
            }
        }
        Ok(objection)
    }

    fn settle(&mut self, lost: u64, reason: &str) {
        if lost == 0 {
            return self.count(Counter::MetricsExported, 1);
        }
        self.count(Counter::MetricsFailed, lost);
        self.untold += lost;
        let is_due = self.told.is_none_or(|told| told.elapsed() >= TELL_INTERVAL);
        if is_due {
            self.told = Some(Instant::now());
            let lost = std::mem::take(&mut self.untold);
            emit(&Event::Problem {
                doing: "pushing metrics",
                error: &format_args!("{lost} pushes failed: {reason}"),
            });
        }
    }

    fn count(&self, counter: Counter, count: u64) {
        let seat = self.source.board.seat(self.number);
        seat.add(counter, count);
    }

    /// When the next turn begins, in milliseconds of a clock that all processes share.
    fn next_turn(&self) -> u64 {
        (monotonic_millis() / self.interval()).saturating_add(1) * self.interval()
    }

    fn interval(&self) -> u64 {
        let millis = u64::try_from(self.push.interval.as_millis());
        // A year, so that no turn is beyond all numbers.
        millis.unwrap_or(u64::MAX).clamp(1, 365 * 86_400_000)
    }

    /// Waits for a turn; whether the worker ends before.
    async fn sleep_until(&mut self, turn: u64) -> bool {
        let left = Duration::from_millis(turn.saturating_sub(monotonic_millis()));
        timeout(left, self.is_ending.wait_for(|ends| *ends))
            .await
            .is_ok()
    }
}

/// Nanoseconds since 1970.
fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
