//! `cut`, `split` and `merge`: a part is what a walk keeps, pieces put together are the whole, damage and refusals are told.

mod common;

use common::Place;

fn lines(place: &Place, tape: &str) -> Vec<String> {
    place.run(&format!("dump {tape}")).exits(0).stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_cut_holds_what_was_asked_for_in_its_order() {
    let place = Place::new();
    place.run("gen -o a.tape --events 30000 --symbols 10 --duration 30s").exits(0);
    let all = lines(&place, "a.tape");
    place.run("cut a.tape -o b.tape --symbols GEN:SYM00002 --kinds trade,quote").exits(0);
    let kept = lines(&place, "b.tape");
    // Ticks and epochs stay.
    let wanted = |line: &&String| {
        let is_ours = line.contains("\"GEN:SYM00002\"")
            && (line.contains("\"kind\":\"trade\"") || line.contains("\"kind\":\"quote\""));
        is_ours || line.contains("\"kind\":\"tick\"") || line.contains("\"kind\":\"epoch\"")
    };
    let strip = |line: &String| line.replace("\"LAST\"", "").replace(",,", ",");
    let expected: Vec<String> = all.iter().filter(wanted).map(strip).collect();
    assert!(expected.len() > 100);
    assert_eq!(kept.iter().map(strip).collect::<Vec<_>>(), expected);
    place.run("verify b.tape").exits(0);

    // Nothing is overwritten unasked, a dry run writes nothing, and what is not there is told.
    place.run("cut a.tape -o b.tape --kinds trade").exits(2);
    let dry = place.run("cut a.tape --dry-run --kinds trade").exits(0);
    assert!(dry.stderr.contains("would be written"), "{}", dry.stderr);
    let none = place.run("cut a.tape -o c.tape --symbols NOBODY").exits(1);
    assert!(none.stderr.contains("0 of 1 symbols"), "{}", none.stderr);
    place.run("cut a.tape -o a.tape --force").exits(2);
    place.run("cut missing.tape -o d.tape").exits(2);
}

#[test]
fn pieces_put_together_are_the_tape_and_replay_to_its_digest() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 25s").exits(0);
    let said = place.run("split a.tape --every 10s -o piece").exits(0).stderr;
    let pieces: Vec<&str> = said
        .lines()
        .filter_map(|line| line.split_once("tapeline: ")?.1.split_once(".tape: ").map(|(name, _)| name))
        .collect();
    assert!((3..=4).contains(&pieces.len()), "{said}");
    let mut together = Vec::new();
    for piece in &pieces {
        place.run(&format!("verify {piece}.tape")).exits(0);
        together.extend(lines(&place, &format!("{piece}.tape")));
    }
    assert!(together == lines(&place, "a.tape"), "in their order, nothing twice, nothing lost");
    let names: Vec<String> = pieces.iter().map(|piece| format!("{piece}.tape")).collect();
    place.run(&format!("merge {} -o b.tape", names.join(" "))).exits(0);
    assert_eq!(place.replay("a.tape")["digest"], place.replay("b.tape")["digest"]);
}

/// A tape that is damaged in its middle, or torn: everything before the fault is there, the fault is told by its offset, and the exit code is 3.
#[test]
fn what_stands_before_damage_is_cut_and_split() {
    let place = Place::new();
    place.run("gen -o good.tape --events 30000 --symbols 10 --duration 30s").exits(0);
    let good = place.read("good.tape");
    let at = good.len() * 2 / 3;
    let mut flipped = good.clone();
    flipped[at] ^= 16;
    let all = lines(&place, "good.tape");
    for (name, bytes) in [("flipped", &flipped[..]), ("torn", &good[..at])] {
        place.write(&format!("{name}.tape"), bytes);
        let cut = place.run(&format!("cut {name}.tape -o {name}-cut.tape")).exits(3);
        assert!(cut.stderr.contains("error: ") && cut.stderr.contains("offset "), "{}", cut.stderr);
        assert!(cut.stderr.contains(" events in "), "what was kept is told: {}", cut.stderr);
        let kept = lines(&place, &format!("{name}-cut.tape"));
        assert!(kept.len() > all.len() / 2 && kept[..] == all[..kept.len()], "{} of {}", kept.len(), all.len());
        let split = place.run(&format!("split {name}.tape --every 10s -o {name}-piece")).exits(3);
        let mut together = Vec::new();
        for line in split.stderr.lines().filter_map(|line| line.strip_prefix("tapeline: ")?.split_once(".tape: ")) {
            if line.0.contains("piece") {
                together.extend(lines(&place, &format!("{}.tape", line.0)));
            }
        }
        assert!(together == kept, "{}", split.stderr);
        // Where nothing stands before the damage, nothing is written.
        place.write("head.tape", &bytes[..4_096]);
        place.run("cut head.tape -o none.tape").exits(3);
        assert!(!place.path("none.tape").exists());
    }
}

#[test]
fn pieces_of_less_than_a_millisecond_have_names_of_their_own() {
    let place = Place::new();
    place.run("gen -o a.tape --events 400 --symbols 3 --duration 2ms").exits(0);
    let said = place.run("split a.tape --every 250us -o piece --force").exits(0).stderr;
    let names: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("tapeline: ")?.split_once(".tape: "))
        .map(|(name, _)| name)
        .collect();
    let mut together = Vec::new();
    for name in &names {
        together.extend(lines(&place, &format!("{name}.tape")));
    }
    assert!(names.len() > 4 && together == lines(&place, "a.tape"), "{said}");
}

#[test]
fn what_cannot_be_written_is_told_by_its_file_and_its_cause() {
    let place = Place::new();
    place.run("gen -o a.tape --events 30000 --symbols 10 --duration 30s").exits(0);
    place.run("cut a.tape -o /dev/full --force").exits(2).says_once(&["/dev/full: cannot write", "No space left"]);
    std::os::unix::fs::symlink("/dev/full", place.path("p-19700101T000000.000.tape")).unwrap();
    let first = place.run("split a.tape --every 100000d -o p --force").exits(2);
    first.says_once(&["p-19700101T000000.000.tape: cannot write", "No space left"]);
}
