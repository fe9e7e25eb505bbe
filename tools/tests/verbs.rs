//! Verbs that look things up: schema and completions.

mod common;

use common::Place;

#[test]
fn req_3398_schemas_are_listed_shown_and_checked() {
    let place = Place::new();
    let table = place.run("schema list").exits(0).stdout;
    for kind in ["trade", "quote", "book_order", "news", "dead_letter", "signal"] {
        assert!(table.lines().any(|line| line.split_whitespace().nth(1) == Some(kind)), "{kind}: {table}");
    }
    let trade = place.run("schema show trade").exits(0).stdout;
    let golden = "\
trade (8), version 0
  head, 24 bytes            offset  type  unit          values
    price                        0  i64   1e-9          any
    size                         8  u64   mantissa      any
    side                        16  u8                  0 to 2
    action                      17  u8                  any
    source_flags                18  u8                  any
    depth                       19  u8                  any
    ts_in_delta                 20  i32   ns            any
";
    assert_eq!(trade, golden);
    place.run("schema show trade --version 9").exits(2).says_once(&["trade has no version 9"]);
    place.run("schema show traid").exits(2).says_once(&["no kind is named traid"]);

    // A table is the same as itself; one whose bounds became narrower does not read what was written before.
    let old = place.run("schema list --format json").exits(0).stdout;
    place.write("old.json", &old);
    let same = place.run("schema check old.json builtin --require full").exits(0).stdout;
    assert!(same.starts_with("compatibility: full"), "{same}");
    let narrower = old.replacen("\"to\":\"2\"", "\"to\":\"1\"", 1);
    assert_ne!(narrower, old);
    place.write("new.json", narrower);
    let told = place.run("schema check old.json new.json").exits(1).stdout;
    assert!(told.contains("narrower bounds; the new one does not read the old one"), "{told}");
    place.run("schema check new.json old.json").exits(0);
    let object = place.run("schema check new.json old.json --require forward --format json").exits(1).json();
    assert_eq!((&object["compatibility"], &object["changes"][0]["breaks_forward"]), (&"backward".into(), &true.into()));
    place.run("schema check trade@0 quote@0").exits(1);
    place.write("no.json", "{");
    place.run("schema check no.json builtin").exits(2).says_once(&["no.json", "schema list --format json"]);
}

#[test]
fn completions_know_every_verb() {
    let place = Place::new();
    let help = place.run("--help").exits(0).stdout;
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).expect("a list");
    let is_one = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let verbs: Vec<&str> = commands.lines().filter(is_one).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(verbs.len(), 18, "{verbs:?}: those of this build, and help");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&format!("completions {shell}")).exits(0).stdout;
        // What a verb is called is a word of the script.
        let words: std::collections::HashSet<&str> =
            script.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        for verb in &verbs {
            assert!(words.contains(verb), "{shell}: {verb}");
        }
    }
}
