//! Every required property has a test that bears its id, and no test bears an id that nothing asks for.

use super::{Text, none, texts};
use std::collections::BTreeMap;

const LIST: &str = "tools/tests/tidy/requirements.txt";

/// What the list says of one property.
enum State<'a> {
    /// There is a test in each of these folders or files.
    Shown(Vec<&'a str>),
    /// It comes with another part of the system, and has no test before.
    Later,
}

/// The properties by id. Each line that is no comment is one.
fn rows(list: &str) -> Result<BTreeMap<&str, State<'_>>, String> {
    let mut rows = BTreeMap::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let parts: Vec<&str> = line.split(" | ").collect();
        let &[id, subject, state] = parts.as_slice() else { return Err(format!("no row of three parts: {line}")) };
        let has_reason = |mark: &str| state.strip_prefix(mark).is_some_and(|reason| !reason.trim().is_empty());
        let state = match state.split_once(' ') {
            Some(("shown", places)) => State::Shown(places.split(' ').collect()),
            _ if has_reason("durability: ") || has_reason("later: ") => State::Later,
            _ => return Err(format!("no state: {line}")),
        };
        if subject.is_empty() || !looks_like_an_id(id) && !["types", "retry", "redrive", "features"].contains(&id) {
            return Err(format!("no id: {line}"));
        }
        if rows.insert(id, state).is_some() {
            return Err(format!("twice: {line}"));
        }
    }
    Ok(rows)
}

/// `3454`, `3388b`, `q10`: what a word of a test's name is when it is not a word of its sentence.
fn looks_like_an_id(word: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = word.strip_suffix('b').unwrap_or(word);
    let is_row = number.len() == 4 && is_digits(number);
    let is_lettered = word.len() < 4 && word.starts_with(|c: char| c.is_ascii_lowercase()) && is_digits(&word[1..]);
    is_row || is_lettered
}

/// The ids that a test's name begins with: `req_q8_3466_no_lock` has two. The first word is one, whatever it looks like; the others
/// are as long as they look like one or are known.
fn ids(name: &str, is_known: impl Fn(&str) -> bool) -> Vec<&str> {
    let mut words = name.strip_prefix("req_").unwrap_or_default().split('_');
    let first = words.next().into_iter().filter(|word| !word.is_empty());
    let others = words.take_while(|word| looks_like_an_id(word) && (is_known(word) || word.len() >= 4));
    first.chain(others).collect()
}

/// Names of the tests of a source that run with `cargo test` and begin with `req_`.
fn tests(source: &str) -> Vec<&str> {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(rest) = line.strip_prefix("fn ").filter(|rest| rest.starts_with("req_")) else { continue };
        let name = rest.split('(').next().unwrap_or_default();
        let before = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        let attributes: Vec<&str> = before.copied().filter(|line| line.starts_with("#[")).collect();
        let ignore = ["#[ig", "nore"].concat();
        if attributes.contains(&"#[test]") && !attributes.iter().any(|line| line.starts_with(ignore.as_str())) {
            found.push(name);
        }
    }
    found
}

/// What is wrong with the tests of `sources` under a list.
fn findings(list: &str, sources: &[Text]) -> Vec<String> {
    let rows = match rows(list) {
        Ok(rows) => rows,
        Err(error) => return vec![error],
    };
    let mut found = Vec::new();
    let mut shown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for text in sources.iter().filter(|text| text.is_rust()) {
        for test in tests(&text.text) {
            for id in ids(test, |id| rows.contains_key(id)) {
                if rows.contains_key(id) {
                    shown.entry(id).or_default().push(&text.path);
                } else {
                    found.push(format!("{}: {test}: nothing asks for {id}", text.path));
                }
            }
        }
    }
    for (id, state) in &rows {
        let at = shown.get(id).map_or(&[][..], Vec::as_slice);
        match state {
            State::Shown(places) => {
                let missing = places.iter().filter(|place| !at.iter().any(|path| path.starts_with(**place)));
                found.extend(missing.map(|place| format!("{id} has no test in {place}")));
            }
            State::Later if !at.is_empty() => found.push(format!("{id} is shown in {at:?}, the list says later")),
            State::Later => {}
        }
    }
    found
}

#[test]
fn every_requirement_has_a_test_that_bears_its_id() {
    let texts = texts();
    let list = &texts.iter().find(|text| text.path == LIST).expect("the list is there").text;
    let rows = rows(list).expect("the list can be read");
    assert!(rows.len() > 100, "{} rows", rows.len());
    none("requirements and tests differ", findings(list, &texts));
}

/// The check could fail, in each way that it is there for.
#[test]
fn a_row_without_a_test_and_a_test_without_a_row_are_found() {
    let source = |path: &str, text: String| Text { path: path.to_owned(), text };
    let test = |name: &str| format!("#[test]\nfn {name}() {{\n");
    let list = "q1 | queue | shown core\n3454 | bus | shown core\n3459 | engine | durability: a pool\nretry | dead | shown core\n";
    let good = [source("core/a.rs", test("req_q1_3454_a") + &test("req_retry_3_times_in_2024_steps"))];
    assert!(findings(list, &good).is_empty());
    let joined = [source("core/a.rs", test("req_q1_3454_9999_a") + &test("req_retry_a"))];
    assert_eq!(findings(list, &joined), ["core/a.rs: req_q1_3454_9999_a: nothing asks for 9999"]);
    let elsewhere = [source("tools/a.rs", test("req_q1_3454_a") + &test("req_retry_a"))];
    assert_eq!(findings(list, &elsewhere).len(), 3);
    let ignored = source("core/a.rs", ["#[ig", "nore = \"soak\"]\n"].concat() + &test("req_q1_3454_retry_a"));
    assert_eq!(findings(list, &[ignored]).len(), 3, "a soak does not count");
    let helper = source("core/a.rs", "fn req_q1_3454_retry_a() {".to_owned());
    assert_eq!(findings(list, &[helper]).len(), 3, "nor what is no test");
    let early = [source("core/a.rs", test("req_q1_3454_a") + &test("req_retry_a") + &test("req_3459_a"))];
    assert_eq!(findings(list, &early), ["3459 is shown in [\"core/a.rs\"], the list says later"]);
    assert_eq!(findings("q1 | queue | shown", &[]), ["no state: q1 | queue | shown"]);
    assert_eq!(findings("q1 | queue | later: ", &[]), ["no state: q1 | queue | later: "]);
    assert_eq!(findings("q1 | queue | pending", &[]), ["no state: q1 | queue | pending"]);
    assert_eq!(findings("queue | q1 | later: x", &[]), ["no id: queue | q1 | later: x"]);
    assert_eq!(findings("q1 | a | later: x\nq1 | a | later: x", &[]), ["twice: q1 | a | later: x"]);
}

#[test]
fn ids_are_told_from_the_words_of_a_name() {
    let known = ["q8", "3466", "d3", "3388b", "s1"];
    let ids = |name| ids(name, |id| known.contains(&id));
    assert_eq!(ids("req_q8_3466_no_lock"), ["q8", "3466"]);
    assert_eq!(ids("req_d3_nats_3272_what"), ["d3"]);
    assert_eq!(ids("req_3388b_per_symbol"), ["3388b"]);
    assert_eq!(ids("req_3552_rates_over_1_10"), ["3552"]);
    assert_eq!(ids("req_9999_5555_a"), ["9999", "5555"]);
    assert_eq!(ids("req_s1_p9_a"), ["s1"]);
}
