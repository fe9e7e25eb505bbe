//! The page, the log of histograms and the percentiles of a run that never was: read back, compared with the kept page, and opened in a browser.

mod reports;

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use reports::{eventful, filled, plain, timeline};
use std::path::{Path, PathBuf};
use std::process::Command;
use tapeline_runtime::lab::capacity::{Capacity, Plan, Search, Step};
use tapeline_runtime::lab::result::Tail;
use tapeline_runtime::lab::slo::Slo;
use tapeline_runtime::replay::Told;
use tapeline_runtime::report::latency::{new_histogram, stage_histogram};
use tapeline_runtime::report::{Report, csv, hlog, html};

fn told(report: Report) -> Told {
    let (response, service) = (filled(new_histogram(), 1), filled(new_histogram(), 3));
    let is_paced = report.latency_ns.response.is_some();
    let mut tagged =
        vec![("service".to_owned(), service.clone()), ("shard1.handlers".to_owned(), filled(stage_histogram(), 7))];
    if is_paced {
        tagged.insert(0, ("response".to_owned(), response.clone()));
    }
    Told {
        report,
        response: is_paced.then_some(response),
        service,
        noise_share: 0.0005,
        tagged,
        timeline: timeline(),
        input_exit: None,
        bytes: Vec::new(),
        letters: Vec::new(),
    }
}

#[test]
fn the_page_is_the_one_that_is_kept() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/eventful.html");
    let page = html::page(&told(eventful()));
    let golden = std::fs::read_to_string(&kept).unwrap();
    for (number, (line, golden)) in page.lines().zip(golden.lines()).enumerate() {
        assert_eq!(line, golden, "line {}", number + 1);
    }
    assert_eq!(page, golden);
    // Nothing comes from elsewhere, and nothing runs.
    for foreign in ["<script", "http:", "https:", "src=", "@import", "url(", "<link", "<B&H>"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert!(page.contains("&lt;B&amp;H&gt;") && page.contains("INVALID") && page.contains("SATURATED"));
}

#[test]
fn the_page_of_a_run_without_a_schedule_tells_service_times() {
    let page = html::page(&told(plain()));
    assert!(page.contains("service p99.9") && !page.contains("Response over time") && !page.contains("Slowest events"));
    assert!(page.contains(">VALID<"), "{page}");
}

#[test]
fn the_log_gives_every_histogram_back() {
    let told = told(eventful());
    let mut log = Vec::new();
    hlog::write(&told, &mut log).unwrap();
    let mut read = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else { continue };
        let text = std::str::from_utf8(interval.encoded_histogram().as_bytes()).unwrap();
        let bytes = base64_decoded(text);
        let histogram = Deserializer::new().deserialize::<u64, _>(&mut &bytes[..]).unwrap();
        read.push((interval.tag().unwrap().as_str().to_owned(), histogram));
        assert_eq!(interval.duration().as_nanos() / 1_000_000, u128::from(told.report.elapsed_ns) / 1_000_000);
    }
    let names = |all: &[(String, _)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&read), names(&told.tagged));
    for ((name, read), (_, written)) in read.iter().zip(&told.tagged) {
        assert_eq!(read, written, "{name}");
    }
}

/// RFC 4648, with padding.
fn base64_decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let chunk = |four: &[u8]| {
        let word =
            four.iter().enumerate().fold(0u32, |word, (index, digit)| word | u32::from(*digit) << (18 - 6 * index));
        word.to_be_bytes()[1..four.len()].to_vec()
    };
    digits.chunks(4).flat_map(chunk).collect()
}

#[test]
fn the_percentiles_of_every_histogram_are_there() {
    let told = told(eventful());
    let mut file = Vec::new();
    csv::write(&told, &mut file).unwrap();
    let text = String::from_utf8(file).unwrap();
    assert!(text.starts_with("metric,percentile,value_ns,samples_at_or_below,samples,told\n"));
    for (name, histogram) in &told.tagged {
        let value = histogram.value_at_quantile(0.99);
        let line = format!("{name},99,{value},{},{},1", histogram.count_between(0, value), histogram.len());
        assert!(text.lines().any(|one| one == line), "{line}");
    }
}

/// A browser, if there is one.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    std::env::split_paths(&folders).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
}

/// A search that has found something.
fn found() -> Capacity {
    let slo = Slo::parse("p50<5us,p99.9<200us").unwrap();
    let mut search = Search::new(Plan { slo, from: 1e5, to: 8e5, repeats: 1, is_strict: false });
    for (rate, p50, p99) in [(1e5, 800.0, 3e3), (2e5, 850.0, 4e3), (4e5, 950.0, 9e4), (8e5, 5e8, 9e8)] {
        let response = Tail {
            count: 100_000,
            p50: Some(p50),
            p90: Some(p50),
            p99: Some(p99),
            p99_9: Some(p99 * 2.0),
            p99_99: None,
            max: Some(p99 * 9.0),
        };
        let reason = Some("steal".to_owned()).filter(|_| rate == 4e5);
        search.record(rate, Step { achieved: rate, response, saturated: rate == 8e5, valid: reason.is_none(), reason });
    }
    search.found(7.5e5, "0.1.0")
}

#[test]
fn the_pages_fit_a_desk_and_a_phone_in_light_and_dark() {
    let Some(browser) = browser() else {
        let is_required = std::env::var_os("TAPELINE_TEST_BROWSER").is_some_and(|value| value == "required");
        assert!(!is_required, "TAPELINE_TEST_BROWSER=required, and there is no browser");
        eprintln!("skipped: no browser");
        return;
    };
    fits(&browser, "report", &html::page(&told(eventful())), "3");
    fits(&browser, "capacity", &html::capacity(&found(), &["a/b.tape".to_owned()]), "1");
}

/// Opens a page with so many plots.
fn fits(browser: &Path, name: &str, page: &str, plots: &str) {
    let folder = std::env::temp_dir().join(format!("tapeline-page-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // A copy that says how it came out, as the page itself runs nothing.
    let probe = "<script>addEventListener('load',()=>{const d=document.documentElement;document.title=[d.scrollWidth<=d.clientWidth,\
        document.querySelectorAll('svg').length,getComputedStyle(document.body).backgroundColor,[...document.querySelectorAll('.tile b')]\
        .every(t=>t.scrollWidth<=t.parentElement.clientWidth)].join('|')})</script></body>";
    let page = page.replace("</body>", probe);
    let path = folder.join("page.html");
    std::fs::write(&path, page).unwrap();
    let mut colours = Vec::new();
    for (width, dark) in [(1_280, false), (1_280, true), (390, false), (390, true)] {
        let mut command = Command::new(browser);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--virtual-time-budget=2000"]);
        command
            .arg(format!("--window-size={width},1200"))
            .arg(format!("--user-data-dir={}", folder.join("profile").display()));
        if dark {
            command.arg("--blink-settings=preferredColorScheme=0");
        }
        let output = command.arg(format!("file://{}", path.display())).output().unwrap();
        let dom = String::from_utf8_lossy(&output.stdout);
        let title = dom.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
        let said: Vec<&str> = title.unwrap_or_default().split('|').collect();
        assert!(said.len() == 4, "width {width}: {title:?} {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(
            (said[0], said[1], said[3]),
            ("true", plots, "true"),
            "{name}, width {width}, dark {dark}: {said:?}"
        );
        colours.push(said[2].to_owned());
    }
    assert_eq!((&colours[0], &colours[1]), (&colours[2], &colours[3]));
    assert_ne!(colours[0], colours[1], "light and dark differ");
    std::fs::remove_dir_all(&folder).unwrap();
}
