//! Topics: what became of the events of each, how full its waiting room was, and when it passed its watermarks.

use serde::Serialize;
use std::borrow::Cow;
use tapeline_core::event::Lane;
use tapeline_core::lanes::{Lanes, TopicStats};
use tapeline_core::ledger::{Ledger, Row};
use tapeline_core::topics::{Bus, OpenTopic, Registry, TopicId};

/// A topic of all shards together: its part of the ledger, and what its policy did. A topic without events is not told.
///
/// The columns of the ledger are those of `events`. The others are 0 unless events waited in lanes (`--overload live`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct TopicReport {
    /// Name of its bus.
    pub bus: String,
    /// Its name.
    pub topic: String,
    /// Its lane: `critical`, `high`, `normal` or `low`.
    pub lane: Cow<'static, str>,
    /// What happens without room.
    pub policy: Cow<'static, str>,
    /// Slots that may wait, on each shard.
    pub capacity: u64,
    /// As in `events`.
    pub offered: u64,
    /// As in `events`.
    pub accepted: u64,
    /// As in `events`.
    pub refused: u64,
    /// As in `events`.
    pub delivered: u64,
    /// As in `events`.
    pub coalesced: u64,
    /// As in `events`.
    pub expired: u64,
    /// As in `events`.
    pub refused_after_admission: u64,
    /// As in `events`.
    pub dead_lettered: u64,
    /// As in `events`.
    pub in_flight: u64,
    /// Of those refused after admission, the oldest that made room.
    pub dropped_oldest: u64,
    /// Of those refused after admission, the newest that found none.
    pub dropped_newest: u64,
    /// Events that went through the store of spilled events.
    pub spilled: u64,
    /// Times that an event was offered to a full topic that blocks.
    pub blocked: u64,
    /// Most slots that waited on one shard.
    pub peak_slots: u64,
    /// Times that it passed its high watermark, on all shards.
    pub crowded: u64,
    /// Source time from there until it was down at the low one, on all shards, ns.
    pub crowded_ns: u64,
}

/// A topic passed a watermark on a shard.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Watermark {
    /// Source time, ns since the epoch.
    pub at: u64,
    /// Shard.
    pub shard: usize,
    /// Name of the topic.
    pub topic: String,
    /// `high`, or `low` when it is no longer crowded.
    pub mark: Cow<'static, str>,
    /// Slots that waited then.
    pub waiting: u64,
}

/// Name of a lane in reports.
const fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Critical => "critical",
        Lane::High => "high",
        Lane::Normal => "normal",
        Lane::Low => "low",
    }
}

impl TopicReport {
    fn new(bus: &str, topic: &OpenTopic, row: &Row, stats: &TopicStats) -> Self {
        Self {
            bus: bus.to_owned(),
            topic: topic.name().to_owned(),
            lane: lane_name(topic.lane()).into(),
            policy: topic.policy().name().into(),
            capacity: topic.capacity() as u64,
            offered: row.offered,
            accepted: row.accepted,
            refused: row.refused,
            delivered: row.delivered,
            coalesced: row.coalesced,
            expired: row.expired,
            refused_after_admission: row.refused_after_admission,
            dead_lettered: row.dead_lettered,
            in_flight: row.in_flight,
            dropped_oldest: stats.dropped_oldest,
            dropped_newest: stats.dropped_newest,
            spilled: stats.spilled,
            blocked: stats.blocked,
            peak_slots: stats.peak_slots,
            crowded: stats.crowded,
            crowded_ns: stats.crowded_ns,
        }
    }

    /// Adds what the same topic counted on another shard.
    fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.offered, other.offered),
            (&mut self.accepted, other.accepted),
            (&mut self.refused, other.refused),
            (&mut self.delivered, other.delivered),
            (&mut self.coalesced, other.coalesced),
            (&mut self.expired, other.expired),
            (&mut self.refused_after_admission, other.refused_after_admission),
            (&mut self.dead_lettered, other.dead_lettered),
            (&mut self.in_flight, other.in_flight),
            (&mut self.dropped_oldest, other.dropped_oldest),
            (&mut self.dropped_newest, other.dropped_newest),
            (&mut self.spilled, other.spilled),
            (&mut self.blocked, other.blocked),
            (&mut self.crowded, other.crowded),
            (&mut self.crowded_ns, other.crowded_ns),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
        self.peak_slots = self.peak_slots.max(other.peak_slots);
    }
}

/// Topics of one shard, with its part of the ledger. Without lanes the ledger is told by the topics that an engine has by default.
#[must_use]
pub fn of(lanes: Option<&Lanes>, ledger: &Ledger) -> Vec<TopicReport> {
    let by_default = || Registry::of(&[Bus::market()]).expect("Invariant: the topics of the market are good");
    let owned = lanes.is_none().then(by_default);
    let none = TopicStats::default();
    let registry = owned.as_ref().or(lanes.map(Lanes::registry));
    let topics = registry.into_iter().flat_map(|registry| {
        registry.topics().map(move |(id, topic)| (registry.bus_of(id).unwrap_or_default(), id, topic))
    });
    topics
        .map(|(bus, id, topic): (&str, TopicId, &OpenTopic)| {
            let stats = lanes.map_or(&none, |lanes| lanes.stats(id));
            TopicReport::new(bus, topic, &ledger.sum(topic.kinds()), stats)
        })
        .collect()
}

/// Topics of all shards together, without those that had no events.
#[must_use]
pub fn sum<'a>(shards: impl Iterator<Item = &'a [TopicReport]>) -> Vec<TopicReport> {
    let mut sums: Vec<TopicReport> = Vec::new();
    for topic in shards.flatten() {
        match sums.iter_mut().find(|sum| (&sum.bus, &sum.topic) == (&topic.bus, &topic.topic)) {
            Some(sum) => sum.add(topic),
            None => sums.push(topic.clone()),
        }
    }
    sums.retain(|topic| topic.offered > 0);
    sums
}

/// The transitions of a shard that are kept, by the names of their topics.
#[must_use]
pub fn watermarks(shard: usize, lanes: &Lanes) -> Vec<Watermark> {
    let name = |topic| lanes.registry().topic(topic).map_or("closed", OpenTopic::name).to_owned();
    let kept = lanes.transitions().since(0);
    kept.map(|transition| Watermark {
        at: transition.at.0,
        shard,
        topic: name(transition.topic),
        mark: if transition.is_high { "high" } else { "low" }.into(),
        waiting: u64::from(transition.waiting),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapeline_core::event::Kind;
    use tapeline_core::ledger::Outcome;

    #[test]
    fn ledgers_of_topics_add_up_to_the_whole() {
        let mut ledger = Ledger::new();
        for kind in Kind::ALL.iter().filter(|kind| !kind.is_control()) {
            ledger.accept(*kind);
            ledger.settle(*kind, Outcome::Coalesced);
            ledger.accept(*kind);
            ledger.settle(*kind, Outcome::Delivered);
        }
        let one = of(None, &ledger);
        let topics = sum([&one[..], &one[..]].into_iter());
        let total = ledger.total();
        assert_eq!(topics.iter().map(|topic| topic.offered).sum::<u64>(), 2 * total.offered);
        assert_eq!(topics.iter().map(|topic| topic.coalesced).sum::<u64>(), 2 * total.coalesced);
        assert_eq!(topics.iter().map(|topic| topic.delivered).sum::<u64>(), 2 * total.delivered);
        assert!(topics.iter().all(|topic| topic.offered == topic.accepted && topic.bus == "market"));
        assert!(sum([&of(None, &Ledger::new())[..]].into_iter()).is_empty());
    }
}
