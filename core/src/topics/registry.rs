//! The registry: named buses with topics and limits of their own.
//!
//! A bus is opened by name, with its topics, and closed explicitly; looking for one never makes one. Opening reserves the room of its
//! topics, so that no bus can take another one's. All of it is one value that an engine owns: two engines in one process share nothing.

use super::{BOOK_KINDS, ConflateBy, Policy, STRICT_KINDS, Topic, TopicError};
use crate::event::{Kind, KindSet, Lane};
use crate::hash;
use crate::limits::{BUSES_MAX, KIND_ROWS, NAME_BYTES_MAX, TOPICS_MAX};
use crate::slab::{Handle, Slab, seed_of};
use bytemuck::{Pod, Zeroable};

/// A bus of one registry. Refused once the bus is closed, also when another one of that name is open by then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BusId(Handle);

/// A topic of an open bus, below [`TOPICS_MAX`]. The number is given anew after its bus was closed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TopicId(pub u8);

impl TopicId {
    /// As an index of arrays with [`TOPICS_MAX`] places.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A bus, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bus {
    /// Name: 1 to [`NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// Slots that its topics may have together.
    pub slots: usize,
    /// Its topics.
    pub topics: Vec<Topic>,
}

impl Bus {
    /// A bus of these topics, with just the room that they ask for.
    #[must_use]
    pub fn new(name: &str, topics: Vec<Topic>) -> Self {
        Self { name: name.to_owned(), slots: topics.iter().map(|topic| topic.capacity).sum(), topics }
    }

    /// Whether the retry policies that its topics name are among `policies`, numbered from 0. O(topics).
    ///
    /// # Errors
    /// [`OpenError::NoRetryPolicy`] for the first that is not.
    pub fn check_retries(&self, policies: usize) -> Result<(), OpenError> {
        match self.topics.iter().find(|topic| usize::from(topic.retry) >= policies) {
            None => Ok(()),
            Some(topic) => Err(OpenError::NoRetryPolicy { topic: topic.name.clone(), number: topic.retry, policies }),
        }
    }

    /// The bus of [`Topic::market`], which an engine has unless it is configured otherwise.
    #[must_use]
    pub fn market() -> Self {
        Self::new("market", Topic::market())
    }
}

/// Why a bus was not opened. The registry is as before.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name is empty or too long.
    #[error("a bus's name has 1 to {NAME_BYTES_MAX} bytes")]
    Name,
    /// It has no topics.
    #[error("bus {0} has no topics")]
    NoTopics(String),
    /// A bus of that name is open, with other topics or limits.
    #[error("bus {0} is open already, and configured otherwise")]
    Differs(String),
    /// A bus of that name is being drained.
    #[error("bus {0} is being closed")]
    Closing(String),
    /// [`BUSES_MAX`] buses are open.
    #[error("{BUSES_MAX} buses are open, as many as there may be")]
    TooManyBuses,
    /// All buses together would have more than [`TOPICS_MAX`] topics.
    #[error("all buses together have at most {TOPICS_MAX} topics")]
    TooManyTopics,
    /// Two topics of the bus have this name.
    #[error("two topics of a bus are named {0}")]
    TopicTaken(String),
    /// A topic cannot be.
    #[error("topic {0}: {1}")]
    Topic(String, TopicError),
    /// The kind belongs to another topic, which may be one that is still being drained.
    #[error("topic {topic}: {} belongs to another topic", .kind.name())]
    KindTaken {
        /// The topic that asks for it.
        topic: String,
        /// The kind.
        kind: Kind,
    },
    /// Changes of a book would wait in different lanes, and overtake each other.
    #[error("topic {0}: the kinds that change a book have to be in one lane")]
    BookLanes(String),
    /// A topic names a retry policy that the engine does not have.
    #[error("topic {topic}: there is no retry policy {number}, the engine has {policies}")]
    NoRetryPolicy {
        /// The topic.
        topic: String,
        /// The policy that it names.
        number: u8,
        /// Policies that there are, numbered from 0.
        policies: usize,
    },
    /// The topics ask for more room than the bus has.
    #[error("the topics of bus {bus} ask for {asked} slots, it has {slots}")]
    BusRoom {
        /// Its name.
        bus: String,
        /// Slots of its topics.
        asked: usize,
        /// Its limit.
        slots: usize,
    },
    /// The open buses leave less room.
    #[error("bus {bus} asks for {asked} slots, {left} are left")]
    Room {
        /// Its name.
        bus: String,
        /// Slots that it asks for.
        asked: usize,
        /// Slots that are not reserved.
        left: usize,
    },
}

/// Why a bus was not closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CloseError {
    /// The handle is of a bus that was closed, or of none.
    #[error("there is no such bus")]
    Stale,
}

/// A name in fixed memory.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub(crate) struct Name {
    bytes: [u8; NAME_BYTES_MAX],
    len: u64,
}

impl Name {
    fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES_MAX];
        bytes.get_mut(..name.len()).filter(|bytes| !bytes.is_empty())?.copy_from_slice(name.as_bytes());
        Some(Self { bytes, len: name.len() as u64 })
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len as usize]).expect("Invariant: names are made of texts")
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct OpenBus {
    name: Name,
    /// Its topics, one bit each.
    topics: u64,
    slots: u64,
    /// Stable hash of how it was configured.
    config: u64,
    /// 1 while it is drained and takes nothing more.
    closing: u64,
}

/// A topic of an open bus, as the lanes need it. Fixed while its bus is open.
#[derive(Clone, Copy, Debug)]
pub struct OpenTopic {
    pub(crate) name: Name,
    pub(crate) bus: u32,
    pub(crate) kinds: KindSet,
    pub(crate) capacity: u32,
    pub(crate) high: u32,
    pub(crate) low: u32,
    pub(crate) expire_after_ns: u64,
    pub(crate) policy: Policy,
    pub(crate) conflate_by: ConflateBy,
    pub(crate) lane: Lane,
    pub(crate) retry: u8,
}

impl OpenTopic {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Its kinds.
    #[must_use]
    pub const fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// Slots that may wait.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// What happens when there is no room.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Lane of its events.
    #[must_use]
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// Number of the retry policy of its events.
    #[must_use]
    pub const fn retry(&self) -> u8 {
        self.retry
    }
}

/// No topic takes the kind.
const NONE: u8 = u8::MAX;

/// Named buses and their topics. See the module.
#[derive(Debug)]
pub struct Registry {
    buses: Slab<OpenBus>,
    topics: Box<[Option<OpenTopic>; TOPICS_MAX]>,
    /// Topic of each kind, by [`Kind::row`].
    route: [u8; KIND_ROWS],
    slots: usize,
    reserved: usize,
}

impl Registry {
    /// No buses, and `slots` slots for those to come. Its number is 0: see [`Registry::numbered`].
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self::numbered(slots, 0)
    }

    /// As [`Registry::new`], as the registry of that number (a shard gives its own): it refuses the handles of registries with other
    /// numbers, and they refuse its. Two of one number take each other's where index and generation agree; of different ones, once in
    /// 2^31.
    #[must_use]
    pub fn numbered(slots: usize, instance: u32) -> Self {
        Self {
            buses: Slab::new(BUSES_MAX, seed_of("buses", instance)),
            topics: Box::new([None; TOPICS_MAX]),
            route: [NONE; KIND_ROWS],
            slots,
            reserved: 0,
        }
    }

    /// A registry with these buses open, and room for them alone.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn of(buses: &[Bus]) -> Result<Self, OpenError> {
        Self::of_numbered(buses, 0)
    }

    /// As [`Registry::of`], as the registry of that number: see [`Registry::numbered`].
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn of_numbered(buses: &[Bus], instance: u32) -> Result<Self, OpenError> {
        let mut registry = Self::numbered(buses.iter().map(|bus| bus.slots).sum(), instance);
        for bus in buses {
            registry.open(bus)?;
        }
        Ok(registry)
    }

    /// Opens a bus, or finds the one that was opened just so. O(topics). Does not allocate, but for the error.
    ///
    /// # Errors
    /// [`OpenError`] with the first rule that it breaks.
    pub fn open(&mut self, bus: &Bus) -> Result<BusId, OpenError> {
        let name = Name::new(&bus.name).ok_or(OpenError::Name)?;
        let config = config_hash(bus);
        if let Some(handle) = self.find(&bus.name) {
            let open = self.buses.at(handle.0.index());
            return match (open.closing, open.config == config) {
                (0, true) => Ok(handle),
                (0, false) => Err(OpenError::Differs(bus.name.clone())),
                _ => Err(OpenError::Closing(bus.name.clone())),
            };
        }
        self.check(bus)?;
        let open = OpenBus { name, topics: 0, slots: bus.slots as u64, config, closing: 0 };
        let handle = self.buses.insert(open).map_err(|_| OpenError::TooManyBuses)?;
        let free = (0..TOPICS_MAX).filter(|index| self.topics[*index].is_none());
        let mut taken = 0;
        let places = free.take(bus.topics.len()).fold(0_u64, |set, index| set | 1 << index);
        let mut left = places;
        for topic in &bus.topics {
            let index = left.trailing_zeros() as usize;
            left &= left - 1;
            taken |= 1 << index;
            for kind in Kind::ALL.iter().filter(|kind| topic.kinds.contains(**kind)) {
                self.route[kind.row()] = index as u8;
            }
            self.topics[index] = Some(OpenTopic {
                name: Name::new(&topic.name).expect("Invariant: the topic was checked"),
                bus: handle.index(),
                kinds: topic.kinds,
                capacity: topic.capacity as u32,
                high: topic.high as u32,
                low: topic.low as u32,
                expire_after_ns: topic.expire_after_ns,
                policy: topic.policy,
                conflate_by: topic.conflate_by,
                lane: topic.lane,
                retry: topic.retry,
            });
        }
        self.buses.at_mut(handle.index()).topics = taken;
        self.reserved += bus.slots;
        Ok(BusId(handle))
    }

    fn check(&self, bus: &Bus) -> Result<(), OpenError> {
        if bus.topics.is_empty() {
            return Err(OpenError::NoTopics(bus.name.clone()));
        }
        if self.buses.is_full() {
            return Err(OpenError::TooManyBuses);
        }
        let used = self.topics.iter().flatten().count();
        if used + bus.topics.len() > TOPICS_MAX {
            return Err(OpenError::TooManyTopics);
        }
        let has_book =
            |kinds: KindSet| Kind::ALL.iter().any(|kind| BOOK_KINDS.contains(*kind) && kinds.contains(*kind));
        let mut book_lane = self.topics.iter().flatten().find(|topic| has_book(topic.kinds)).map(|topic| topic.lane);
        let mut asked = 0;
        for (index, topic) in bus.topics.iter().enumerate() {
            topic.check().map_err(|error| OpenError::Topic(topic.name.clone(), error))?;
            let before = &bus.topics[..index];
            if before.iter().any(|other| other.name == topic.name) {
                return Err(OpenError::TopicTaken(topic.name.clone()));
            }
            // A topic that is being drained takes nothing more, and still has its kinds: what waits in it, or is to be read again into it,
            // would be overtaken by what a second topic takes.
            let is_taken = |kind: &&Kind| {
                topic.kinds.contains(**kind)
                    && (self.topics.iter().flatten().any(|open| open.kinds.contains(**kind))
                        || before.iter().any(|other| other.kinds.contains(**kind)))
            };
            if let Some(kind) = Kind::ALL.iter().find(is_taken) {
                return Err(OpenError::KindTaken { topic: topic.name.clone(), kind: *kind });
            }
            if has_book(topic.kinds) && *book_lane.get_or_insert(topic.lane) != topic.lane {
                return Err(OpenError::BookLanes(topic.name.clone()));
            }
            asked += topic.capacity;
        }
        if asked > bus.slots {
            return Err(OpenError::BusRoom { bus: bus.name.clone(), asked, slots: bus.slots });
        }
        let left = self.slots - self.reserved;
        if bus.slots > left {
            return Err(OpenError::Room { bus: bus.name.clone(), asked: bus.slots, left });
        }
        Ok(())
    }

    /// The open bus of that name. Never makes one. O(buses).
    #[must_use]
    pub fn find(&self, name: &str) -> Option<BusId> {
        self.buses.iter().find(|(_, bus)| bus.name.as_str() == name).map(|(handle, _)| BusId(handle))
    }

    /// Name of a bus, while it is open.
    #[must_use]
    pub fn name(&self, bus: BusId) -> Option<&str> {
        self.buses.get(bus.0).map(|bus| bus.name.as_str())
    }

    /// Whether the bus takes nothing more and is being drained.
    #[must_use]
    pub fn is_closing(&self, bus: BusId) -> bool {
        self.buses.get(bus.0).is_some_and(|bus| bus.closing != 0)
    }

    /// Buses that are open, the closing ones included.
    pub fn buses(&self) -> impl Iterator<Item = (BusId, &str)> {
        self.buses.iter().map(|(handle, bus)| (BusId(handle), bus.name.as_str()))
    }

    /// Topics of a bus; none when it is closed.
    pub fn topics_of(&self, bus: BusId) -> impl Iterator<Item = TopicId> + use<> {
        let mut left = self.buses.get(bus.0).map_or(0, |bus| bus.topics);
        core::iter::from_fn(move || {
            let index = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (index < u64::BITS).then_some(TopicId(index as u8))
        })
    }

    /// Buses that are being closed, one bit for each place.
    pub(crate) fn closing(&self) -> u64 {
        let closing = self.buses.iter().filter(|(_, bus)| bus.closing != 0);
        closing.fold(0, |set, (handle, _)| set | 1 << handle.index())
    }

    /// Begins to close the buses at these places. False when one of them is not there.
    pub(crate) fn begin_close_all(&mut self, places: u64) -> bool {
        let mut left = places;
        for place in 0..BUSES_MAX as u32 {
            if places >> place & 1 == 1 && self.buses.is_used(place) {
                self.begin_close(BusId(self.buses.handle_at(place)));
                left &= !(1 << place);
            }
        }
        left == 0
    }

    /// A topic, while its bus is open.
    #[inline]
    #[must_use]
    pub fn topic(&self, topic: TopicId) -> Option<&OpenTopic> {
        self.topics.get(topic.index())?.as_ref()
    }

    /// All topics of open buses, in the order of their numbers, with their buses.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &OpenTopic)> {
        let topics = self.topics.iter().enumerate();
        topics.filter_map(|(index, topic)| Some((TopicId(index as u8), topic.as_ref()?)))
    }

    /// Name of the bus of a topic.
    #[must_use]
    pub fn bus_of(&self, topic: TopicId) -> Option<&str> {
        Some(self.buses.at(self.topic(topic)?.bus).name.as_str())
    }

    /// The topic that takes the kind. O(1).
    #[inline]
    #[must_use]
    pub fn route(&self, kind: Kind) -> Option<TopicId> {
        let topic = self.route[kind.row()];
        (topic != NONE && kind.is_known()).then_some(TopicId(topic))
    }

    /// Slots that buses may reserve together.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// Slots that the open buses have reserved.
    #[must_use]
    pub const fn reserved(&self) -> usize {
        self.reserved
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buses.bytes() + size_of_val(&*self.topics)
    }

    /// The bus takes nothing more. False when it is closed.
    pub(crate) fn begin_close(&mut self, bus: BusId) -> bool {
        let Some(open) = self.buses.get_mut(bus.0) else { return false };
        open.closing = 1;
        for route in &mut self.route {
            if *route != NONE && open.topics >> *route & 1 == 1 {
                *route = NONE;
            }
        }
        true
    }

    /// The bus of a topic, and whether it is being closed.
    pub(crate) fn closing_bus_of(&self, topic: TopicId) -> Option<BusId> {
        let bus = self.buses.handle_at(self.topic(topic)?.bus);
        (self.buses.at(bus.index()).closing != 0).then_some(BusId(bus))
    }

    /// Frees what the bus had. Its handle is stale from now on.
    pub(crate) fn end_close(&mut self, bus: BusId) {
        let Some(open) = self.buses.remove(bus.0) else { return };
        self.reserved -= open.slots as usize;
        for (index, topic) in self.topics.iter_mut().enumerate() {
            if open.topics >> index & 1 == 1 {
                *topic = None;
            }
        }
    }

    /// Stable hash of all that is configured, for snapshots: buses and topics with their places. Whether a bus is being closed is no
    /// configuration, and neither is how often its place was given before.
    pub(crate) fn config(&self) -> u64 {
        let fold = |hash: u64, words: [u64; 3]| hash::stable(bytemuck::bytes_of(&[hash, words[0], words[1], words[2]]));
        self.buses.iter().fold(self.slots as u64, |hash, (handle, bus)| {
            fold(fold(hash, [u64::from(handle.index()), bus.config, 0]), [bus.topics, bus.slots, 0])
        })
    }
}

/// Stable hash of how a bus is configured: equal for equal configurations.
fn config_hash(bus: &Bus) -> u64 {
    let mut hash = hash::stable(bus.name.as_bytes()) ^ bus.slots as u64;
    for topic in &bus.topics {
        let kinds =
            Kind::ALL.iter().filter(|kind| topic.kinds.contains(**kind)).fold(0, |set, kind| set | 1_u64 << kind.0);
        let words = [
            hash,
            hash::stable(topic.name.as_bytes()),
            kinds,
            topic.lane as u64,
            topic.capacity as u64,
            topic.policy as u64,
            topic.conflate_by as u64,
            topic.high as u64,
            topic.low as u64,
            topic.expire_after_ns,
            u64::from(topic.retry),
            u64::from(topic.lossy),
        ];
        hash = hash::stable(bytemuck::cast_slice(&words));
    }
    hash
}

const _: () = {
    assert!(TOPICS_MAX == u64::BITS as usize, "the topics of a bus are one word");
    assert!(STRICT_KINDS.contains(Kind::GAP), "what a source missed must not be lost on the way");
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::payload::{Quote, Trade};
    use crate::event::{EventBuf, EventRef, Slot};
    use crate::lanes::{Lanes, Left, Offered};
    use crate::units::UnixNanos;

    fn bus(name: &str, kind: Kind, slots: usize) -> Bus {
        Bus::new(name, vec![Topic::new("topic", KindSet::of(&[kind]), slots)])
    }

    fn offer(lanes: &mut Lanes, event: &EventBuf) -> Offered {
        lanes.offer(EventRef::first(event.slots()).unwrap(), 0, UnixNanos(1), &mut |_, _| {})
    }

    #[test]
    fn req_3529_3530_no_bus_is_made_by_looking_for_it_and_there_are_only_so_many() {
        let mut registry = Registry::new(1 << 20);
        for _ in 0..1_000 {
            assert_eq!(registry.find("market"), None);
        }
        assert_eq!((registry.buses().count(), registry.reserved()), (0, 0), "a thousand questions have made nothing");
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !kind.is_control()).collect();
        for (number, kind) in kinds.iter().take(BUSES_MAX).enumerate() {
            registry.open(&bus(&format!("bus {number}"), *kind, 8)).unwrap();
        }
        let more = bus("one more", kinds[BUSES_MAX], 8);
        assert_eq!(registry.open(&more), Err(OpenError::TooManyBuses));
        assert_eq!(registry.find("one more"), None, "a refused bus is not there");
        // Limits are a bus's own.
        let small = Bus { slots: 7, ..bus("small", Kind::TRADE, 8) };
        let error = Registry::new(100).open(&small).unwrap_err();
        assert_eq!(error, OpenError::BusRoom { bus: "small".into(), asked: 8, slots: 7 });
        let error = Registry::new(10).open(&bus("large", Kind::TRADE, 11)).unwrap_err();
        assert_eq!(error, OpenError::Room { bus: "large".into(), asked: 11, left: 10 });
    }

    #[test]
    fn a_bus_of_another_registry_is_refused() {
        let mut taken = 0;
        for instance in 0..50 {
            let (mut own, mut other) = (Registry::numbered(64, 0), Registry::numbered(64, instance));
            for _ in 0..50 {
                let config = bus("market", Kind::TRADE, 64);
                let (id, foreign) = (own.open(&config).unwrap(), other.open(&config).unwrap());
                let is_taken = own.name(foreign).is_some();
                taken += u32::from(is_taken);
                assert_eq!((is_taken, own.begin_close(foreign)), (instance == 0, instance == 0), "instance {instance}");
                own.end_close(foreign);
                assert_eq!(own.name(id).is_some(), !is_taken, "the bus of the other one is not closed");
                own.end_close(id);
                assert!(other.begin_close(foreign));
                other.end_close(foreign);
            }
        }
        assert_eq!(taken, 50, "those of the twin of the same number: what every other one would be without");
    }

    #[test]
    fn req_3460_3487_asking_twice_gives_the_same_bus_and_closing_frees_all_it_held() {
        let mut lanes = Lanes::new(Registry::new(64), 8, 0);
        let market = bus("market", Kind::TRADE, 64);
        let id = lanes.open(&market).unwrap();
        assert_eq!(lanes.open(&market), Ok(id), "the same, not another one");
        assert_eq!(lanes.registry().buses().count(), 1);
        let other = bus("market", Kind::QUOTE, 64);
        assert_eq!(lanes.open(&other), Err(OpenError::Differs("market".into())));
        let mut handles = vec![id];
        let trade = EventBuf::new(&Trade::default());
        // A registry that forgets to give room back is full in the second round.
        for _ in 0..1_000 {
            let id = handles[handles.len() - 1];
            for _ in 0..64 {
                assert_eq!(offer(&mut lanes, &trade), Offered::Queued);
            }
            let mut closed = 0;
            let events = lanes.clear(id, &mut |left, _| closed += u64::from(left == Left::Closed)).unwrap();
            assert_eq!((events, closed), (64, 64), "every event is accounted for");
            assert_eq!((lanes.used_slots(), lanes.registry().reserved()), (0, 0));
            assert_eq!(offer(&mut lanes, &trade), Offered::NoTopic);
            let again = lanes.open(&market).unwrap();
            assert!(!handles.contains(&again), "a new life has a new handle");
            for stale in &handles {
                assert_eq!(lanes.close(*stale), Err(CloseError::Stale));
                assert_eq!(lanes.registry().name(*stale), None);
            }
            handles = vec![id, again];
        }
    }

    #[test]
    fn a_bus_that_is_closed_takes_nothing_more_and_dispatches_what_waits() {
        let mut lanes = Lanes::new(Registry::new(64), 8, 0);
        let id = lanes.open(&bus("market", Kind::TRADE, 64)).unwrap();
        let trade = EventBuf::new(&Trade::default());
        for _ in 0..10 {
            assert_eq!(offer(&mut lanes, &trade), Offered::Queued);
        }
        lanes.close(id).unwrap();
        assert_eq!(offer(&mut lanes, &trade), Offered::NoTopic);
        assert!(lanes.registry().is_closing(id));
        assert_eq!(lanes.open(&bus("market", Kind::TRADE, 64)), Err(OpenError::Closing("market".into())));
        let (mut out, mut dues) = ([Slot::ZERO; 64], [0; 64]);
        assert_eq!(lanes.pop_batch(&mut out, &mut dues), 10);
        assert_eq!(lanes.registry().name(id), None, "with the last event it is gone");
        lanes.assert_invariants();
    }

    #[test]
    fn req_3532_two_engines_in_one_process_share_nothing() {
        let mut first = Lanes::new(Registry::of(&[Bus::market()]).unwrap(), 8, 0);
        let mut second = Lanes::new(Registry::new(64), 8, 0);
        let trade = EventBuf::new(&Trade::default());
        assert_eq!(offer(&mut second, &trade), Offered::NoTopic, "a bus of the other engine is none here");
        let own = second.open(&bus("market", Kind::TRADE, 2)).unwrap();
        assert_eq!(offer(&mut second, &trade), Offered::Queued);
        assert_eq!((first.len(), second.len()), (0, 1));
        assert_eq!(second.clear(own, &mut |_, _| ()), Ok(1));
        assert_eq!(first.registry().buses().count(), 1, "nor is it closed by the other one");
        assert_eq!(offer(&mut first, &trade), Offered::Queued);
    }

    #[test]
    fn req_3533_clearing_drains_and_accounts_for_every_bus_first() {
        let mut lanes = Lanes::new(Registry::new(128), 8, 0);
        let trades = lanes.open(&bus("trades", Kind::TRADE, 64)).unwrap();
        let quotes = lanes.open(&bus("quotes", Kind::QUOTE, 64)).unwrap();
        let (trade, quote) = (EventBuf::new(&Trade::default()), EventBuf::new(&Quote::default()));
        for _ in 0..20 {
            assert_eq!(offer(&mut lanes, &trade), Offered::Queued);
            assert_eq!(offer(&mut lanes, &quote), Offered::Queued);
        }
        // One of them is being drained already.
        lanes.close(quotes).unwrap();
        let mut left = Vec::new();
        assert_eq!(lanes.clear_all(&mut |why, head| left.push((why, head.kind()))), 40);
        let of = |kind| left.iter().filter(|(why, of)| *why == Left::Closed && *of == kind).count();
        assert_eq!((of(Kind::TRADE), of(Kind::QUOTE)), (20, 20));
        assert_eq!((lanes.registry().name(trades), lanes.registry().name(quotes)), (None, None));
        assert_eq!((lanes.registry().buses().count(), lanes.registry().reserved(), lanes.len()), (0, 0, 0));
        lanes.assert_invariants();
    }

    #[test]
    fn req_3466_nothing_is_left_of_a_kind_that_is_no_longer_used() {
        let mut lanes = Lanes::new(Registry::new(64), 8, 0);
        let bytes = lanes.bytes();
        let kinds: Vec<Kind> = Kind::ALL.iter().copied().filter(|kind| !kind.is_control()).collect();
        for round in 0..10_000 {
            let kind = kinds[round % kinds.len()];
            let id = lanes.open(&bus(&format!("bus {round}"), kind, 64)).unwrap();
            assert!(lanes.registry().route(kind).is_some());
            lanes.close(id).unwrap();
            assert!(kinds.iter().all(|kind| lanes.registry().route(*kind).is_none()));
        }
        assert_eq!((lanes.registry().topics().count(), lanes.registry().buses().count()), (0, 0));
        assert_eq!(lanes.bytes(), bytes);
        lanes.assert_invariants();
    }

    #[test]
    fn a_bus_that_cannot_be_is_refused_with_the_reason_and_changes_nothing() {
        let mut registry = Registry::new(1 << 10);
        registry.open(&bus("trades", Kind::TRADE, 8)).unwrap();
        let config = registry.config();
        let two = |first: Kind, second: Kind, names: [&str; 2]| {
            let topic = |name, kind| Topic::new(name, KindSet::of(&[kind]), 8);
            Bus::new("two", vec![topic(names[0], first), topic(names[1], second)])
        };
        let mut lanes_differ = two(Kind::BOOK_LEVEL, Kind::GAP, ["levels", "gaps"]);
        lanes_differ.topics[1].lane = Lane::High;
        let mut lossy = two(Kind::BOOK_LEVEL, Kind::GAP, ["levels", "gaps"]);
        lossy.topics[1].policy = Policy::DropNewest;
        for (bus, error) in [
            (Bus::new("", Topic::market()), OpenError::Name),
            (Bus::new("none", vec![]), OpenError::NoTopics("none".into())),
            (two(Kind::NEWS, Kind::QUOTE, ["same", "same"]), OpenError::TopicTaken("same".into())),
            (
                two(Kind::NEWS, Kind::TRADE, ["news", "more"]),
                OpenError::KindTaken { topic: "more".into(), kind: Kind::TRADE },
            ),
            (
                two(Kind::NEWS, Kind::NEWS, ["news", "more"]),
                OpenError::KindTaken { topic: "more".into(), kind: Kind::NEWS },
            ),
            (lanes_differ, OpenError::BookLanes("gaps".into())),
            (lossy, OpenError::Topic("gaps".into(), TopicError::Lossy(Policy::DropNewest))),
        ] {
            assert_eq!(registry.open(&bus), Err(error));
            assert_eq!(registry.config(), config);
        }
    }
}
