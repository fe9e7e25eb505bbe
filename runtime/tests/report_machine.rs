//! Machine facts and `doctor` on trees of our own: each fact read, missing and malformed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use tapeline_runtime::core_lines::CoreLines;
use tapeline_runtime::doctor::{self, Looked, State};
use tapeline_runtime::jitter::{CoreProbe, IdleProbe};
use tapeline_runtime::machine::{self, IoUringRefused, Limits, Machine, Unknown};

/// A folder with files, removed at the end.
struct Root(PathBuf);

impl Root {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tapeline-machine-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let root = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&root.0).unwrap();
        for (path, text) in files {
            root.put(path, text);
        }
        root
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, limits: Limits) -> Machine {
        Machine::read(&self.0, limits)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn limits(cores: &[u32]) -> Limits {
    Limits { affinity: Ok(cores.to_vec()), memlock_bytes: None, io_uring: Ok(()) }
}

/// A server as it should be: four cores, two of them isolated.
const TUNED: &[(&str, &str)] = &[
    (
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Test CPU 9000\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n\nprocessor\t: 1\n",
    ),
    ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
    ("sys/fs/cgroup/a.slice/cpu.max", "max 100000\n"),
    ("proc/stat", "cpu  9 0 0 0 0 0 0 0 0 0\ncpu0 10 0 10 80 0 0 0 0 0 0\ncpu1 10 0 10 80 0 0 0 0 0 0\nintr 5 0\n"),
    ("proc/sys/kernel/osrelease", "6.18.0-test\n"),
    ("proc/sys/kernel/io_uring_disabled", "0\n"),
    ("proc/sys/vm/nr_hugepages", "512\n"),
    ("proc/thread-self/status", "Name:\tx\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t42\n"),
    ("sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"),
    ("sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm \n"),
    ("sys/devices/system/cpu/online", "0-3\n"),
    ("sys/devices/system/cpu/isolated", "2-3\n"),
    ("sys/devices/system/cpu/nohz_full", "2-3\n"),
    ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0\n"),
    ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "1\n"),
    ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2\n"),
    ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3\n"),
    ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "performance\n"),
    ("sys/devices/system/cpu/intel_pstate/no_turbo", "1\n"),
    ("sys/devices/system/node/online", "0-1\n"),
    ("sys/devices/system/node/node0/cpulist", "0-1\n"),
    ("sys/devices/system/node/node1/cpulist", "2-3\n"),
    ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
];

#[test]
fn a_tuned_server_is_read_and_found_good() {
    let root = Root::new(TUNED);
    let machine = root.read(limits(&[0, 1, 2, 3]));
    assert_eq!(
        machine,
        Machine {
            cpu: Ok("Test CPU 9000".to_owned()),
            tsc_invariant: Ok(true),
            virtualised: Ok(false),
            online: Ok(vec![0, 1, 2, 3]),
            isolated: Ok(vec![2, 3]),
            nohz_full: Ok(vec![2, 3]),
            smt: Ok(vec![vec![0], vec![1], vec![2], vec![3]]),
            numa: Ok(BTreeMap::from([(0, vec![0, 1]), (1, vec![2, 3])])),
            quota: Ok(None),
            kernel: Ok("6.18.0-test".to_owned()),
            clocksource: Ok("tsc".to_owned()),
            clocksources: Ok(vec!["tsc".to_owned(), "hpet".to_owned(), "acpi_pm".to_owned()]),
            governors: Ok(vec!["performance".to_owned()]),
            turbo: Ok(false),
            transparent_huge_pages: Ok("madvise".to_owned()),
            huge_pages: Ok(512),
            io_uring_disabled: Ok(0),
            steal_share: Ok(0.0),
            limits: limits(&[0, 1, 2, 3]),
        }
    );
    assert_eq!((machine.cores_usable(), machine.unread()), (4, vec![]));
    let quiet = IdleProbe { watched_ns: 200_000_000, ..IdleProbe::default() };
    let idle = (0..4).map(|core| CoreProbe { core: Some(core), probe: quiet }).collect();
    let looked = Looked { idle, lines: Some(lines(&[55.0, 60.0, 62.0, 58.0, 61.0, 70.0])) };
    let diagnosis = doctor::examine(&machine, &looked);
    for item in &diagnosis.items {
        assert_eq!((item.state, item.score, &item.mend), (State::Good, Some(100), &None), "{item:?}");
    }
    assert_eq!((diagnosis.driver.name, diagnosis.score), ("glommio", Some(100)));
    assert!(doctor::text(&diagnosis).contains("none over 50.0 µs in 200 ms on any of 4 cores\n"));
}

#[test]
fn an_empty_tree_is_unknown_with_reasons_and_never_fails() {
    let root = Root::new(&[]);
    let nothing = Limits {
        affinity: Err(Unknown("sched_getaffinity: not here".to_owned())),
        memlock_bytes: Some(0),
        io_uring: Err(IoUringRefused::NotThere),
    };
    let machine = root.read(nothing);
    assert_eq!(machine.cores_usable(), 1);
    assert_eq!(machine.cpu, Err(Unknown("/proc/cpuinfo: no such file".to_owned())));
    assert_eq!(machine.quota, Err(Unknown("/proc/self/cgroup: no such file".to_owned())));
    assert_eq!(machine.unread().len(), 5);
    assert_eq!(
        machine.unread()[2],
        "clock source: /sys/devices/system/clocksource/clocksource0/current_clocksource: no such file"
    );
    assert!(machine::steal_ns(&root.0, 100).is_err());
    assert!(machine::involuntary_switches(&root.0).is_err());
    let diagnosis = doctor::examine(&machine, &Looked::default());
    let known = ["io_uring", "locked memory"];
    for item in &diagnosis.items {
        assert_eq!(item.state == State::Unknown, !known.contains(&item.name), "{item:?}");
    }
    assert_eq!(diagnosis.driver.name, "threads");
}

/// Whatever stands in the files, reading ends with a fact or a reason.
#[test]
fn malformed_files_are_unknown_and_never_a_panic() {
    let long = "9".repeat(100_000);
    let garbage = [
        "",
        "\n",
        "\0\0\0",
        "\u{fffd}",
        "-1",
        "0-99999999",
        "99999999999999999999",
        "a:b:c:d",
        ":::::\n::",
        "[",
        &long,
    ];
    for text in garbage {
        let files: Vec<_> = TUNED.iter().map(|(path, _)| (*path, text)).collect();
        let root = Root::new(&files);
        root.put("proc/self/cgroup", "1:cpu:/x\n0::/y/../../z\n");
        root.put("sys/fs/cgroup/cpu.max", text);
        let machine = root.read(limits(&[0]));
        assert!(machine.cpu.is_err() && machine.numa.as_ref().is_ok_and(BTreeMap::is_empty) | machine.numa.is_err());
        assert!(machine.huge_pages.is_err() || text.parse::<u64>().is_ok(), "{text:?}");
        let _ = (machine::steal_ns(&root.0, 0), machine::involuntary_switches(&root.0), machine.cores_usable());
        let diagnosis = doctor::examine(&machine, &Looked::default());
        let (lines, json) = (doctor::text(&diagnosis), doctor::json(&diagnosis));
        assert!(lines.lines().count() >= diagnosis.items.len() && !json.contains('\n'));
        serde_json::from_str::<serde_json::Value>(&json).unwrap();
    }
}

#[test]
fn quotas_of_both_versions_and_of_groups_above_count() {
    let quota = |files: &[(&str, &str)]| {
        let root = Root::new(files);
        root.put("sys/fs/cgroup/keep", "");
        let machine = root.read(limits(&[0, 1, 2, 3]));
        (machine.quota.clone(), machine.cores_usable())
    };
    let v2 = ("proc/self/cgroup", "0::/a/b\n");
    assert_eq!(quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "150000 100000")]), (Ok(Some(1.5)), 1));
    assert_eq!(
        quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "max 100000"), ("sys/fs/cgroup/a/cpu.max", "250000 100000")]),
        (Ok(Some(2.5)), 2)
    );
    assert_eq!(
        quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "300000 100000"), ("sys/fs/cgroup/a/cpu.max", "200000 100000")]),
        (Ok(Some(2.0)), 2)
    );
    assert_eq!(quota(&[v2]), (Ok(None), 4), "no file, no quota");
    assert_eq!(
        quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "5000 100000")]),
        (Ok(Some(0.05)), 1),
        "never less than one core"
    );
    let (malformed, cores) = quota(&[v2, ("sys/fs/cgroup/a/b/cpu.max", "many 100000")]);
    assert!(malformed.is_err() && cores == 4, "{malformed:?}");
    // In a container the process sees a path that is not below its own mount: the mount's root holds.
    let inside = ("proc/self/cgroup", "0::/../../outside\n");
    assert_eq!(quota(&[inside, ("sys/fs/cgroup/cpu.max", "200000 100000")]), (Ok(Some(2.0)), 2));

    let v1 = ("proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/x\n0::/\n");
    let files = |quota: &'static str| {
        [v1, ("sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", quota), ("sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "50000\n")]
    };
    assert_eq!(quota(&files("100000\n")), (Ok(Some(2.0)), 2));
    assert_eq!(quota(&files("-1\n")), (Ok(None), 4));
    assert!(quota(&files("many\n")).0.is_err());
}

#[test]
fn steal_and_switches_are_read() {
    let root = Root::new(TUNED);
    root.put(
        "proc/stat",
        "cpu  0 0 0 0 0 0 0 14 0 0\ncpu0 1 2 3 4 5 6 7 5 0 0\ncpu12 80 0 0 11 0 0 0 9\ncpu3 1 2\nctxt 1\n",
    );
    assert_eq!(machine::steal_ns(&root.0, 100), Ok(BTreeMap::from([(0, 50_000_000), (12, 90_000_000)])));
    assert_eq!(machine::involuntary_switches(&root.0), Ok(42));
    assert_eq!(root.read(limits(&[0])).steal_share, Ok(5.0 / 33.0));
}

/// A laptop or a container: each item says what is wrong and how to mend it.
#[test]
fn doctor_names_what_would_mend_each_item() {
    let root = Root::new(TUNED);
    for (path, text) in [
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cpu.max", "150000 100000\n"),
        ("proc/stat", "cpu0 50 0 0 40 0 0 0 10\n"),
        ("proc/sys/kernel/io_uring_disabled", "2\n"),
        ("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
        ("sys/devices/system/cpu/isolated", "\n"),
        ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0-1\n"),
        ("sys/devices/system/cpu/cpu1/topology/thread_siblings_list", "0-1\n"),
        ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave\n"),
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ] {
        root.put(path, text);
    }
    let poor = Limits {
        affinity: Ok(vec![0, 1, 2, 3]),
        memlock_bytes: Some(65_536),
        io_uring: Err(IoUringRefused::NotPermitted),
    };
    let idle = IdleProbe { watched_ns: 200_000_000, gaps: 12, gap_ns: 9_000_000, longest_ns: 3_990_000 };
    let quiet = IdleProbe { gaps: 1, gap_ns: 60_000, ..idle };
    let idle = [(0, quiet), (3, idle)].map(|(core, probe)| CoreProbe { core: Some(core), probe });
    let mut apart = lines(&[61.4, 140.0, 151.0, 139.0, 148.0, 60.0]);
    (apart.ns[1][2], apart.ns[2][1], apart.left_out) = (None, None, 12);
    let diagnosis = doctor::examine(&root.read(poor), &Looked { idle: idle.to_vec(), lines: Some(apart) });
    let expected = "\
score  state           item            what was found
   50  could be better io_uring        io_uring_setup is not permitted (EPERM): kernel.io_uring_disabled, or a container's seccomp filter; kernel.io_uring_disabled is 2
                                       -> sudo sysctl kernel.io_uring_disabled=0
   50  could be better locked memory   limit 64 KiB, glommio needs 512 KiB
                                       -> ulimit -l unlimited, or `* - memlock unlimited` in /etc/security/limits.conf
    0  bad             cores           4 of 4 online: 0-3, quota 1.50
                                       -> raise the quota to the number of cores (docker run --cpus, Kubernetes limits.cpu), or pin by cpuset
   50  could be better clock source    hpet, tsc is available
                                       -> echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource
   50  could be better isolated cores  none: other threads may run on the measured cores
                                       -> kernel command line: isolcpus=managed_irq,domain,1-N nohz_full=1-N rcu_nocbs=1-N
   50  could be better governor        performance, powersave
                                       -> sudo cpupower frequency-set -g performance
   50  could be better turbo           on: the frequency depends on heat and on other cores
                                       -> echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo (or echo 0 to cpufreq/boost)
   50  could be better core siblings   cores share a physical one: 0-1
                                       -> use one of each group: --cores 0,2-3
   50  could be better huge pages      transparent: always, set aside: 512
                                       -> echo madvise | sudo tee /sys/kernel/mm/transparent_hugepage/enabled
    0  bad             steal           10.000 % of the worst core's time since the machine started
                                       -> a machine, or an instance type, whose cores are not shared
    0  bad             scheduler gaps  12 over 50.0 µs in 200 ms, the longest 3.99 ms, 4.500 % of the time, on core 3, the worst of 2
                                       -> stop what else runs, isolate the cores, move interrupts off them
   79  could be better core to core    from 60 ns from core 2 to core 3 to 151 ns from core 0 to core 3; 12 more cores were not looked at
                                       -> use cores that lie close together: --cores 2-3
   39  of 100: the mean of 12 items

core to core, ns one way
          0     1     2     3
    0     -    61   140   151
    1    61     -     -   148
    2   140     -     -    60
    3   151   148    60     -

driver: threads because io_uring_setup is not permitted (EPERM): kernel.io_uring_disabled, or a container's seccomp filter
";
    assert_eq!(doctor::text(&diagnosis), expected);
    let json: serde_json::Value = serde_json::from_str(&doctor::json(&diagnosis)).unwrap();
    assert_eq!(json["command"], "doctor");
    assert_eq!(json["items"][0]["state"], "could_be_better");
    assert_eq!(
        json["items"][1]["mend"],
        "ulimit -l unlimited, or `* - memlock unlimited` in /etc/security/limits.conf"
    );
    assert_eq!(json["driver"]["name"], "threads");
    assert_eq!((&json["score"], &json["items"][0]["score"]), (&39.into(), &50.into()));
    assert_eq!((&json["core_to_core"]["ns"][0][1], &json["core_to_core"]["left_out"]), (&61.4.into(), &12.into()));
    assert_eq!((&json["idle_cores"][1]["core"], &json["idle_cores"][1]["gaps"]), (&3.into(), &12.into()));
}

/// Four cores; the pairs in the order 01, 02, 03, 12, 13, 23.
fn lines(ns: &[f64; 6]) -> CoreLines {
    let mut lines = CoreLines { cores: vec![0, 1, 2, 3], ns: vec![vec![None; 4]; 4], left_out: 0 };
    for ((a, b), ns) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)].into_iter().zip(ns) {
        (lines.ns[a][b], lines.ns[b][a]) = (Some(*ns), Some(*ns));
    }
    lines
}

#[test]
fn the_driver_needs_locked_memory_for_every_executor() {
    let root = Root::new(TUNED);
    let of = |bytes| {
        let limits = Limits { memlock_bytes: Some(bytes), ..limits(&[0, 1, 2, 3]) };
        doctor::driver(&root.read(limits)).name
    };
    assert_eq!(of(4 * doctor::MEMLOCK_EXECUTOR_BYTES), "glommio");
    assert_eq!(of(4 * doctor::MEMLOCK_EXECUTOR_BYTES - 1), "threads");
}

/// The real machine, whatever it is: facts or reasons, no failure.
#[test]
fn this_machine_can_be_read() {
    let machine = Machine::here();
    assert!(machine.cores_usable() >= 1);
    let affinity = machine.limits.affinity.as_ref().expect("Linux tells every process its cores");
    assert!(!affinity.is_empty() && affinity.is_sorted());
    let before = machine::involuntary_switches(Path::new("/")).expect("/proc is mounted where the tests run");
    assert!(machine::involuntary_switches(Path::new("/")).unwrap() >= before);
    assert!(machine::ticks_per_second() > 0);
    let diagnosis = doctor::examine(&machine, &Looked::default());
    assert!(doctor::text(&diagnosis).ends_with(&format!("because {}\n", diagnosis.driver.why)));
}
