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
