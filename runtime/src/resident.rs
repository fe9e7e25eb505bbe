//! The memory of this process, as the kernel accounts for it.

/// Resident bytes now (`/proc/self/statm`); `None` where the kernel does not tell.
#[must_use]
pub fn now() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

/// The most resident bytes so far (`VmHWM`); `None` where the kernel does not tell.
#[must_use]
pub fn peak() -> Option<u64> {
    peak_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn peak_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_touched_is_resident() {
        // Tests beside this one take and give back memory, too: only what is held here is sure.
        let bytes = 128 << 20;
        let touched = std::hint::black_box(vec![1u8; bytes]);
        let (now, most) = (now().expect("Linux tells"), peak().expect("Linux tells"));
        assert!(now >= bytes as u64 && most >= bytes as u64, "{now} {most}");
        drop(touched);
    }

    #[test]
    fn a_status_without_the_line_is_not_zero() {
        assert_eq!(peak_of("Name:\tx\nVmHWM:\t   12 kB\n"), Some(12 << 10));
        for text in ["", "VmHWM:\t12\n", "VmHWM: kB\n", "VmHWM: 99999999999999999999 kB\n"] {
            assert_eq!(peak_of(text), None, "{text:?}");
        }
    }
}
