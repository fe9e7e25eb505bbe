//! The log of a run: shards hand 64-byte records to rings (rows L1 and 3393), a thread off the measured cores names what they say and tells it
//! to a `tracing` subscriber, which makes text or JSON of it. The same thread looks at the memory of the process (row 3554).
//!
//! A shard never waits for the log: a record that finds its ring full is dropped, and counted in the report.

use crate::background::keep_to;
use crate::ending::{GIVE_UP_AFTER, end_until};
use crate::resident;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tapeline_core::catalog::Catalog;
use tapeline_core::event::{EventRef, KindVersion, Slot};
use tapeline_core::ledger::Refusal;
use tapeline_core::limits::RING_SLOTS_MAX;
use tapeline_core::log::{Code, Filter, Level, Record};
use tapeline_core::ring::{self, Consumer, Producer};
use tapeline_core::shard::Limit;
use tapeline_core::stop::{Stop, StopWord};
use tapeline_core::topics::{Bus, Registry};
use tapeline_core::units::{SourceId, SymbolId};
use tracing::{Dispatch, dispatcher};

/// Records that one shard may have on their way.
const LOG_SLOTS: usize = 1 << 12;
/// Slots of the longest definition.
const DEFINITION_SLOTS: usize = 4;
/// Slots that the thread takes at once.
const TAKE_SLOTS: usize = 256;
/// Sleep of the thread when there was nothing: with logs, and without.
const IDLE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];
/// Time between two looks at the memory of the process.
const MEMORY_EVERY: Duration = Duration::from_millis(250);

/// What a run logs, and who is told.
#[derive(Clone, Debug)]
pub struct Log {
    /// What shards tell.
    pub filter: Filter,
    /// The form that whoever makes the subscriber is to give it.
    pub format: LogFormat,
    /// Who is told; the default hears nothing.
    pub dispatch: Dispatch,
    /// Resident bytes of the process above which a warning is told, and health is degraded; 0 = never.
    pub memory_max: u64,
}

impl Default for Log {
    fn default() -> Self {
        // Not `Dispatch::default()`, which is whatever the process or the calling thread has set.
        Self { filter: Filter::default(), format: LogFormat::default(), dispatch: Dispatch::none(), memory_max: 0 }
    }
}

impl Log {
    /// Whether shards have anything to tell.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.filter.level != Level::Off || self.filter.follow.is_some()
    }
}

/// Form of a log, for whoever makes the subscriber.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogFormat {
    /// For people: a line each.
    #[default]
    Text,
    /// An object of JSON on a line each.
    Json,
}

/// What a run's log came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogReport {
    /// Records that were told.
    pub written: u64,
    /// The most resident bytes of the process that were seen; `None` where the kernel does not tell.
    pub resident_most: Option<u64>,
    /// The thread died: nothing of what it did is known.
    pub is_dead: bool,
}

/// What numbers in records stand for.
pub(crate) struct Names {
    pub(crate) catalog: Catalog,
    pub(crate) handlers: Vec<&'static str>,
    pub(crate) topics: Vec<(usize, String)>,
}

impl Names {
    /// The topics of `buses` as every shard numbers them.
    pub(crate) fn topics(buses: &[Bus]) -> Vec<(usize, String)> {
        let Ok(registry) = Registry::of(buses) else { return Vec::new() };
        registry.topics().map(|(id, topic)| (usize::from(id.0), topic.name().to_owned())).collect()
    }

    fn handler(&self, number: u16) -> &'static str {
        self.handlers.get(usize::from(number)).copied().unwrap_or("none")
    }

    fn topic(&self, number: u64) -> &str {
        self.topics.iter().find(|(id, _)| *id as u64 == number).map_or("opened later", |(_, name)| name)
    }

    fn symbol(&self, id: SymbolId) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.catalog.symbol_text(id))
    }

    fn source(&self, id: SourceId) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.catalog.source_name(id))
    }
}

/// The thread. Dropped without [`LogThread::finish`], as by a start that fails, it ends by itself, or is left behind after 2 s: whoever is told may wait for a pipe.
pub(crate) struct LogThread {
    stop: Arc<StopWord>,
    thread: Option<JoinHandle<LogReport>>,
}

impl Drop for LogThread {
    fn drop(&mut self) {
        self.give_up(Instant::now() + GIVE_UP_AFTER);
    }
}

impl LogThread {
    /// Starts the thread on `cores`. Gives back a ring for each shard and one for the source's definitions; none where nothing is logged.
    pub(crate) fn start(
        log: Log,
        names: Names,
        shards: usize,
        cores: Vec<usize>,
    ) -> io::Result<(Self, Vec<Producer>, Option<Producer>)> {
        let is_on = log.is_on();
        let count = if is_on { shards } else { 0 };
        let (producers, consumers): (Vec<_>, Vec<_>) = (0..count).map(|_| ring::channel(LOG_SLOTS)).unzip();
        let (definitions, defined) =
            is_on.then(|| ring::channel(definition_slots(names.catalog.symbols_max()))).unzip();
        let stop = Arc::new(StopWord::new());
        let is_stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || {
            keep_to(&cores);
            let dispatch = log.dispatch.clone();
            dispatcher::with_default(&dispatch, || run(&log, names, consumers, defined, &is_stopped))
        })?;
        Ok((Self { stop, thread: Some(thread) }, producers, definitions))
    }

    /// Tells it to end, and goes on.
    pub(crate) fn tell(&self) {
        self.stop.request(Stop::Drain);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// Ends it, or leaves it behind where it has not ended at `until`: false then.
    pub(crate) fn give_up(&mut self, until: Instant) -> bool {
        self.tell();
        self.thread.take().is_none_or(|thread| end_until(thread, until))
    }

    /// Tells what is left in the rings, and ends. Call after the shards have stopped.
    pub(crate) fn finish(mut self) -> LogReport {
        self.stop.request(Stop::Drain);
        let Some(thread) = self.thread.take() else { return LogReport::default() };
        thread.thread().unpark();
        thread.join().unwrap_or(LogReport { is_dead: true, ..LogReport::default() })
    }
}

/// Slots of the ring of definitions: room for every name that there can be, so that none is left out however late the thread comes. With
/// more than 4 million symbols it is the largest ring that there is, and a name that finds no room in it is missing in the log.
pub(crate) fn definition_slots(symbols_max: usize) -> usize {
    symbols_max.saturating_add(256).saturating_mul(DEFINITION_SLOTS).min(RING_SLOTS_MAX).next_power_of_two()
}

fn run(
    log: &Log,
    mut names: Names,
    mut shards: Vec<Consumer>,
    mut definitions: Option<Consumer>,
    stop: &StopWord,
) -> LogReport {
    let mut slots = vec![Slot::ZERO; TAKE_SLOTS];
    let (mut report, mut watch) = (LogReport::default(), Watch::new(log.memory_max));
    let idle = IDLE[usize::from(shards.is_empty())];
    loop {
        // The word before the rings: what was put in before the request is seen.
        let is_last = stop.get() != Stop::Run;
        let mut taken = 0;
        for shard in &mut shards {
            let count = shard.pop_batch(&mut slots, None);
            if count == 0 {
                continue;
            }
            taken += count;
            // What these records name was defined before they were made, and not before they were taken only.
            define(&mut names.catalog, definitions.as_mut());
            slots[..count].iter().for_each(|slot| tell(&names, &Record::from_slot(*slot)));
        }
        report.written += taken as u64;
        watch.look(is_last);
        if taken == 0 {
            // Or the ring of definitions would fill up while there are no records.
            define(&mut names.catalog, definitions.as_mut());
            if is_last {
                report.resident_most = watch.most;
                return report;
            }
            thread::park_timeout(idle);
        }
    }
}

/// Learns the names that the records after them use.
fn define(catalog: &mut Catalog, ring: Option<&mut Consumer>) {
    let Some(ring) = ring else { return };
    let mut slots = [Slot::ZERO; 64];
    loop {
        let count = ring.pop(&mut slots);
        let Some(event) = EventRef::first(&slots[..count]) else { return };
        // A definition that is refused here was refused by the shards, which count it.
        let _ = catalog.apply(event);
    }
}

/// The memory of the process.
struct Watch {
    max: u64,
    next: Instant,
    most: Option<u64>,
    is_above: bool,
}

impl Watch {
    fn new(max: u64) -> Self {
        Self { max, next: Instant::now(), most: None, is_above: false }
    }

    /// Looks when it is time, and at the end.
    fn look(&mut self, is_last: bool) {
        if !is_last && Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + MEMORY_EVERY;
        let Some(bytes) = resident::now() else { return };
        self.most = self.most.max(Some(bytes));
        let is_above = self.max > 0 && bytes > self.max;
        if is_above && !self.is_above {
            tracing::warn!(resident_bytes = bytes, bound_bytes = self.max, "memory above its bound");
        }
        self.is_above = is_above;
    }
}

/// Tells one record.
fn tell(names: &Names, record: &Record) {
    let Some(code) = record.code() else { return };
    let (head, [first, second]) = (record.slot(), record.arguments());
    let (shard, time_ns, message) = (record.shard(), head.ts_recv.0, code.message());
    let handler = names.handler(record.handler());
    let (symbol, source) = (names.symbol(head.symbol), names.source(head.source));
    let (symbol, source, seq, part, kind) = (&*symbol, &*source, head.seq, head.part, head.kind().name());
    let error = if first == Record::NO_ERROR { "panic".to_owned() } else { first.to_string() };
    match code {
        Code::Quarantined => tracing::error!(shard, time_ns, handler, symbol, source, seq, part, "{message}"),
        Code::LimitHit => {
            let limit = Limit::ALL.get(first as usize).map_or("unknown", |limit| limit.name());
            tracing::warn!(shard, time_ns, limit, count = second, "{message}");
        }
        Code::Gap => tracing::warn!(shard, time_ns, source, symbol, expected = first, missing = second, "{message}"),
        Code::TopicHigh => tracing::warn!(shard, time_ns, topic = names.topic(first), waiting = second, "{message}"),
        Code::TopicLow => tracing::info!(shard, time_ns, topic = names.topic(first), waiting = second, "{message}"),
        Code::Failed | Code::Parked => {
            tracing::info!(shard, time_ns, handler, error, kind, symbol, source, seq, part, "{message}");
        }
        Code::Admitted | Code::Retried | Code::Timer => {
            tracing::trace!(shard, time_ns, kind, symbol, source, seq, part, "{message}");
        }
        Code::Refused => {
            let reason = Refusal::ALL.get(first as usize).map_or("unknown", |reason| reason.name());
            tracing::trace!(shard, time_ns, reason, kind, symbol, source, seq, part, "{message}");
        }
        Code::Handled => {
            tracing::trace!(shard, time_ns, handler, took_ns = first, kind, symbol, source, seq, part, "{message}");
        }
        Code::Output => {
            let output = KindVersion(second as u16).kind().name();
            let by = names.source(SourceId((second >> 16) as u8));
            let of = names.symbol(SymbolId((second >> 32) as u32));
            tracing::trace!(
                shard,
                time_ns,
                output,
                output_source = &*by,
                output_symbol = &*of,
                output_seq = first,
                symbol,
                source,
                seq,
                part,
                "{message}"
            );
        }
        Code::Done => {
            let fate = ["delivered", "dead-lettered", "waits"].get(first as usize).unwrap_or(&"unknown");
            tracing::trace!(shard, time_ns, fate, kind, symbol, source, seq, part, "{message}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Debug;
    use std::sync::Mutex;
    use tapeline_core::catalog::SeqRule;
    use tapeline_core::event::{Identity, Kind};
    use tapeline_core::units::UnixNanos;
    use tracing::field::{Field, Visit};
    use tracing::span;
    use tracing::{Event, Metadata, Subscriber};

    /// Keeps every event as one line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Visit for Lines {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0.lock().unwrap().last_mut().unwrap().push_str(&format!(" {}={value:?}", field.name()));
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            self.0.lock().unwrap().push(event.metadata().level().to_string());
            event.record(&mut self.clone());
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn every_code_is_told_with_names_and_at_its_level() {
        let mut catalog = Catalog::new(8);
        let symbol = catalog.symbol(b"A/B").unwrap();
        let source = catalog.source(b"test.feed", SeqRule::Contiguous).unwrap();
        let names = Names { catalog, handlers: vec!["first", "second"], topics: vec![(2, "trades".to_owned())] };
        let identity = Identity { seq: 7, symbol, part: 1, source, pad: 0 };
        let lines = Lines::default();
        dispatcher::with_default(&Dispatch::new(lines.clone()), || {
            for code in Code::ALL {
                let record = Record::about(code, 3, UnixNanos(9), Kind::TRADE, identity).with_handler(1).with(2, 0);
                tell(&names, &record);
            }
            tell(&names, &Record::from_slot(Slot::ZERO));
            tell(&names, &Record::at(Code::Parked, 0, UnixNanos(1)).with(Record::NO_ERROR, 0));
        });
        let lines = lines.0.lock().unwrap();
        assert_eq!(lines.len(), Code::ALL.len() + 1, "a number that is no code is not told");
        for (code, line) in Code::ALL.into_iter().zip(lines.iter()) {
            let level = code.level().name().to_uppercase();
            assert!(line.starts_with(&level) && line.contains(code.message()), "{code:?}: {line}");
            assert!(line.contains("shard=3") && line.contains("time_ns=9"), "{line}");
        }
        let of = |code: Code| &lines[Code::ALL.iter().position(|other| *other == code).unwrap()];
        assert!(of(Code::TopicHigh).contains("topic=\"trades\""), "{lines:?}");
        assert!(
            of(Code::Failed).contains(
                "handler=\"second\" error=\"2\" kind=\"trade\" symbol=\"A/B\" source=\"test.feed\" seq=7 part=1"
            ),
            "{lines:?}"
        );
        assert!(lines.last().unwrap().contains("error=\"panic\""), "{lines:?}");
    }

    /// Dies of the first thing that it is told.
    struct Dies;

    impl Subscriber for Dies {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &Event<'_>) {
            std::panic::resume_unwind(Box::new("wanted by a test"));
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn a_thread_that_died_is_told_and_by_default_nobody_hears_anything() {
        let filter = Filter { level: Level::Info, follow: None };
        let told = |dispatch: Dispatch| {
            let names = Names { catalog: Catalog::new(8), handlers: Vec::new(), topics: Vec::new() };
            let log = Log { filter, dispatch, ..Log::default() };
            let (thread, mut shards, _) = LogThread::start(log, names, 1, vec![0]).unwrap();
            shards[0].push(&[*Record::at(Code::Gap, 0, UnixNanos(1)).slot()]).unwrap();
            thread.finish()
        };
        let lines = Lines::default();
        assert_eq!((told(Dispatch::new(lines.clone())).written, lines.0.lock().unwrap().len()), (1, 1));
        assert_eq!(told(Dispatch::new(Dies)), LogReport { is_dead: true, ..LogReport::default() });
        let default = dispatcher::with_default(&Dispatch::new(lines.clone()), Log::default);
        let report = told(default.dispatch);
        assert_eq!((report.written, report.is_dead, lines.0.lock().unwrap().len()), (1, false, 1));
    }

    #[test]
    fn memory_above_its_bound_is_told_once_and_the_most_is_kept() {
        let lines = Lines::default();
        dispatcher::with_default(&Dispatch::new(lines.clone()), || {
            let mut watch = Watch::new(1);
            (0..3).for_each(|_| watch.look(true));
            assert!(watch.most > Some(1 << 16) && watch.is_above);
            let mut watch = Watch::new(0);
            watch.look(true);
            assert!(!watch.is_above, "no bound");
        });
        assert_eq!(lines.0.lock().unwrap().len(), 1);
    }
}
