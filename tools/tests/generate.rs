//! `gen`, `verify`, and what damage in a tape does.

mod common;

use common::{Place, assert_balanced};

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let place = Place::new();
    let line = "gen --events 20000 --symbols 50 --duration 10s";
    for (file, more) in [("a", "--seed 5"), ("b", "--seed 5"), ("c", "--seed 6"), ("d", "--seed 5 --compress")] {
        place.run(&format!("{line} {more} -o {file}.tape")).exits(0);
        let verified = place.run(&format!("verify {file}.tape")).exits(0);
        assert!(verified.stdout.contains("sealed"), "{}", verified.stdout);
    }
    assert!(place.read("a.tape") == place.read("b.tape"), "one seed, two tapes");
    assert!(place.read("a.tape") != place.read("c.tape"), "two seeds, one tape");
    assert!(place.read("d.tape").len() < place.read("a.tape").len() / 2, "zstd compresses");
    assert_eq!(place.run("dump a.tape").exits(0).stdout, place.run("dump d.tape").exits(0).stdout);
}

#[test]
fn a_generated_tape_says_that_it_is_generated() {
    let place = Place::new();
    place.run("gen -o g.tape --events 2000 --symbols 4 --duration 2s").exits(0);
    let header = &place.read("g.tape")[..4_096];
    assert!(header.windows(9).any(|bytes| bytes == b"generated"), "the segment header says who made it");
    let info = place.run("info g.tape --format json").exits(0).json();
    assert_eq!((&info["generated"], &info["events"], &info["format"]), (&true.into(), &2_000.into(), &"tape".into()));
    assert!(place.run("info g.tape").exits(0).stdout.starts_with("g.tape: tape, generated"));
    assert_eq!(place.replay("g.tape")["manifest"]["generated"], true);
    // A tape of a tape: still not from a market.
    place.run("import g.tape -o i.tape").exits(0);
    assert_eq!(place.run("info i.tape --format json").exits(0).json()["generated"], true);
}

/// One flipped bit behind the header: `verify` names the place and says that more follows it; a replay handles what is
/// before it, reports, and exits 3.
#[test]
fn damage_inside_a_tape_is_named_and_what_is_before_it_is_replayed() {
    let place = Place::new();
    place.run("gen -o g.tape --events 60000 --symbols 20 --duration 10s").exits(0);
    let whole = place.read("g.tape");
    let blocks: Vec<usize> = (0..whole.len() - 4).step_by(64).filter(|&at| &whole[at..at + 4] == b"TBLK").collect();
    assert!(blocks.len() > 4, "a tape of several blocks, not {}", blocks.len());
    let mut before = 0;
    for (index, &block) in blocks.iter().enumerate().skip(1).step_by(blocks.len() / 4) {
        let mut damaged = whole.clone();
        damaged[block + 64 * 5 + 40] ^= 1;
        place.write("d.tape", &damaged);
        let verified = place.run("verify d.tape").exits(1);
        assert!(verified.stdout.contains(&block.to_string()), "no offset {block}: {}", verified.stdout);
        let at = format!("offset {block}");
        let ran =
            place.run("replay d.tape --speed max --driver threads --format json").exits(3).says_once(&["d.tape", &at]);
        let report = ran.json();
        assert_balanced(&report);
        let offered = report["events"]["offered"].as_u64().unwrap();
        assert!(offered > before && offered < 60_000, "block {index}: {offered} events before it");
        assert_eq!(report["manifest"]["captures"][0]["events"], offered);
        assert!(report["input_errors"][0].as_str().unwrap().contains(&at), "{}", report["input_errors"]);
        let info = place.run("info d.tape --format json").exits(3).says_once(&["d.tape", &at]).json();
        assert_eq!(info["events"], offered, "info and replay see the same");
        assert_eq!(place.run("dump d.tape").exits(3).stdout.lines().count() as u64, offered);
        before = offered;
    }
    // In the header, nothing can be believed.
    let mut damaged = whole;
    damaged[100] ^= 1;
    place.write("d.tape", &damaged);
    place.run("verify d.tape").exits(1);
    place.run("replay d.tape --speed max").exits(3).says_once(&["d.tape", "offset"]);
}
