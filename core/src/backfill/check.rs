//! What must hold of the manager between calls, in full.

use super::entry::{CANCELLED, PENDING};
use super::{Backfills, Counters};
use crate::invariant::{Broken, require, require_counts};
use crate::queue::Priority;
use crate::slab::NONE;

impl Backfills {
    /// Checks every rule: slabs, links, limits, that pending jobs are merged, what is remembered, counters. O(jobs squared + links);
    /// for tests.
    ///
    /// # Panics
    /// When a rule does not hold, with the rule.
    pub fn assert_invariants(&self) {
        if let Err(broken) = self.check() {
            panic!("Invariant: {broken}; {:?}, {:?}", self.config, self.counters);
        }
    }

    /// The rules. Never panics, whatever the structure holds.
    pub(super) fn check(&self) -> Result<(), Broken> {
        self.jobs.check()?;
        self.asks.check()?;
        self.links.check()?;
        self.check_jobs()?;
        self.check_links()?;
        self.check_done()?;
        require_counts(bytemuck::cast_slice(core::slice::from_ref(&self.counters)))?;
        let Counters { waiting, pending, in_flight, .. } = self.counters;
        require(waiting == self.asks.len() as u64, "every one who waits is there", waiting)?;
        require(in_flight == self.flying.len() as u64, "every job in flight is counted", in_flight)?;
        let jobs = pending.checked_add(in_flight);
        require(jobs == Some(self.jobs.len() as u64), "every job is pending or in flight", pending)?;
        require(self.counters.is_balanced(), "the equations of the counters hold", 0u64)
    }

    fn check_jobs(&self) -> Result<(), Broken> {
        let mut in_flight = 0;
        for (handle, job) in self.jobs.iter() {
            let index = handle.index();
            require(job.state <= CANCELLED, "a job has a known state", index)?;
            require(!job.range.is_empty() && job.kinds != 0, "a job is of something", index)?;
            require(job.again <= 1, "a job reads again, or does not", index)?;
            require(Priority::new(job.class).is_some(), "a job is of a known class", index)?;
            require(job.sequence < self.sequence, "a job was made before the next one", index)?;
            let is_wanted = job.links != [NONE; 2];
            require(is_wanted != (job.state == CANCELLED), "somebody waits for a job that is not cancelled", index)?;
            in_flight += usize::from(job.is_in_flight());
            let is_listed = self.flying.contains(&index);
            require(is_listed == job.is_in_flight(), "the list of jobs in flight has those, and no others", index)?;
            if job.state != PENDING {
                require(job.time >= job.range.from && job.time < job.range.to, "a reply is within its range", index)?;
                continue;
            }
            let twin = self.jobs.iter().find(|(other, twin)| {
                other.index() != index
                    && twin.state == PENDING
                    && (twin.symbol, twin.kinds, twin.again) == (job.symbol, job.kinds, job.again)
                    && twin.range.touches(&job.range)
            });
            require(twin.is_none(), "no two pending jobs of a symbol and its kinds touch", index)?;
        }
        require(in_flight == self.flying.len(), "no job is twice in the list of those in flight", in_flight)?;
        require(in_flight <= self.config.in_flight, "no more jobs are in flight than may be", in_flight)?;
        for index in &self.flying {
            let symbol = self.jobs.at(*index).symbol;
            let of_symbol = self.flying_of(symbol);
            require(of_symbol <= self.config.in_flight_per_symbol, "nor of one symbol", symbol.0)?;
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), Broken> {
        let mut seen = 0;
        for (handle, job) in self.jobs.iter() {
            let [mut next, last] = job.links;
            let mut before = NONE;
            while next != NONE {
                require(self.links.is_used(next), "links of a job are in use", handle.index())?;
                seen += 1;
                require(seen <= self.links.len(), "lists of links end", handle.index())?;
                let link = self.links.at(next);
                require(self.asks.is_used(link.ask), "a link is to one who waits", next)?;
                let ask = self.asks.at(link.ask);
                require(job.reads(ask.symbol, ask.kinds), "a job reads what those who wait for it want", next)?;
                let is_part = !link.range.is_empty() && job.range.covers(&link.range);
                require(is_part, "who waits for a job wants a part of its range", next)?;
                (before, next) = (next, link.next);
            }
            require(before == last, "a job knows its last link", handle.index())?;
        }
        require(seen == self.links.len(), "every link is of a job", seen)?;
        let mut left = 0_u64;
        for (handle, ask) in self.asks.iter() {
            require(ask.left > 0, "who waits waits for a job", handle.index())?;
            require(ask.kinds != 0, "who waits wants something", handle.index())?;
            require(ask.failed <= 1 << 16, "a code has 16 bits", handle.index())?;
            left += u64::from(ask.left);
        }
        require(left == seen as u64, "who waits has a link for each job", left)?;
        for (handle, ask) in self.asks.iter() {
            let own = self.links.iter().filter(|(_, link)| link.ask == handle.index()).count();
            require(own as u64 == u64::from(ask.left), "and no other's", handle.index())?;
        }
        Ok(())
    }

    fn check_done(&self) -> Result<(), Broken> {
        require(self.done.len() <= self.config.remembered, "no more is remembered than may be", self.done.len())?;
        let mut before = 0;
        for (index, done) in self.done.iter().enumerate() {
            require(!done.range.is_empty() && done.kinds != 0, "what is remembered is something", index)?;
            require(before <= done.at.0 && done.at <= self.now, "what is remembered is in order of time", index)?;
            before = done.at.0;
        }
        Ok(())
    }
}
