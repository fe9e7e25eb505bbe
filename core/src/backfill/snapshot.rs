//! The manager as a [section](crate::section) of plain bytes, and back.
//!
//! Name "backfill", version 2; an element is a job. The body: settings, time, counters, jobs, those who wait, links, what is remembered.

use super::entry::{Done, Job};
use super::{Backfills, Config, Counters};
use crate::invariant::Broken;
use crate::section::{self, RestoreError, Section, Shape};
use crate::slab::Slab;
use bytemuck::Zeroable;

const NAME: &str = "backfill";
const LAYOUT: &str = "u64: asks in_flight per_symbol remembered instance now sequence; counters 27*u64; slabs: \
    job u64: from to kinds queued_at sequence time, u32: symbol first last, u8: class state again pad; \
    ask u64: id, identity, u16: handler, pad, u64: kinds, u32: symbol left failed pad; link u64: from to, u32: ask next; \
    done u64: from to kinds at, u32: symbol pad";

const _: () = assert!(size_of::<Counters>() == 27 * 8, "the layout's text says so");

fn shape(config: &Config) -> Shape {
    let element = size_of::<Job>() as u32;
    Shape { name: NAME, version: 2, element, layout: LAYOUT, capacity: config.jobs as u64 }
}

/// What has to be the same where it is restored: capacities, and the limits that what is in flight keeps to.
fn settings(config: &Config) -> [(&'static str, u64); 5] {
    [
        ("room for those who wait", config.asks as u64),
        ("jobs in flight", config.in_flight as u64),
        ("jobs of a symbol in flight", config.in_flight_per_symbol as u64),
        ("ranges remembered", config.remembered as u64),
        ("instance", u64::from(config.instance)),
    ]
}

impl Backfills {
    fn body_bytes(&self) -> usize {
        let slabs = self.jobs.section_bytes() + self.asks.section_bytes() + self.links.section_bytes();
        (5 + 2 + 1) * 8 + size_of::<Counters>() + slabs + self.config.remembered * size_of::<Done>()
    }

    /// Bytes of a [`Backfills::snapshot`] of this manager.
    #[must_use]
    pub fn snapshot_bytes(&self) -> usize {
        section::HEADER_BYTES + self.body_bytes()
    }

    /// Appends the manager as a section of plain bytes. O(capacities). Allocates only if `out` has less room than
    /// [`Backfills::snapshot_bytes`].
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        section::write(out, &shape(&self.config), self.jobs.len() as u64, self.body_bytes(), |body| {
            settings(&self.config).iter().for_each(|(_, value)| body.u64(*value));
            body.slice(&[self.now.0, self.sequence, self.done.len() as u64]);
            body.slice(core::slice::from_ref(&self.counters));
            self.jobs.write(body);
            self.asks.write(body);
            self.links.write(body);
            self.done.iter().for_each(|done| body.slice(core::slice::from_ref(done)));
            (self.done.len()..self.config.remembered).for_each(|_| body.slice(&[Done::zeroed()]));
        });
    }

    /// The manager that [`Backfills::snapshot`] wrote. Replies to jobs in flight have to come as if nothing had been. O(capacities).
    ///
    /// # Errors
    /// [`RestoreError`] when `section` is no such snapshot, of another capacity or setting, or breaks a rule.
    ///
    /// # Panics
    /// As [`Backfills::new`].
    pub fn restore(config: &Config, section: &[u8]) -> Result<Self, RestoreError> {
        let mut all = Self::new(config);
        let section = Section::parse(section)?;
        let mut body = section.expect(&shape(config))?;
        let invalid = |broken| RestoreError::Invalid { name: NAME, broken };
        let broken = |rule, at| invalid(Broken { rule, at });
        for (name, value) in settings(config) {
            body.setting(name, value)?;
        }
        (all.now.0, all.sequence) = (body.u64()?, body.u64()?);
        let done = body.u64()?;
        body.fill(core::slice::from_mut(&mut all.counters))?;
        all.jobs = Slab::read(config.jobs, &mut body, invalid)?;
        all.asks = Slab::read(config.asks, &mut body, invalid)?;
        all.links = Slab::read(all.links.capacity(), &mut body, invalid)?;
        for index in 0..config.remembered as u64 {
            let mut entry = [Done::zeroed()];
            body.fill(&mut entry)?;
            if index < done {
                all.done.push_back(entry[0]);
            } else if entry[0] != Done::zeroed() {
                return Err(broken("what is not remembered is zero", index));
            }
        }
        body.finish()?;
        if done > config.remembered as u64 {
            return Err(broken("no more is remembered than may be", done));
        }
        if section.count() != all.jobs.len() as u64 {
            return Err(broken("the count is that of the jobs", section.count()));
        }
        let mut flying: Vec<(u64, u32)> = Vec::with_capacity(config.jobs);
        let in_flight = all.jobs.iter().filter(|(_, job)| job.is_in_flight());
        flying.extend(in_flight.map(|(handle, job)| (job.sequence, handle.index())));
        if flying.len() > config.in_flight {
            return Err(broken("no more jobs are in flight than may be", flying.len() as u64));
        }
        flying.sort_unstable();
        all.flying.extend(flying.iter().map(|(_, index)| *index));
        if all.sequence > crate::invariant::COUNT_MAX || flying.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(broken("jobs are told apart by numbers that have room to grow", all.sequence));
        }
        all.check().map_err(invalid)?;
        Ok(all)
    }
}
