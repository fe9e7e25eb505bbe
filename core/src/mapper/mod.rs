//! The group mapper: which features an alert asks for, how urgently, and for how long they are wanted.
//!
//! It takes [`FeatureRequest`]s and asks for the job [`Job::FEATURES`]. Everything that can be decided at load is
//! decided at load:
//! - **Groups** and what they need are a checked graph ([`crate::graph`]): an unknown group and a circle, which is printed, are errors, a
//!   diamond is legal. What a plan names is completed by all that it needs.
//! - **Plans** are merged once: what every alert asks for, then what its rule says, then what the time of day says. What is left
//!   is a table by time of day and rule ([`Mapper::entry`]), which is looked up.
//! - **Time of day** is that of the request's own `ts_event` (where it has none, `ts_recv`) in the configured zone, of which the core
//!   is given the offsets ([`Zone`]). Never the time at which somebody happens to look.
//!
//! A request with several alerts asks once: for the groups of all of them, with the highest of their priorities, until the latest of
//! their expiries. One that names its groups itself asks for those, and what they need.

mod config;

pub use config::{Config, ConfigError, Hours, Plan};

use crate::event::payload::{FeatureRequest, PRIORITY_UNSET};
use crate::event::{EventRef, Kind, KindSet, Slot};
use crate::graph::{Graph, GraphError, GroupId, GroupSet};
use crate::handler::{Ctx, Handler, Job, RequestEnd, RequestId, Verdict, Wish};
use crate::limits::{MAPPER_EXPIRES_NS_MAX, MAPPER_GROUPS_MAX, MAPPER_HOURS_MAX};
use crate::queue::Priority;
use crate::units::UnixNanos;
use crate::zone::{DAY_S, WEEK_S, Zone};
use bytemuck::{Pod, Zeroable};

const RULES: usize = u32::BITS as usize;

/// What an alert asks for, merged and complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Bit i: group i, and all that the groups named need. 0 = nothing is asked for.
    pub groups: u64,
    /// How urgently.
    pub priority: Priority,
    /// Until when, ns after the request; 0 = for ever.
    pub expires_ns: u64,
    /// A word for whoever computes them.
    pub token: u64,
}

/// Turns requests for features into jobs; see the [module](self).
#[derive(Clone, Debug)]
pub struct Mapper {
    /// By time of day (none of the hours first), then by rule.
    table: Box<[[Entry; RULES]]>,
    /// From that second of the week on, that row of `table`. In rising order; the first is 0.
    bounds: Box<[(u32, u16)]>,
    /// By group, the group and all that it needs.
    closures: Box<[u64]>,
    /// For requests that name their groups themselves.
    base: Entry,
    zone: Zone,
}

impl Mapper {
    /// The mapper of that configuration. O(hours^2 + groups^2), allocates: for the start.
    ///
    /// # Errors
    /// [`ConfigError`] that names the first fault: groups, plans, hours.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        if config.groups.len() > MAPPER_GROUPS_MAX {
            return Err(ConfigError::TooManyGroups(config.groups.len()));
        }
        let needs: Vec<Vec<&str>> =
            config.groups.iter().map(|(_, needs)| needs.iter().map(String::as_str).collect()).collect();
        let named: Vec<(&str, &[&str])> =
            config.groups.iter().zip(&needs).map(|((name, _), needs)| (name.as_str(), needs.as_slice())).collect();
        let graph = Graph::new(&named)?;
        if config.hours.len() > MAPPER_HOURS_MAX {
            return Err(ConfigError::TooManyHours(config.hours.len()));
        }
        let unset = Entry { groups: 0, priority: Priority::LAST, expires_ns: 0, token: 0 };
        let base = merge(&graph, unset, &config.base)?;
        let mut rules = [base; RULES];
        for (index, (rule, plan)) in config.rules.iter().enumerate() {
            if config.rules[..index].iter().any(|(other, _)| other == rule) {
                return Err(ConfigError::DuplicateRule(*rule));
            }
            let entry = rules.get_mut(usize::from(*rule)).ok_or(ConfigError::Rule(*rule))?;
            *entry = merge(&graph, *entry, plan)?;
        }
        let mut table = vec![rules];
        for (index, hours) in config.hours.iter().enumerate() {
            hours.check(index)?;
            if let Some(rule) = hours.rules.iter().find(|rule| usize::from(**rule) >= RULES) {
                return Err(ConfigError::Rule(*rule));
            }
            let mut row = rules;
            for (rule, entry) in row.iter_mut().enumerate() {
                if hours.rules.is_empty() || hours.rules.contains(&(rule as u16)) {
                    *entry = merge(&graph, *entry, &hours.plan)?;
                }
            }
            table.push(row);
        }
        let closures = graph.ids().map(|group| bits(graph.closure(GroupSet::EMPTY.with(group)))).collect();
        Ok(Self { table: table.into(), bounds: bounds(&config.hours), closures, base, zone: config.zone.clone() })
    }

    /// What an alert of `rule` asks for at `at`; `None` for a rule beyond a set of rules. O(log hours + log offsets).
    #[must_use]
    pub fn entry(&self, rule: u16, at: UnixNanos) -> Option<&Entry> {
        self.row(at).get(usize::from(rule))
    }

    /// What `request`, whose head is `head`, asks for; `None` when that is nothing. O(groups + rules), no allocation.
    #[must_use]
    pub fn map(&self, head: &Slot, request: &FeatureRequest) -> Option<Entry> {
        let mut entry = if request.groups != 0 {
            let named = self.closures.iter().enumerate().filter(|(group, _)| request.groups >> group & 1 == 1);
            Entry { groups: named.fold(0, |all, (_, closure)| all | closure), ..self.base }
        } else {
            let at = if head.ts_event == UnixNanos::UNKNOWN { head.ts_recv } else { head.ts_event };
            let row = self.row(at);
            let of_rules =
                row.iter().enumerate().filter(|(rule, entry)| request.rules >> rule & 1 == 1 && entry.groups != 0);
            of_rules.map(|(_, entry)| *entry).reduce(join)?
        };
        if request.priority != PRIORITY_UNSET {
            entry.priority = Priority::new(request.priority).unwrap_or(entry.priority);
        }
        (entry.groups != 0).then_some(entry)
    }

    fn row(&self, at: UnixNanos) -> &[Entry; RULES] {
        if self.bounds.len() == 1 {
            return &self.table[usize::from(self.bounds[0].1)];
        }
        let second = self.zone.second_of_week(at);
        let after = self.bounds.partition_point(|(from, _)| *from <= second);
        // The first bound is 0, so that one at least is at or before any second.
        &self.table[usize::from(self.bounds[after - 1].1)]
    }
}

impl Default for Mapper {
    fn default() -> Self {
        Self::new(&Config::default()).expect("Invariant: the default configuration is in order")
    }
}

/// Both at once: all groups, the more urgent of the priorities with its word, the later of the expiries.
fn join(a: Entry, b: Entry) -> Entry {
    let urgent = if b.priority.class() < a.priority.class() { b } else { a };
    let expires_ns = if a.expires_ns == 0 || b.expires_ns == 0 { 0 } else { a.expires_ns.max(b.expires_ns) };
    Entry { groups: a.groups | b.groups, expires_ns, ..urgent }
}

fn priority(class: u8) -> Result<Priority, ConfigError> {
    Priority::new(class).ok_or(ConfigError::Priority(class))
}

/// `entry` with what `plan` says.
fn merge(graph: &Graph, entry: Entry, plan: &Plan) -> Result<Entry, ConfigError> {
    let groups = match &plan.groups {
        Some(names) => {
            let find = |set: GroupSet, name: &String| {
                let group = graph.find(name).ok_or_else(|| GraphError::NoGroup(name.clone()))?;
                Ok::<_, GraphError>(set.with(group))
            };
            bits(graph.closure(names.iter().try_fold(GroupSet::EMPTY, find)?))
        }
        None => entry.groups,
    };
    let expires_ns = plan.expires_ns.unwrap_or(entry.expires_ns);
    if expires_ns > MAPPER_EXPIRES_NS_MAX {
        return Err(ConfigError::Expires(expires_ns));
    }
    let priority = plan.priority.map_or(Ok(entry.priority), priority)?;
    Ok(Entry { groups, priority, expires_ns, token: plan.token.unwrap_or(entry.token) })
}

/// A set of groups as the bits of a request.
fn bits(set: GroupSet) -> u64 {
    set.iter().fold(0, |bits, GroupId(group)| bits | 1 << group)
}

/// The week in pieces, each with the row of the first of the hours that holds there.
fn bounds(hours: &[Hours]) -> Box<[(u32, u16)]> {
    let edges =
        (0..7).flat_map(|day| hours.iter().flat_map(move |hours| [hours.from_s, hours.to_s].map(|s| day * DAY_S + s)));
    let mut edges: Vec<u32> = edges.map(|edge| edge % WEEK_S).chain([0]).collect();
    edges.sort_unstable();
    edges.dedup();
    let row = |second: u32| hours.iter().position(|hours| hours.holds(second)).map_or(0, |index| index as u16 + 1);
    let mut pieces: Vec<(u32, u16)> = edges.into_iter().map(|edge| (edge, row(edge))).collect();
    pieces.dedup_by_key(|(_, row)| *row);
    pieces.into()
}

/// What the mapper has done for a symbol. Every request that was asked ends once.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct State {
    /// Requests for features that came.
    pub requests: u64,
    /// Those whose alerts ask for nothing.
    pub unmapped: u64,
    /// Jobs asked for.
    pub asked: u64,
    /// Jobs that found no room in the staging area ([`crate::handler::Full`]).
    pub full: u64,
    /// Events of replies.
    pub replies: u64,
    /// Jobs done.
    pub served: u64,
    /// Jobs that the queue refused.
    pub refused: u64,
    /// Jobs whose time was over first.
    pub expired: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Jobs that were cleared.
    pub cleared: u64,
}

impl State {
    /// Jobs that have not ended.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.asked - self.served - self.refused - self.expired - self.failed - self.cleared
    }
}

impl Handler for Mapper {
    type State = State;
    const NAME: &'static str = "mapper";
    const STATE_VERSION: u16 = 1;
    /// It never fails.
    const ROLLBACK: bool = false;
    const TAKES_HISTORY: bool = false;
    const COUNTS: &'static [&'static str] =
        &["requests", "unmapped", "asked", "full", "replies", "served", "refused", "expired", "failed", "cleared"];

    fn count(&self, st: &State, sums: &mut [u64]) {
        let State { requests, unmapped, asked, full, replies, served, refused, expired, failed, cleared } = *st;
        let counts = [requests, unmapped, asked, full, replies, served, refused, expired, failed, cleared];
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    fn interests(&self) -> KindSet {
        const { KindSet::of(&[Kind::FEATURE_REQUEST]) }
    }

    fn on_event(&self, st: &mut State, ev: EventRef<'_>, cx: &mut Ctx<'_>) -> Verdict {
        let Some(request) = ev.get::<FeatureRequest>() else { return Verdict::Done };
        st.requests += 1;
        let Some(entry) = self.map(ev.head(), request) else {
            st.unmapped += 1;
            return Verdict::Done;
        };
        let expires_at =
            if entry.expires_ns == 0 { UnixNanos::ZERO } else { cx.now().saturating_add(entry.expires_ns) };
        let Entry { groups, priority, token, .. } = entry;
        match cx.request(&Wish { job: Job::FEATURES, groups, priority, expires_at, token }) {
            Ok(_) => st.asked += 1,
            Err(_) => st.full += 1,
        }
        Verdict::Done
    }

    fn on_reply(&self, st: &mut State, _: RequestId, _: EventRef<'_>, _: &mut Ctx<'_>) -> Verdict {
        st.replies += 1;
        Verdict::Done
    }

    fn on_request_end(&self, st: &mut State, _: RequestId, end: RequestEnd, _: &mut Ctx<'_>) -> Verdict {
        let count = match end {
            RequestEnd::Served => &mut st.served,
            RequestEnd::Refused(_) => &mut st.refused,
            RequestEnd::Expired => &mut st.expired,
            RequestEnd::Failed(_) => &mut st.failed,
            // The last two are of history, which it does not ask for.
            RequestEnd::Cleared | RequestEnd::Completed | RequestEnd::Cancelled => &mut st.cleared,
        };
        *count += 1;
        Verdict::Done
    }
}
