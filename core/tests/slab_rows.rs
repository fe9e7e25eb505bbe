//! Rows of the requirements that the slab alone shows.

use tapeline_core::slab::{Handle, Slab};
use tapeline_core::testing::{CountingAlloc, without_allocation};

#[global_allocator]
static ALLOC: CountingAlloc = CountingAlloc;

/// A registration as a bus keeps it: topic, priority, handler.
type Registration = [u32; 3];

/// The defective design beside it: a registry that grows by one slot for each registration and only marks what is gone.
#[derive(Default)]
struct Growing(Vec<Option<Registration>>);

impl Growing {
    fn cycle(&mut self, registration: Registration) {
        self.0.push(Some(registration));
        if let Some(last) = self.0.last_mut() {
            *last = None;
        }
    }
}

#[test]
fn req_3451_ten_million_registrations_and_removals_leave_memory_where_it_was() {
    let mut slab: Slab<Registration> = Slab::new(1_024);
    let kept: Vec<Handle> = (0..1_000).map(|handler| slab.insert([1, 2, handler]).unwrap()).collect();
    let bytes = slab.bytes();
    let mut stale = Handle::NULL;
    without_allocation(|| {
        for cycle in 0..10_000_000_u32 {
            let handle = slab.insert([cycle, 0, 0]).unwrap();
            assert!(!slab.contains(stale), "the handle of cycle {cycle} is not the one before");
            assert_eq!(slab.remove(handle), Some([cycle, 0, 0]));
            assert_eq!(slab.remove(handle), None, "nothing is removed twice");
            stale = handle;
        }
    });
    assert_eq!((slab.bytes(), slab.len()), (bytes, 1_000));
    for (handler, handle) in kept.into_iter().enumerate() {
        assert_eq!(slab.get(handle), Some(&[1, 2, handler as u32]), "those that stayed are where they were");
    }
    slab.check().unwrap();
    // The check could fail: the old design's registry has grown after a hundredth of that.
    let mut growing = Growing::default();
    (0..100_000).for_each(|cycle| growing.cycle([cycle, 0, 0]));
    assert!(growing.0.len() * size_of::<Option<Registration>>() > bytes);
}
