//! Bad input: one line that names the file and the place, the right exit code, and what came before is not lost.

mod common;

use common::{AUGUST, Place, assert_balanced, binance_lines, captures};
use std::io::{Cursor, Write};
use std::process::Stdio;
use tapeline_core::catalog::Catalog;
use tapeline_core::event::payload::Tick;
use tapeline_core::event::{EventBuf, Flags, events};
use tapeline_runtime::input::bytes::ByteSource;
use tapeline_runtime::input::detect::{OpenOptions, open, open_source};
use tapeline_runtime::input::{InputError, MESSAGE_SLOTS_MAX, SlotBuf, Status};
use tapeline_runtime::tape::{TapeOptions, TapeWriter};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory can be written")
}

/// Verbs that read a capture, with what they need beside its name.
const READERS: [&str; 4] = ["info", "dump", "import -o out.tape --force", "replay --speed max --driver threads"];

#[test]
fn what_cannot_be_opened_or_is_of_no_known_format_exits_2() {
    let place = Place::new();
    std::fs::create_dir(place.path("folder")).unwrap();
    place.write("empty", b"");
    place.write("empty.gz", gzip(b""));
    place.write("text.csv", b"time,price\n1,2\n");
    place.write("noise", [0xAA; 5_000]);
    place.write("some.pcap", [&b"\xd4\xc3\xb2\xa1\x07\x00\x04\x00"[..], &[0; 16]].concat());
    for (file, why) in [
        ("missing", "No such file"),
        ("folder", "directory"),
        ("empty", "the file is empty"),
        ("empty.gz", "the file is empty"),
        ("text.csv", "no known format is text"),
        ("noise", "no known format begins with"),
        ("some.pcap", "pcap version 7"),
    ] {
        for verb in READERS {
            let ran = place.run(&format!("{verb} {file}")).exits(2).says_once(&[file, why]);
            assert_eq!(ran.stdout, "", "{verb} {file}");
        }
        place.run(&format!("verify {file}")).exits(2).says_once(&[file]);
        place.run(&format!("diff {file} {file}")).exits(2).says_once(&[file]);
        assert!(!place.path("out.tape").exists(), "{file}: an import that was refused leaves nothing behind");
    }
    // One bad name among good ones: told before anything starts.
    place.run("gen -o a.tape --events 100 --symbols 3").exits(0);
    place.run("replay a.tape missing --speed max").exits(2).says_once(&["missing"]);
}

#[test]
fn bad_lines_are_counted_named_and_skipped() {
    let place = Place::new();
    let good = binance_lines((0..30).map(|n| AUGUST + n * 1_000_000), "ETHUSDT", 1);
    let mut lines: Vec<&str> = good.lines().collect();
    for (at, bad) in
        [(3, "not a line"), (9, "1723161254000000001 {\"broken\":"), (20, "99 {\"stream\":\"x@trade\",\"data\":{}}")]
    {
        lines.insert(at, bad);
    }
    place.write("good", &good);
    place.write("bad", lines.join("\n") + "\n");
    let expected = place.replay("good");
    let info = place.run("info bad --format json").exits(3);
    assert_eq!(info.json()["bad_lines"], 3);
    for line in ["line 4: ", "line 10: ", "line 21: ", "3 bad lines"] {
        assert!(info.stderr.contains(&format!("bad: {line}")), "{line}: {}", info.stderr);
    }
    let ran = place.run("replay bad --speed max --format json").exits(3);
    let report = ran.json();
    assert_balanced(&report);
    assert_eq!(
        (&report["digest"], &report["kinds"]),
        (&expected["digest"], &expected["kinds"]),
        "the others are all there"
    );
    assert_eq!(report["tally"][0]["bad_lines"], 3);
    assert_eq!(report["tally"][0]["first_bad_lines"][0]["line"], 4);
    place.run("import bad -o bad.tape").exits(3);
    assert_eq!(place.replay("bad.tape")["digest"], expected["digest"]);
    // Of many, the first ten are named.
    let many: Vec<String> = good.lines().flat_map(|line| [line.to_owned(), "junk".to_owned()]).collect();
    place.write("many", many.join("\n"));
    let info = place.run("info many --format json").exits(3);
    assert_eq!(info.json()["bad_lines"], good.lines().count());
    assert_eq!(info.stderr.lines().filter(|line| line.contains("many: line ")).count(), 10, "{}", info.stderr);
}

#[test]
fn a_cut_gzip_gives_what_is_before_the_cut() {
    let place = Place::new();
    let text = binance_lines((0..3_000).map(|n| AUGUST + n * 1_000_000), "ETHUSDT", 1);
    let whole = gzip(text.as_bytes());
    place.write("whole.gz", &whole);
    place.write("cut.gz", &whole[..whole.len() / 2]);
    let all = place.replay("whole.gz")["events"]["offered"].as_u64().unwrap();
    let ran = place.run("replay cut.gz --speed max --format json").exits(3).says_once(&["cut.gz", "offset"]);
    let report = ran.json();
    assert_balanced(&report);
    let offered = report["events"]["offered"].as_u64().unwrap();
    assert!(offered > all / 4 && offered < all, "{offered} of {all} from half the file");
    assert_eq!(place.run("info cut.gz --format json").exits(3).json()["events"], offered);
    // The checksum at the end counts, too.
    let mut damaged = whole.clone();
    let at = damaged.len() - 6;
    damaged[at] ^= 1;
    place.write("sum.gz", &damaged);
    let info = place.run("info sum.gz --format json").exits(3).says_once(&["sum.gz", "offset"]);
    assert_eq!(info.json()["events"], all);
}

#[test]
fn a_dbn_file_with_a_broken_header_exits_3() {
    let place = Place::new();
    let mut wrong_length = b"DBN\x02".to_vec();
    wrong_length.extend(u32::MAX.to_le_bytes());
    wrong_length.extend([0; 64]);
    for (name, bytes) in [
        ("length.dbn", wrong_length),
        ("short.dbn", b"DBN\x03\xff\0".to_vec()),
        // Four thousand million symbols in 128 bytes.
        ("symbols.dbn", [b"DBN\x01\x80\0\0\0".to_vec(), vec![0; 104], vec![0xff; 4], vec![0; 20]].concat()),
    ] {
        place.write(name, bytes);
        for verb in READERS {
            place.run(&format!("{verb} {name}")).exits(3).says_once(&[name, "offset"]);
        }
    }
    // A version of the future is no damage: this build does not know it.
    place.write("future.dbn", [b"DBN\x09\x10\0\0\0".to_vec(), vec![0; 64]].concat());
    for verb in READERS {
        place.run(&format!("{verb} future.dbn")).exits(2).says_once(&["future.dbn", "version 9"]);
    }
}

/// What came of one input read to its end.
struct Read {
    events: Vec<Vec<u8>>,
    error: Option<InputError>,
    bad_lines: u64,
}

/// Reads as the verbs do, in this process.
fn read(bytes: &[u8]) -> Read {
    let source = ByteSource::new(Box::new(Cursor::new(bytes.to_vec())), "cut.file", None);
    let mut read = Read { events: Vec::new(), error: None, bad_lines: 0 };
    let mut input = match source.and_then(|source| open_source(source, &OpenOptions::default())) {
        Ok(input) => input,
        Err(error) => return Read { error: Some(error), ..read },
    };
    let (mut catalog, mut slots) = (Catalog::new(64), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    for _ in 0..10_000 {
        slots.clear();
        let status = input.read(&mut catalog, &mut slots);
        for event in events(slots.slots()).filter(|event| !event.kind().is_control()) {
            let mut line = Vec::new();
            tapeline_runtime::ndjson::write_event(&catalog, event, &mut line);
            read.events.push(line);
        }
        match status {
            Ok(Status::More) => continue,
            Ok(Status::End) => {}
            Err(error) => read.error = Some(error),
        }
        read.bad_lines = input.tally().bad_lines;
        return read;
    }
    panic!("an input of {} bytes does not end", bytes.len());
}

/// Cuts `whole` at every byte: nothing panics, what is read is the start of the whole, never less than for a shorter cut,
/// and the exit code is 0 (only where `may_be_whole` says so), 2 (only within the first bytes, by which the format is told)
/// or 3, with one line that names the file and the place.
fn cut_everywhere(name: &str, whole: &[u8], format_told_by: usize, may_be_whole: impl Fn(&[u8]) -> bool) {
    let all = read(whole);
    assert!(all.error.is_none() && all.bad_lines == 0, "{name}: {:?}", all.error);
    assert!(!all.events.is_empty(), "{name} has events");
    let mut before = 0;
    for cut in 0..whole.len() {
        let part = read(&whole[..cut]);
        assert!(part.events.len() <= all.events.len(), "{name} cut at {cut}");
        assert_eq!(part.events, all.events[..part.events.len()], "{name} cut at {cut}");
        assert!(part.events.len() >= before, "{name} cut at {cut}: {} events, {before} before", part.events.len());
        before = part.events.len();
        match part.error {
            None if part.bad_lines > 0 => {
                assert_eq!(part.bad_lines, 1, "{name} cut at {cut}: only the last line is bad")
            }
            None => assert!(may_be_whole(&whole[..cut]), "{name} cut at {cut} is taken for a whole file"),
            Some(error) => {
                let text = error.to_string();
                assert!(text.starts_with("cut.file: ") && !text.contains('\n'), "{name} cut at {cut}: {text}");
                assert!(text.contains("offset ") || text.contains("line "), "{name} cut at {cut}: {text}");
                let code = error.exit_code();
                assert!(code == 3 || code == 2 && cut < format_told_by, "{name} cut at {cut}: {code}: {text}");
            }
        }
    }
    // DBZ has one frame of one block, which is there only when its last byte is.
    assert!(before > 0 || name.ends_with("dbz"), "{name}: the longest cut still gives events");
}

fn lines() -> String {
    binance_lines((0..7).map(|n| AUGUST + n * 1_000_000), "ETHUSDT", 1)
}

/// The end of the time and the `{` tell lines from other text: `<local ns> {`.
const LINE_TOLD_BY: usize = 21;

#[test]
fn lines_cut_at_every_byte() {
    let at_line_end = |part: &[u8]| {
        // Between two lines, or where only the line feed is missing.
        part.ends_with(b"\n") || part.ends_with(b"}") && lines().as_bytes().get(part.len()) == Some(&b'\n')
    };
    cut_everywhere("lines", lines().as_bytes(), LINE_TOLD_BY, at_line_end);
}

#[test]
fn compressed_lines_cut_at_every_byte() {
    let text = lines();
    let (first, second) = text.as_bytes().split_at(text.find('\n').unwrap() + 1);
    // Two members, two frames: a cut between them is a whole file.
    let (a, b) = (gzip(first), gzip(second));
    let between = a.len();
    cut_everywhere("gzip", &[a, b].concat(), 3, |part| part.len() == between);
    let (a, b) = (zstd::encode_all(first, 3).unwrap(), zstd::encode_all(second, 3).unwrap());
    let between = a.len();
    cut_everywhere("zstd", &[a, b].concat(), 5, |part| part.len() == between);
}

#[test]
fn tapes_cut_at_every_byte() {
    let place = Place::new();
    for more in ["", "--compress"] {
        place.run(&format!("gen -o a.tape --events 60 --symbols 3 --duration 1s --force {more}")).exits(0);
        // The magic tells a tape. A tape has an end mark: no cut is whole.
        cut_everywhere("tape", &place.read("a.tape"), 8, |_| false);
    }
}

#[test]
fn a_dbn_file_cut_at_every_byte() {
    let Some(folder) = captures("databento") else { return };
    for name in ["test_data.mbo.dbn", "test_data.mbp-1.dbn", "test_data.trades.dbn", "test_data.mbo.v3.dbn"] {
        let whole = std::fs::read(folder.join("dbn").join(name)).expect("a sample");
        let header = 8 + u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
        let record = usize::from(whole[header]) * 4;
        cut_everywhere(name, &whole, 4, |part| part.len() >= header && (part.len() - header).is_multiple_of(record));
    }
    for name in ["test_data.mbo.v3.dbn.zst", "test_data.mbo.dbz"] {
        let whole = std::fs::read(folder.join("dbn").join(name)).expect("a sample");
        // DBZ's header is a zstd frame of its own, which may be skipped; a cut behind it is between two frames.
        let header = 8 + u32::from_le_bytes(whole[4..8].try_into().unwrap()) as usize;
        cut_everywhere(name, &whole, 12, |part| name.ends_with("dbz") && part.len() == header);
    }
}

#[test]
fn wrong_usage_exits_2_and_nothing_is_overwritten_without_force() {
    let place = Place::new();
    place.run("gen -o a.tape --events 100 --symbols 3").exits(0);
    let before = place.read("a.tape");
    place.write("o.tape", b"mine");
    for line in [
        "gen -o a.tape --events 5",
        "import a.tape -o o.tape",
        "replay a.tape --speed max --outputs o.tape",
        "replay a.tape --speed max --hgrm o.tape",
    ] {
        place.run(line).exits(2).says_once(&["--force"]);
    }
    // Not even with --force may a capture be emptied before it is read, whatever its name.
    std::fs::hard_link(place.path("a.tape"), place.path("b.tape")).unwrap();
    for line in [
        "import a.tape -o ./a.tape --force",
        "import a.tape -o b.tape --force",
        "replay a.tape --speed max --outputs a.tape --force",
        "replay a.tape --speed max --hgrm b.tape --force",
    ] {
        place.run(line).exits(2).says_once(&["the capture a.tape itself"]);
    }
    assert_eq!((place.read("a.tape"), place.read("o.tape")), (before, b"mine".to_vec()));
    place
        .run("replay a.tape --speed max --outputs o.tape --hgrm ./o.tape --force")
        .exits(2)
        .says_once(&["two outputs"]);
    place.run("import a.tape -o o.tape --force").exits(0);
    for line in [
        "",
        "frobnicate",
        "replay --frobnicate",
        "replay a.tape --speed 0",
        "replay a.tape --speed -1",
        "replay a.tape --speed fast",
        "replay a.tape --speed 2 --rate 10",
        "replay a.tape --rate 0",
        "replay a.tape --shards 0",
        "replay a.tape --shards 100000",
        "replay a.tape --shards x",
        "replay a.tape --cores 99999",
        "replay a.tape --cores 3-1",
        "replay a.tape --driver tokio",
        "replay a.tape --loop 0",
        "replay a.tape --start yesterday",
        "replay a.tape --max-gap 5",
        "replay a.tape --overload never",
        "replay a.tape --overload live --speed max",
        "replay a.tape --overload live --start 1700000000000000000",
        "replay a.tape --ring-slots 1000",
        "replay a.tape --symbols-max 1",
        "replay a.tape --format xml",
        "replay - --loop 2",
        "gen --events 5",
        "gen -o n.tape --symbols 0",
        "gen -o n.tape --zipf nan",
        "import a.tape",
        "import -o n.tape",
        "info",
        "verify",
        "diff a.tape",
        "diff - a.tape",
    ] {
        let ran = place.run(line).exits(2);
        assert!(!ran.stderr.is_empty() && ran.stdout.is_empty(), "{line}: {}", ran.stdout);
    }
    assert!(!place.path("n.tape").exists());
}

#[test]
fn a_full_symbol_table_is_refused_with_the_limit() {
    let place = Place::new();
    place.run("gen -o a.tape --events 5000 --symbols 50").exits(0);
    for verb in ["info --symbols-max 8", "dump --symbols-max 8", "replay --speed max --symbols-max 8 --driver threads"]
    {
        place.run(&format!("{verb} a.tape")).exits(2).says_once(&["a.tape", "offset"]);
    }
}

/// `<(zcat a.gz)` and stdin: what is peeked at is not lost.
#[test]
fn pipes_are_read_from_their_first_byte() {
    let place = Place::new();
    let text = binance_lines((0..500).map(|n| AUGUST + n * 1_000_000), "ETHUSDT", 1);
    place.write("a", &text);
    let expected = place.replay("a");
    for name in ["-", "/dev/stdin"] {
        for verb in ["replay --speed max --format json --driver threads", "import -o out.tape --force"] {
            let line = format!("{verb} {name}");
            let mut command = place.command(&line);
            command.stdin(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let bytes = text.clone().into_bytes();
            let writer = std::thread::spawn(move || stdin.write_all(&bytes));
            let ran = common::wait(child, &line).exits(0);
            writer.join().unwrap().unwrap();
            let report = if verb.starts_with("replay") { ran.json() } else { place.replay("out.tape") };
            assert_eq!((&report["digest"], &report["kinds"]), (&expected["digest"], &expected["kinds"]), "{line}");
        }
    }
    place.run("replay /dev/stdin --loop 2 --speed max").exits(2);
}

/// Where every write fails for want of room.
const FULL: &str = "/dev/full";

/// Runs a command with stdout as given, and collects what it says on stderr.
fn with_stdout(place: &Place, line: &str, stdout: impl Into<Stdio>) -> common::Ran {
    let mut command = place.command(line);
    command.stdout(stdout);
    common::wait(command.spawn().unwrap(), line)
}

#[test]
fn output_that_cannot_be_written_is_one_line_of_error_and_exit_2() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 60s").exits(0);
    let quiet = "--speed max --driver threads --shards 1";
    for line in [
        &format!("replay a.tape {quiet}"),
        &format!("replay a.tape {quiet} --format json"),
        "info a.tape",
        "info a.tape --format json",
        "dump a.tape",
        "dump a.tape --limit 1",
        "verify a.tape",
        "diff a.tape a.tape",
        "doctor --probe 0s",
        "doctor --probe 0s --format json",
    ] {
        let full = std::fs::OpenOptions::new().write(true).open(FULL).unwrap();
        with_stdout(&place, line, full).exits(2).says_once(&["stdout", "No space left"]);
    }
    for line in [
        format!("replay a.tape {quiet} --outputs {FULL} --force"),
        format!("replay a.tape {quiet} --hgrm {FULL} --force"),
        format!("import a.tape -o {FULL} --force"),
        format!("gen -o {FULL} --events 20000 --force"),
    ] {
        place.run(&line).exits(2).says_once(&["No space left"]);
    }
    // NDJSON is told by its name; the report of the run is there all the same.
    std::os::unix::fs::symlink(FULL, place.path("full.ndjson")).unwrap();
    let ran = place.run(&format!("replay a.tape {quiet} --format json --outputs full.ndjson --force"));
    let ran = ran.exits(2).says_once(&["full.ndjson", "No space left"]);
    assert_balanced(&ran.json());
}

#[test]
fn a_reader_that_goes_away_ends_the_output_without_a_word() {
    let place = Place::new();
    place.run("gen -o a.tape --events 50000 --symbols 10 --duration 60s").exits(0);
    for line in ["dump a.tape", "info a.tape", "verify a.tape", "replay a.tape --speed max --driver threads", "--help"]
    {
        // The first line is read, as `head -1` does, and the rest of a long output finds nobody.
        let mut command = place.command(line);
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        let mut stdout = std::io::BufReader::with_capacity(16, child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut first).unwrap();
        drop(stdout);
        let ran = common::wait(child, line).exits(0);
        assert!(!first.is_empty() && ran.errors().is_empty(), "{line}: {}", ran.stderr);

        // Nobody is there from the first byte on.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = with_stdout(&place, line, writer).exits(0);
        assert!(ran.errors().is_empty(), "{line}: {}", ran.stderr);
    }
}

#[test]
fn a_capture_named_twice_comes_twice_and_stdin_named_twice_is_refused() {
    let place = Place::new();
    let text = binance_lines((0..200).map(|n| AUGUST + n * 1_000_000), "ETHUSDT", 1);
    place.write("a", &text);
    std::fs::hard_link(place.path("a"), place.path("b")).unwrap();
    let once = place.replay("a --driver threads");
    let offered = once["events"]["offered"].as_u64().unwrap();
    let mut digests = Vec::new();
    for (files, says) in [("a a", "a: named twice"), ("a b", "b: the same as a"), ("b ./a", "./a: the same as b")] {
        for shards in [1, 2] {
            let line = format!("replay --speed max --format json --driver threads --shards {shards} {files}");
            let ran = place.run(&line).exits(0);
            assert!(ran.stderr.contains(says), "{line}: {}", ran.stderr);
            let report = ran.json();
            assert_balanced(&report);
            assert_eq!(report["events"]["offered"], offered * 2, "{line}: a merge keeps every event");
            let duplicates = &report["events"]["refused_by"]["duplicate"];
            assert_eq!(
                (&report["events"]["accepted"], duplicates),
                (&once["events"]["accepted"], &once["events"]["offered"]),
                "{line}: a shard recognises the second one"
            );
            digests.push(report["digest"].clone());
        }
    }
    assert!(digests.iter().all(|digest| *digest == once["digest"]), "{digests:?}");

    for verb in ["replay --speed max --driver threads", "import -o out.tape"] {
        for files in ["- -", "a - -", "- /dev/stdin", "/dev/stdin a /dev/stdin"] {
            let line = format!("{verb} {files}");
            let mut command = place.command(&line);
            command.stdin(Stdio::piped());
            let ran = common::wait(command.spawn().unwrap(), &line).exits(2).says_once(&["read only once"]);
            assert_eq!(ran.stdout, "", "{line}");
        }
        // Standard input is the file that is named beside it.
        let line = format!("{verb} a -");
        let mut command = place.command(&line);
        command.stdin(std::fs::File::open(place.path("b")).unwrap());
        common::wait(command.spawn().unwrap(), &line).exits(2).says_once(&["-: the same as a"]);
        assert!(!place.path("out.tape").exists());
    }
}

/// A tape may say anything: a tick that says that nothing follows is one more tick.
#[test]
fn a_tape_that_says_in_its_middle_that_nothing_follows_is_replayed_to_its_end() {
    let place = Place::new();
    place.run("gen -o a.tape --events 20000 --symbols 10 --duration 60s").exits(0);
    let mut input = open(place.path("a.tape").to_str().unwrap(), &OpenOptions::default()).unwrap();
    let (mut catalog, mut slots) = (Catalog::new(64), SlotBuf::with_capacity(MESSAGE_SLOTS_MAX));
    let mut bytes = Vec::new();
    let mut tape = TapeWriter::new(&mut bytes, TapeOptions::default()).unwrap();
    let (mut seen, mut marks) = (0, 0);
    loop {
        slots.clear();
        let status = input.read(&mut catalog, &mut slots).unwrap();
        for event in events(slots.slots()) {
            tape.write(&catalog, event.slots()).unwrap();
            seen += 1;
            if event.head().flags.contains(Flags::LAST) && seen % 1_000 == 0 {
                let mut mark = EventBuf::new(&Tick { last: 1, ..Tick::default() });
                mark.head_mut().ts_recv = event.head().ts_recv;
                tape.write(&catalog, mark.slots()).unwrap();
                marks += 1;
            }
        }
        if status == Status::End {
            break;
        }
    }
    assert!(marks > 5, "{marks} marks");
    tape.finish().unwrap();
    place.write("marked.tape", bytes);
    let whole = place.replay("a.tape --driver threads");
    for way in ["--shards 1", "--shards 2", "--shards 1 --speed 100"] {
        let line = format!("replay marked.tape --format json --driver threads --speed max {way}");
        let line = if way.contains("speed") { line.replace("--speed max ", "") } else { line };
        let report = place.run(&line).exits(0).json();
        assert_balanced(&report);
        for field in ["digest", "kinds", "outputs"] {
            assert_eq!(report[field], whole[field], "{way}: {field}");
        }
        let notes = report["verdict"]["notes"].to_string();
        assert!(notes.contains(&format!("{marks} ticks of the captures said that nothing follows")), "{notes}");
    }
}
