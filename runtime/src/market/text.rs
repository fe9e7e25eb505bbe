//! Names of symbols and the words of the news.

/// Longest name of a symbol in bytes.
pub(super) const NAME_BYTES_MAX: usize = 8 + 7;
/// Longest text in bytes: two continuation slots.
pub(super) const TEXT_BYTES_MAX: usize = 112;

/// What happens to companies, with the sentiment (hundredths) and urgency of the text.
const STORIES: [(&str, i8, u8); 12] = [
    ("beats estimates for the quarter and raises its outlook for the year", 70, 120),
    ("misses estimates for the quarter; shares fall after hours", -65, 120),
    ("announces a buyback of up to five per cent of its shares", 45, 60),
    ("is said to be in talks about a merger", 55, 160),
    ("denies reports of talks about a merger", -30, 140),
    ("names a new chief financial officer", 0, 20),
    ("recalls a product after reports of defects", -55, 90),
    ("wins a supply contract that runs for ten years", 50, 70),
    ("is upgraded to outperform by one broker", 35, 40),
    ("is downgraded to underperform by two brokers", -40, 40),
    ("delays the filing of its annual report", -60, 110),
    ("will be added to an index at the end of the month", 40, 50),
];

/// The name of the symbol of this rank, `GEN:SYM00001` for rank 0, and its length.
pub(super) fn name(rank: u32, into: &mut [u8; NAME_BYTES_MAX]) -> usize {
    let number = rank + 1;
    let digits = if number < 100_000 { 5 } else { 1 + number.ilog10() as usize };
    into[..7].copy_from_slice(b"GEN:SYM");
    let mut rest = number;
    for at in (7..7 + digits).rev() {
        into[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    7 + digits
}

/// A text about the symbol of this rank: its length, sentiment and urgency.
pub(super) fn story(rank: u32, draw: u64, into: &mut [u8; TEXT_BYTES_MAX]) -> (usize, i8, u8) {
    let (words, sentiment, urgency) = STORIES[(draw % STORIES.len() as u64) as usize];
    let mut symbol = [0; NAME_BYTES_MAX];
    let named = name(rank, &mut symbol);
    into[..named].copy_from_slice(&symbol[..named]);
    into[named] = b' ';
    let bytes = named + 1 + words.len();
    into[named + 1..bytes].copy_from_slice(words.as_bytes());
    (bytes, sentiment, urgency)
}

const _: () = {
    let mut i = 0;
    while i < STORIES.len() {
        assert!(NAME_BYTES_MAX + 1 + STORIES[i].0.len() <= TEXT_BYTES_MAX, "every text fits two continuations");
        i += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_five_digits_or_more() {
        for (rank, expected) in [
            (0, "GEN:SYM00001"),
            (41, "GEN:SYM00042"),
            (99_998, "GEN:SYM99999"),
            (99_999, "GEN:SYM100000"),
            (999_999, "GEN:SYM1000000"),
        ] {
            let mut name_bytes = [0; NAME_BYTES_MAX];
            let bytes = name(rank, &mut name_bytes);
            assert_eq!(std::str::from_utf8(&name_bytes[..bytes]).unwrap(), expected);
        }
    }
}
