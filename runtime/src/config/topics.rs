//! Topics by name: which kinds wait together, how many of them, and what happens when there is no room.

use super::key::words;
use super::retry::Retry;
use super::value::Value;
use tapeline_core::event::{Kind, KindSet, Lane};
use tapeline_core::limits::{KIND_ROWS, TOPICS_MAX};
use tapeline_core::topics::{Bus, ConflateBy, OpenError, Policy, Registry, Topic, TopicError};

words!(
    Policy,
    POLICIES,
    "block" = Policy::Block,
    "refuse" = Policy::Refuse,
    "drop_newest" = Policy::DropNewest,
    "drop_oldest" = Policy::DropOldest,
    "conflate" = Policy::Conflate,
    "spill" = Policy::Spill,
    "dead_letter" = Policy::DeadLetter,
);
words!(OnInvalid, ON_INVALID, "refuse" = OnInvalid::Refuse, "dead_letter" = OnInvalid::DeadLetter);
words!(Lane, LANES, "critical" = Lane::Critical, "high" = Lane::High, "normal" = Lane::Normal, "low" = Lane::Low);
words!(ConflateBy, KEYS, "symbol" = ConflateBy::Symbol, "level" = ConflateBy::Level);

/// What happens to a source event that breaks its schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnInvalid {
    /// It is refused, and counted by reason.
    #[default]
    Refuse,
    /// It is kept as a dead letter, with the reason as its error code.
    DeadLetter,
}

/// Slots of a topic that the configuration adds.
const CAPACITY_DEFAULT: usize = 1 << 12;

/// A topic as it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct TopicKeys {
    /// Names of its kinds; none at all = there is no such topic. `None` = every kind that no other topic names.
    pub kinds: Option<Vec<String>>,
    /// As [`Topic::lane`].
    pub lane: Lane,
    /// As [`Topic::capacity`].
    pub capacity: usize,
    /// As [`Topic::policy`].
    pub policy: Policy,
    /// As [`Topic::conflate_by`].
    pub conflate_by: ConflateBy,
    /// As [`Topic::high`]; `None` = three quarters of the capacity.
    pub high: Option<usize>,
    /// As [`Topic::low`]; `None` = a quarter of the capacity.
    pub low: Option<usize>,
    /// As [`Topic::expire_after_ns`].
    pub expire_after_ns: u64,
    /// Name of the retry policy of its events; `None` = those of their kinds.
    pub retry: Option<String>,
    /// As [`Topic::lossy`].
    pub lossy: bool,
    /// What happens to events that break their schema, with either way of overload.
    pub on_invalid: OnInvalid,
}

impl Default for TopicKeys {
    fn default() -> Self {
        Self::of(&Topic::new("", KindSet::EMPTY, CAPACITY_DEFAULT))
    }
}

impl TopicKeys {
    fn of(topic: &Topic) -> Self {
        let Topic { name: _, kinds, lane, capacity, policy, conflate_by, high, low, expire_after_ns, retry: _, lossy } =
            topic;
        let auto = Topic::new("", *kinds, *capacity);
        let kinds = Kind::ALL.iter().filter(|kind| kinds.contains(**kind));
        Self {
            kinds: Some(kinds.map(|kind| kind.name().to_owned()).collect()),
            lane: *lane,
            capacity: *capacity,
            policy: *policy,
            conflate_by: *conflate_by,
            high: (*high != auto.high).then_some(*high),
            low: (*low != auto.low).then_some(*low),
            expire_after_ns: *expire_after_ns,
            retry: None,
            lossy: *lossy,
            on_invalid: OnInvalid::Refuse,
        }
    }

    /// The kinds that it names.
    fn named(&self) -> &[String] {
        self.kinds.as_deref().unwrap_or_default()
    }

    fn topic(&self, name: &str, kinds: KindSet, retry: &Retry) -> Topic {
        let Self {
            kinds: _,
            lane,
            capacity,
            policy,
            conflate_by,
            high,
            low,
            expire_after_ns,
            retry: policy_name,
            lossy,
            // The shard's: it holds without lanes, too.
            on_invalid: _,
        } = self;
        let auto = Topic::new(name, kinds, *capacity);
        Topic {
            lane: *lane,
            policy: *policy,
            conflate_by: *conflate_by,
            high: high.unwrap_or(auto.high),
            low: low.unwrap_or(auto.low),
            expire_after_ns: *expire_after_ns,
            retry: policy_name.as_ref().map_or(0, |name| retry.number(name)),
            lossy: *lossy,
            ..auto
        }
    }
}

/// All topics.
#[derive(Clone, PartialEq, Debug)]
pub struct Topics(pub Vec<(String, TopicKeys)>);

impl Default for Topics {
    /// Those of [`Topic::market`], the last of which has the rest.
    fn default() -> Self {
        let mut topics = Self(Topic::market().iter().map(|topic| (topic.name.clone(), TopicKeys::of(topic))).collect());
        if let Some((_, others)) = topics.0.last_mut() {
            others.kinds = None;
        }
        topics
    }
}

impl Topics {
    /// The topic of that name; made where there is none.
    pub(super) fn topic_mut(&mut self, name: &str) -> &mut TopicKeys {
        let index = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.to_owned(), TopicKeys::default()));
            self.0.len() - 1
        });
        &mut self.0[index].1
    }

    /// The topic of that name, or what it would begin with.
    pub(super) fn topic(&self, name: &str) -> TopicKeys {
        self.0.iter().find(|(known, _)| known == name).map(|(_, topic)| topic.clone()).unwrap_or_default()
    }

    /// Kinds of a topic.
    fn kinds(&self, topic: &TopicKeys) -> KindSet {
        let is_named =
            |kind: &Kind| self.0.iter().any(|(_, topic)| topic.named().iter().any(|name| name == kind.name()));
        let is_its = |kind: &Kind| match &topic.kinds {
            Some(names) => names.iter().any(|name| name == kind.name()),
            None => !kind.is_control() && !is_named(kind),
        };
        let kinds = Kind::ALL.iter().filter(|kind| is_its(kind));
        kinds.fold(KindSet::EMPTY, |set, kind| set.union(KindSet::of(&[*kind])))
    }

    /// The bus `market` with these topics.
    ///
    /// # Panics
    /// When [`Topics::check`] finds something.
    pub(super) fn bus(&self, retry: &Retry) -> Bus {
        let topics = self.0.iter().map(|(name, topic)| topic.topic(name, self.kinds(topic), retry));
        Bus::new("market", topics.filter(|topic| topic.kinds != KindSet::EMPTY).collect())
    }

    /// Puts the retry policies of topics over those of their kinds.
    pub(super) fn set_retries(&self, retry: &Retry, rows: &mut [u8; KIND_ROWS]) {
        for (_, topic) in &self.0 {
            let Some(name) = &topic.retry else { continue };
            let kinds = self.kinds(topic);
            for kind in Kind::ALL.iter().filter(|kind| kinds.contains(**kind)) {
                rows[kind.row()] = retry.number(name);
            }
        }
    }

    /// Kinds whose events are kept where they break their schema.
    pub(super) fn invalid_kept(&self) -> KindSet {
        let kept = self.0.iter().filter(|(_, topic)| topic.on_invalid == OnInvalid::DeadLetter);
        kept.fold(KindSet::EMPTY, |kinds, (_, topic)| kinds.union(self.kinds(topic)))
    }

    /// What does not fit together: paths of keys, with what is wrong.
    pub(super) fn check(&self, retry: &Retry, has_store: bool) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        for (index, (name, topic)) in self.0.iter().enumerate() {
            let mut tell = |key: &str, what: String| wrong.push((format!("topics.{name}.{key}"), what));
            if let Some((_, what)) = topic.retry.as_ref().and_then(|policy| retry.check_name("", policy)) {
                tell("retry", what);
                continue; // there is no such topic to look at
            }
            for (other, before) in &self.0[..index] {
                for kind in topic.named().iter().filter(|kind| before.named().contains(kind)) {
                    tell("kinds", format!("{kind} is in topics.{other}.kinds, too: take it out there"));
                }
                if topic.kinds.is_none() && before.kinds.is_none() {
                    tell("kinds", format!("topics.{other} has the rest already"));
                }
            }
            if topic.policy == Policy::Spill && !has_store {
                tell("policy", "it needs a folder for what is spilled: set spill.folders".to_owned());
            }
            let kinds = self.kinds(topic);
            if kinds != KindSet::EMPTY
                && let Err(error) = topic.topic(name, kinds, retry).check()
            {
                let key = match error {
                    TopicError::Watermarks if topic.high.is_some() => "high",
                    TopicError::Watermarks => "low",
                    TopicError::Lossy(_) | TopicError::NoKey => "policy",
                    TopicError::LossyExpiry => "expire_after",
                    TopicError::Capacity => "capacity",
                    _ => "kinds",
                };
                tell(key, error.to_string());
            }
        }
        if wrong.is_empty()
            && let Err(error) = Registry::of(&[self.bus(retry)])
        {
            let named = |name: &str, key: &str| format!("topics.{name}.{key}");
            let last = self.0.get(TOPICS_MAX).or(self.0.last()).map_or("quotes", |(name, _)| name);
            let path = match &error {
                OpenError::BookLanes(name) => named(name, "lane"),
                _ => named(last, "kinds"),
            };
            wrong.push((path, error.to_string()));
        }
        wrong
    }
}

/// Names of the kinds that a handler may get: all but control events.
pub(super) fn kind_names() -> Vec<&'static str> {
    Kind::ALL.iter().filter(|kind| !kind.is_control()).map(|kind| kind.name()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Layers};

    use super::*;

    fn load(text: &str) -> Result<Config, String> {
        let mut layers = Layers::default();
        layers.file("t.toml", text);
        layers.finish().map(|loaded| loaded.config).map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_default_is_the_market() {
        assert_eq!(Topics::default().bus(&Retry::default()), Bus::market());
        assert_eq!(load("").unwrap().setup(Vec::new()).buses, [Bus::market()]);
    }

    #[test]
    fn req_3454_a_topic_says_kinds_room_policy_and_retries() {
        let text = r#"
[replay]
overload = "live"
[retry.policy.fast]
[topics.news]
kinds = []
[topics.urgent]
kinds = ["news", "status"]
lane = "critical"
capacity = 100
policy = "drop_oldest"
high = 90
low = 10
expire_after = "5ms"
retry = "fast"
[topics.status]
kinds = []
[topics.quotes]
kinds = []
[topics.books]
policy = "conflate"
conflate_by = "level"
kinds = ["book_level", "book_depth", "gap"]
lossy = true
[topics.orders]
kinds = ["book_order"]
policy = "dead_letter"
lossy = true
"#;
        let config = load(text).unwrap();
        let setup = config.setup(Vec::new());
        let [bus] = &setup.buses[..] else { panic!("one bus") };
        let topic = |name: &str| bus.topics.iter().find(|topic| topic.name == name);
        assert!(topic("news").is_none() && topic("status").is_none());
        let kinds = KindSet::of(&[Kind::NEWS, Kind::STATUS]);
        let expected = Topic {
            lane: Lane::Critical,
            policy: Policy::DropOldest,
            high: 90,
            low: 10,
            expire_after_ns: 5_000_000,
            retry: 1,
            ..Topic::new("urgent", kinds, 100)
        };
        assert_eq!(topic("urgent"), Some(&expected));
        let books = topic("books").unwrap();
        assert_eq!((books.policy, books.conflate_by, books.lossy), (Policy::Conflate, ConflateBy::Level, true));
        assert_eq!(topic("orders").unwrap().policy, Policy::DeadLetter);
        assert!(topic("others").unwrap().kinds.contains(Kind::QUOTE), "what no other one names is the rest");
        assert_eq!(bus.slots, bus.topics.iter().map(|topic| topic.capacity).sum::<usize>());
        // The retry policy holds whether topics act or not.
        let rows = setup.shard.retry_of;
        assert_eq!([Kind::NEWS, Kind::STATUS, Kind::TRADE].map(|kind| rows[kind.row()]), [1, 1, 0]);
        assert_eq!(setup.shard.live, None, "the engine says whether they act");
    }

    #[test]
    fn a_topic_that_cannot_be_is_told_by_its_key() {
        for (text, told) in [
            (
                "[topics.x]\nkinds = [\"trade\"]",
                "t.toml:2:1: topics.x.kinds = [\"trade\"]: trade is in topics.trades.kinds, too: take it out there",
            ),
            (
                "[topics.trades]\npolicy = \"refuse\"",
                "t.toml:2:1: topics.trades.policy = \"refuse\": refuse can lose trades or changes of a book: the topic has to \
                 say lossy = true",
            ),
            (
                "[topics.news]\npolicy = \"spill\"",
                "t.toml:2:1: topics.news.policy = \"spill\": it needs a folder for what is spilled: set spill.folders",
            ),
            (
                "[topics.news]\nhigh = 5000",
                "t.toml:2:1: topics.news.high = 5000: watermarks are low < high <= capacity",
            ),
            ("[topics.news]\nlow = 4096", "t.toml:2:1: topics.news.low = 4096: watermarks are low < high <= capacity"),
            ("[topics.news]\ncapacity = 0", "t.toml:2:1: topics.news.capacity = 0: an integer, 1 to 16777216"),
            (
                "[topics.trades]\nexpire_after = \"1s\"",
                "t.toml:2:1: topics.trades.expire_after = \"1s\": trades and changes of a book that expire are lost: the \
                 topic has to say lossy = true",
            ),
            (
                "[topics.news]\nretry = \"fast\"",
                "t.toml:2:1: topics.news.retry = \"fast\": no [retry.policy.fast]; there is standard",
            ),
            (
                "[topics.news]\npolicy = \"drop\"",
                "t.toml:2:1: topics.news.policy = \"drop\": \"block\", \"refuse\", \"drop_newest\", \"drop_oldest\", \
                 \"conflate\", \"spill\", \"dead_letter\"",
            ),
            (
                "[topics.x]\nkinds = \"rest\"",
                "t.toml:2:1: topics.x.kinds = \"rest\": topics.others has the rest already",
            ),
            ("[topics.news]\nlanes = 1", "t.toml:2:1: topics.news.lanes is no key; the nearest is topics.news.lane"),
            ("[topic.news]\nlane = \"low\"", "t.toml:1:2: [topic] is no table; the nearest is [topics.<name>]"),
            (
                "[topics.books]\nkinds = [\"book_level\"]\n[topics.o]\nkinds = [\"book_order\", \"book_depth\", \"gap\"]\nlane = \"low\"",
                "t.toml:5:1: topics.o.lane = \"low\": topic o: the kinds that change a book have to be in one lane",
            ),
        ] {
            let found = load(text).unwrap_err();
            assert!(found.lines().any(|line| line == told), "{told}\nis not\n{found}");
        }
        let kinds = load("[topics.news]\nkinds = [\"tick\"]").unwrap_err();
        assert!(kinds.contains("topics.news.kinds = [\"tick\"]: a list of any of trade, "), "{kinds}");
        let many: String = (0..TOPICS_MAX).map(|index| format!("[topics.t{index}]\n")).collect();
        assert!(load(&many).is_ok(), "topics without kinds are none");
    }
}
