//! What a start of an engine that fails gives back. One test alone in its process: it counts threads and files.

use std::fs;
use tapeline_core::catalog::Catalog;
use tapeline_core::topics::{Bus, Policy, Topic};
use tapeline_runtime::driver::Driver;
use tapeline_runtime::engine::{Setup, run};
use tapeline_runtime::ingest::Capture;
use tapeline_runtime::input::Input;
use tapeline_runtime::input::generate::{Config, GenerateInput};
use tapeline_runtime::lifecycle::Phase;
use tapeline_runtime::pacer::Pace;
use tapeline_runtime::pipeline::{Parameters, default_pipeline};
use tapeline_runtime::sink::Sink;
use tapeline_runtime::spill;
use tapeline_runtime::station::Overload;

fn session() -> Capture {
    let open = Box::new(|| {
        let config = Config { events: 2_000, symbols: 5, ..Config::default() };
        let input = GenerateInput::new(&config).expect("the parameters are in range");
        Ok(Box::new(input) as Box<dyn Input>)
    });
    Capture { path: "generated".to_owned(), open }
}

fn setup() -> Setup {
    Setup {
        pace: Pace::Max,
        driver: Some(Driver::Threads),
        shards: Some(1),
        is_pinned: false,
        ..Setup::new(vec![session()])
    }
}

/// Names of threads, and files that are open.
fn held() -> (Vec<String>, usize) {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    let ours = ["sink", "log", "reader", "spill"];
    let names = tasks.filter_map(name).map(|name| name.trim().to_owned());
    (names.filter(|name| ours.contains(&name.as_str())).collect(), fs::read_dir("/proc/self/fd").unwrap().count())
}

#[test]
fn req_3469_a_start_that_fails_gives_back_all_it_took_and_says_stopped() {
    let folder = std::env::temp_dir().join(format!("tapeline-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (taken, fresh) = (folder.join("taken.tape"), folder.join("fresh.tape"));
    fs::write(&taken, b"kept").unwrap();
    let pipeline = |bus| default_pipeline(bus, &Parameters::default());
    let spills = Topic { policy: Policy::Spill, ..Topic::market()[0].clone() };
    let spills = Bus { topics: vec![spills], ..Bus::market() };
    let nowhere = Some(spill::Settings { folders: vec![folder.join("nowhere")], limit_bytes: spill::PLACE_BYTES });
    let live =
        |buses: Vec<Bus>, spill| Setup { overload: Overload::Live, pace: Pace::Rate(1e6), buses, spill, ..setup() };
    let cases: [(&str, Setup); 5] = [
        ("the file exists", Setup { outputs: Some((taken.clone(), false)), ..setup() }),
        ("no such core", Setup { cores: Some(vec![9_999]), ..setup() }),
        ("more shards than there can be", Setup { shards: Some(100_000), ..setup() }),
        ("no store", live(vec![spills.clone()], None)),
        ("no folder for the store", live(vec![spills], nowhere)),
    ];
    let before = held();
    for (what, setup) in cases {
        let lifecycle = setup.lifecycle.clone();
        assert!(run(setup, pipeline, |_, _, _| ()).is_err(), "{what}: it ran");
        assert_eq!(lifecycle.phase(), Phase::Stopped, "{what}");
        assert_eq!(held(), before, "{what}: threads and files");
    }
    // Threads that were started before something failed end with what holds them.
    let sink = Sink::start(&fresh, false, Catalog::new(4), 1, vec![0]).unwrap();
    drop(sink);
    assert_eq!(held(), before, "threads of a start that went no further");
    assert_eq!(fs::read(&taken).unwrap(), b"kept");

    // A start that does not fail ends the same way.
    let setup = Setup { outputs: Some((folder.join("run.tape"), false)), ..setup() };
    let lifecycle = setup.lifecycle.clone();
    let ran = run(setup, pipeline, |_, _, _| assert_eq!(lifecycle.phase(), Phase::Starting)).unwrap();
    assert_eq!((lifecycle.phase(), held()), (Phase::Stopped, before));
    assert!(ran.log.resident_most > Some(0) && ran.log.written == 0);
    fs::remove_dir_all(&folder).unwrap();
}
